"""What every simulated machine has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from pms_simulators.clock import LocalCalendar
from pms_simulators.faults import FaultPlan
from pms_simulators.registers import Field
from pms_simulators.signals import stream
from pms_simulators.weather import Weather

STEP_S = 1.0


@dataclass(frozen=True)
class Placement:
    """Where a machine stands: its name, the scenario's seed, its faults, its local calendar."""

    asset: str
    seed: int
    faults: FaultPlan
    calendar: LocalCalendar

    def key(self, name: str) -> int:
        """Key of one source of randomness of this asset."""
        return stream(self.seed, self.asset, name)

    @cached_property
    def weather(self) -> Weather:
        """The same for all machines of a scenario."""
        return Weather(stream(self.seed, "weather"), self.calendar)


class Machine(ABC):
    """A model stepped on a fixed grid of STEP_S simulated seconds.

    `begin_s` is the time of the state that the constructor sets up: a plausible steady state with
    counters as they would stand, so that a run may begin in the middle of a scenario.
    """

    kind: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    alarm_bits: ClassVar[frozenset[str]]

    def __init__(self, place: Placement, begin_s: float) -> None:
        self.place = place
        self.t = begin_s

    def afflict(self, faults: FaultPlan) -> None:
        """From here on these faults act instead of those that the machine was set up with."""
        self.place = replace(self.place, faults=faults)

    @abstractmethod
    def step(self, t: float) -> None:
        """Advance the state from t - STEP_S to t."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """True value of every field, engineering units, without sensor noise."""

    def frozen(self) -> frozenset[str]:
        """Points whose sensor repeats its last value."""
        return frozenset()

    def sparse(self) -> Mapping[int, int]:
        """Registers outside the field table that differ from 0, by address."""
        return {}

    @property
    def size(self) -> int:
        """Count of registers served from address 0."""
        return max(f.at + f.width for f in self.fields)
