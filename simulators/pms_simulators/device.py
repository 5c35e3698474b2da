"""Anything that is served: a simulated machine or a recording."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from pms_simulators.faults import Fault, FaultPlan
from pms_simulators.machines.booster_set import BoosterSet
from pms_simulators.machines.drainage_pump import DrainagePump
from pms_simulators.machines.elevator import Elevator
from pms_simulators.machines.fire_panel import FirePanel
from pms_simulators.machines.fire_pump import FirePump
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.registers import Meter, write_raw

MACHINES: dict[str, type[Machine]] = {
    machine.kind: machine for machine in (Elevator, BoosterSet, FirePump, DrainagePump, FirePanel)
}
EXACT_S = 8 * 3600.0  # a scenario younger than this is stepped through from its start
WARM_UP_S = 2 * 3600.0  # an older one from this long before now: over three thermal constants


class Device(Protocol):
    """Served under one asset id. `t_s` is simulated seconds from the scenario's start."""

    asset: str
    kind: str
    alarm_bits: frozenset[str]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Every fault with its window, for the ground truth."""
        ...

    @property
    def size(self) -> int:
        """Count of holding registers, from address 0."""
        ...

    def advance(self, t_s: float, limit: int) -> bool:
        """Step towards `t_s`, at most `limit` steps; True when reached."""
        ...

    def at_s(self) -> float:
        """Time of the present values."""
        ...

    def write_registers(self, into: list[int]) -> None:
        """Put the present values into a block of `size` registers."""
        ...

    def readings(self) -> dict[str, float]:
        """Present values as the sensors show them, engineering units."""
        ...

    def silent(self) -> bool:
        """True while the device answers nobody."""
        ...


class SimulatedDevice:
    """A machine, stepped on the fixed grid and read through its meter.

    A young scenario is stepped from its start. For an older one (`now_s` beyond EXACT_S) the model
    begins WARM_UP_S before now, in a steady state with its counters computed for that time.
    """

    def __init__(self, kind: str, place: Placement, now_s: float) -> None:
        begin_s = 0.0 if now_s <= EXACT_S else float(int(now_s - WARM_UP_S))
        self.asset, self.kind = place.asset, kind
        self._place = place
        self._step = round(begin_s / STEP_S)
        self.machine = MACHINES[kind](place, begin_s)
        self.alarm_bits = self.machine.alarm_bits
        self._meter = Meter(self.machine.fields, place.seed, place.asset)
        self._sparse: set[int] = set()

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._place.faults.faults

    def afflict(self, plan: FaultPlan) -> None:
        """Puts these faults in the place of those that the device was made with, from now on."""
        self._place = replace(self._place, faults=plan)
        self.machine.afflict(plan)

    @property
    def size(self) -> int:
        return self.machine.size

    def advance(self, t_s: float, limit: int) -> bool:
        last = int(t_s / STEP_S)
        for _ in range(min(limit, last - self._step)):
            self._step += 1
            self.machine.step(self._step * STEP_S)
        return self._step >= last

    def at_s(self) -> float:
        return self._step * STEP_S

    def write_registers(self, into: list[int]) -> None:
        machine = self.machine
        for field, raw in self._meter.raws(machine.values(), machine.frozen(), self._step):
            write_raw(field, raw, into)
        sparse = machine.sparse()
        for address in self._sparse - sparse.keys():
            into[address] = 0
        for address, value in sparse.items():
            into[address] = value
        self._sparse = set(sparse)

    def readings(self) -> dict[str, float]:
        machine = self.machine
        raws = self._meter.raws(machine.values(), machine.frozen(), self._step)
        return {f.key: round(raw * f.scale, 6) for f, raw in raws}

    def silent(self) -> bool:
        return self._place.faults.levels(self.at_s()).of("comms_loss") > 0
