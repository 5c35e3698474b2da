"""Conditions on the value of a point, shared by rules and detectors."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Operator = Literal["above", "below", "outside", "equals", "not_equals", "in"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be true of a value, and, once it was true, what ends it.

    above: value > high, until value <= clear_high. below: value < low, until value >= clear_low.
    outside: either of the two. equals, in: value is one of `values`; not_equals: it is none of them.
    The limits that an operator does not use are infinite, so that all limits fit in arrays.
    """

    op: Operator
    low: float = -math.inf
    high: float = math.inf
    values: tuple[float, ...] = ()
    clear_low: float = -math.inf
    clear_high: float = math.inf

    @property
    def discrete(self) -> bool:
        """Whether the value is compared with codes rather than with limits."""
        return self.op in ("equals", "not_equals", "in")

    def holds(self, value: float, *, active: bool = False) -> bool:
        """Whether it is true of `value`; `active` = it was true before, so hysteresis counts."""
        if self.discrete:
            return (value in self.values) != (self.op == "not_equals")
        if active:
            return value > self.clear_high or value < self.clear_low
        return value > self.high or value < self.low

    def holds_each(self, value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`holds` of each value, none of which was true before."""
        if self.discrete:
            return np.isin(value, self.values, invert=self.op == "not_equals")
        return (value > self.high) | (value < self.low)

    def limit(self, value: float) -> float | None:
        """The limit that `value` is beyond (or nearest to), to be shown to people."""
        if self.discrete:
            return self.values[0] if len(self.values) == 1 else None
        if self.op == "outside":
            return self.low if value < (self.low + self.high) / 2 else self.high
        return self.high if self.op == "above" else self.low


@dataclass(frozen=True, slots=True)
class Gate:
    """A state of the asset: `condition` on the last value of `point`, true for at least `for_s` seconds."""

    point: str
    condition: Condition
    for_s: float = 0.0
