"""A drainage pit with two alternating submersible pumps (domain reference 1.4 D)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pms_simulators.faults import NO_FAULT, Levels
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.registers import Field, bits
from pms_simulators.signals import drift, gauss, uniform

AREA_M2 = 1.5
START_M, ASSIST_M, STOP_M, RIM_M = 1.05, 1.15, 0.40, 2.20
FLOAT_M, FLOAT_OFF_M, OVERFLOW_M = 1.30, 1.10, 1.80
LONGEST_RUN_S = 1800.0  # the controller's limit of one run
RUN_ON_S = 60.0  # after the float has fallen
PUMP_M3H = 20.0
RATED_A = 5.5
WINDING_TAU_S = 600.0
PTC_TRIP_OHM = 3600.0
INFLOW_M3H = (2, 1.5, 1.5, 1.5, 1.5, 2.5, 5, 7, 6.5, 5, 4.5, 5, 6, 5, 4, 4, 4.5, 6, 7, 7.5, 7, 6, 4,
              3)  # fmt: skip
RAIN_M3H_PER_MM_H, SEEPAGE_M3H = 0.35, 2.0  # of a ramp and light wells; of soaked ground
STARTS_PER_DAY, RUN_H_PER_DAY = 48.0, 2.9


def ptc_ohm(winding_c: float) -> float:
    """Series of three DIN 44081 thermistors of 130 C: 550 ohm at 125, 1330 at 135, 4000 at 145."""
    return max(250.0, min(9000.0, 550 * math.exp(0.0992 * (winding_c - 125))))


@dataclass
class PumpState:
    """One submersible pump."""

    running: bool = False
    started_s: float = 0.0
    stopped_s: float = -math.inf
    cycle_s: float = 180.0
    starts: int = 0
    run_h: float = 0.0
    winding_c: float = 30.0
    tripped: bool = False


def _pump_fields(number: int) -> tuple[Field, ...]:
    at, p = 10 * number, f"p{number}_"
    return (
        Field(at, p + "current", "u16", 0.1, 0.05),
        Field(at + 1, p + "seal_kohm", "u16", 1.0, 0.8),
        Field(at + 2, p + "ptc_ohm", "u16", 1.0, 3.0),
        Field(at + 3, p + "reverse", "u16"),
        Field(at + 4, p + "starts", "u32"),
        Field(at + 6, p + "run_h", "u32", 0.1),
        Field(at + 8, p + "cycle_s", "u16"),
    )


class DrainagePump(Machine):
    kind = "drainage_pump"
    fields = (
        Field(0, "pit_level", "u16", 0.01, 0.006),
        *bits(1, "high_float overflow p1_run p2_run p1_fault p2_fault auto mains"),
        Field(2, "inflow", "u16", 0.1, 0.1),
        *_pump_fields(1),
        *_pump_fields(2),
    )
    alarm_bits = frozenset({"high_float", "overflow", "p1_fault", "p2_fault", "auto", "mains"})

    def __init__(self, place: Placement, begin_s: float) -> None:
        super().__init__(place, begin_s)
        self._rain = place.key("inflow")
        days = 500 + place.seed % 200 + begin_s / 86400
        self.pumps = [
            PumpState(starts=int(days * STARTS_PER_DAY), run_h=days * RUN_H_PER_DAY)
            for _ in range(2)
        ]
        self.level, self.inflow, self._estimate = 0.6, 4.0, 4.0
        self._next = 0
        self.float_up, self._run_on_until = False, -math.inf
        self._stuck_at: float | None = None
        self._levels: Levels = NO_FAULT

    # ---- one step
    def step(self, t: float) -> None:
        self.t = t
        self._levels = levels = self.place.faults.levels(t)
        self.inflow = self._inflow(t) + 60 * levels.of("high_inflow")
        self._estimate += (self.inflow - self._estimate) * STEP_S / 60
        self._control(t, self._sensed(levels))
        out = sum(self._capacity(n) for n in (1, 2)) - self._backflow(t)
        self.level += (self.inflow - out) * STEP_S / 3600 / AREA_M2
        self.level = max(0.05, min(RIM_M, self.level))
        self._electrics(levels)

    def _inflow(self, t: float) -> float:
        hour = self.place.calendar.hour(t)
        low, high = INFLOW_M3H[int(hour)], INFLOW_M3H[(int(hour) + 1) % 24]
        mean = low + (high - low) * (hour % 1)
        weather = self.place.weather
        rain = RAIN_M3H_PER_MM_H * weather.rain_mm_h(t) + SEEPAGE_M3H * weather.wetness(t)
        return max(0.2, mean * (1 + 0.15 * drift(self._rain, t, 600))) + rain

    def _sensed(self, levels: Levels) -> float:
        if not levels.of("sensor_stuck"):
            self._stuck_at = None
        elif self._stuck_at is None:
            self._stuck_at = round(self.level, 2)
        return self.level if self._stuck_at is None else self._stuck_at

    def _control(self, t: float, sensed: float) -> None:
        """Hysteresis on the level, alternating pumps; the float starts both as a back-up.

        After a start by the float the pumps run on for RUN_ON_S: a level sensor that missed the
        start cannot be trusted to see the end.
        """
        self.float_up = self.level >= (FLOAT_OFF_M if self.float_up else FLOAT_M)
        if self.float_up:
            self._run_on_until = t + RUN_ON_S
        running = any(p.running for p in self.pumps)
        if self.float_up or sensed >= ASSIST_M:
            for pump in self.pumps:
                self._start(pump, t)
        elif sensed >= START_M and not running:
            self._start(self._duty(), t)
        elif running and t >= self._run_on_until and self._emptied(sensed):
            for pump in self.pumps:
                self._stop(pump, t)

    def _emptied(self, sensed: float) -> bool:
        by_float = self.t - self._run_on_until < STEP_S
        first_s = min(p.started_s for p in self.pumps if p.running)
        too_long = self.t - first_s > LONGEST_RUN_S
        return sensed <= STOP_M or too_long or (by_float and sensed < START_M)

    def _duty(self) -> PumpState:
        """The pump whose turn it is; the other one when it has tripped."""
        pump = self.pumps[self._next]
        self._next = 1 - self._next
        return self.pumps[self._next] if pump.tripped else pump

    def _start(self, pump: PumpState, t: float) -> None:
        if not pump.running and not pump.tripped:
            pump.running, pump.started_s = True, t
            pump.starts += 1

    def _stop(self, pump: PumpState, t: float) -> None:
        if pump.running:
            pump.running, pump.stopped_s = False, t
            pump.cycle_s = t - pump.started_s

    def _capacity(self, number: int) -> float:
        pump = self.pumps[number - 1]
        if not pump.running or self.level <= 0.1:
            return 0.0
        lost = 0.5 * self._levels.of("ragging", number)
        return PUMP_M3H * (1 - lost) * (1 - self._levels.of("dry_run", number))

    def reverse(self, number: int, t: float) -> bool:
        """Backspin for 5-30 s after a stop while the check valve does not close."""
        level = self._levels.of("check_valve", number)
        return level > 0 and 0 < t - self.pumps[number - 1].stopped_s <= 5 + 25 * level

    def _backflow(self, t: float) -> float:
        return sum(12.0 for number in (1, 2) if self.reverse(number, t))

    def _electrics(self, levels: Levels) -> None:
        for number, pump in enumerate(self.pumps, start=1):
            s = levels.of("winding_overheat", number)
            duty = max(float(pump.running), s)
            final = 25 + 50 * duty * (1 + 1.5 * s)
            pump.winding_c += (final - pump.winding_c) * STEP_S / WINDING_TAU_S
            hot = ptc_ohm(pump.winding_c) > (1650.0 if pump.tripped else PTC_TRIP_OHM)
            if hot and not pump.tripped:
                self._stop(pump, self.t)
            pump.tripped = hot
            pump.run_h += STEP_S / 3600 * pump.running

    def _current(self, number: int) -> float:
        pump = self.pumps[number - 1]
        if not pump.running:
            return 0.0
        rags = self._levels.of("ragging", number)
        choke = 0.4 * rags * (1 + 0.05 * gauss(self._rain, int(self.t)))
        inrush = 1.1 if self.t - pump.started_s < 2 else 1.0
        unloaded = 1 - 0.6 * self._levels.of("dry_run", number)
        return RATED_A * 0.92 * (1 + choke) * inrush * unloaded

    # ---- what the controller reports
    def frozen(self) -> frozenset[str]:
        return frozenset() if self._stuck_at is None else frozenset({"pit_level"})

    def _pump_values(self, number: int, pump: PumpState) -> dict[str, float]:
        leak, p = self._levels.of("seal_leak", number), f"p{number}_"
        dry = 500 - 20 * uniform(self._rain + number, int(self.t // 3600))
        return {
            p + "run": pump.running, p + "fault": pump.tripped, p + "current": self._current(number),
            p + "seal_kohm": dry * (10 / 500) ** leak, p + "ptc_ohm": ptc_ohm(pump.winding_c),
            p + "reverse": self.reverse(number, self.t), p + "starts": pump.starts,
            p + "run_h": pump.run_h, p + "cycle_s": pump.cycle_s,
        }  # fmt: skip

    def values(self) -> dict[str, float]:
        found: dict[str, float] = {
            "pit_level": self.level if self._stuck_at is None else self._stuck_at,
            "high_float": self.float_up, "overflow": self.level >= OVERFLOW_M,
            "auto": True, "mains": True, "inflow": self._estimate,
        }  # fmt: skip
        for number, pump in enumerate(self.pumps, start=1):
            found |= self._pump_values(number, pump)
        return found
