"""Instants that devices give, and when to believe them."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pms_edge.clock import NS
from pms_edge.decode.decoder import GOOD

TimeUnit = Literal["s", "ms", "ns", "iso"]
_FACTORS = {"s": NS, "ms": 1_000_000, "ns": 1}

AHEAD_NS = 300 * NS
# A clock that lost its battery counts from 1970 or from the year of its firmware.
BEHIND_NS = 366 * 86400 * NS


def instant_ns(value: Any, unit: TimeUnit) -> int | None:
    """A device's instant in ns since 1970; None when it is none (an ISO text must name its zone)."""
    if unit == "iso":
        return _iso_ns(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,20}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value < 1 << 63:  # false for NaN as well
        return None
    # In two parts: a float of 1.7e18 is exact to 256 ns only.
    at_ns = int(value) * _FACTORS[unit] + round((value % 1) * _FACTORS[unit])
    return at_ns if 0 < at_ns < 1 << 63 else None


def is_plausible(at_ns: int, *, now_ns: int) -> bool:
    """Neither more than 5 minutes ahead of our clock nor more than a year behind it."""
    return now_ns - BEHIND_NS <= at_ns <= now_ns + AHEAD_NS


def _iso_ns(value: Any) -> int | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None or moment.year < 1971 or moment.year > 2200:
        return None
    return int(moment.timestamp()) * NS + moment.microsecond * 1000


class Stamp(NamedTuple):
    """When a message's values were measured, and the best quality that this allows them."""

    at_ns: int
    quality: int


class DeviceClock:
    """The instants that one device gives in one kind of message."""

    def __init__(self) -> None:
        self.last_ns = 0
        self._names: set[str] = set()

    def stamp(self, at_ns: int | None, names: Iterable[str], *, now_ns: int) -> Stamp | None:
        """The device's instant; None when it is not to be believed.

        That is an implausible one, one before the last, and the last one again for a point that
        it has a value of already: a clock that stands still must not put one sample over another.
        """
        if at_ns is None or at_ns < self.last_ns or not is_plausible(at_ns, now_ns=now_ns):
            return None
        if at_ns > self.last_ns:
            self.last_ns, self._names = at_ns, set()
        if self._names.intersection(names):
            return None
        self._names.update(names)
        return Stamp(at_ns, GOOD)
