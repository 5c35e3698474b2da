"""The disk that the stores lie on: when it will be full, said in time, and a reserve that samples never take.

Three states. ok. low: the reserve will be reached within a day at the present rate, or less than twice
the reserve is free. full: the reserve is reached; samples are no longer taken, gateways keep them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

log = structlog.get_logger(__name__)

DiskState = Literal["ok", "low", "full"]

STEP_S = 60.0  # between the readings that the outlook is made of
READINGS = 360  # six hours of them
SHORTEST_S = 1800.0  # a shorter past says nothing of the future
MADE_ROOM = 0.05  # of the disk, freed between two looks: what was before no longer counts
LOW_HOURS = 24.0
LEAVE = 1.25  # times a bound, until its state is left again
MB = 10**6


@dataclass(frozen=True, slots=True)
class Reading:
    """Free bytes at an instant, in seconds of a clock that never jumps."""

    at_s: float
    free: int


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """One look. Bytes; `hours_left` until the reserve is reached, None if that is not in sight."""

    state: DiskState
    free: int
    total: int
    reserve: int
    hours_left: float | None


def hours_until(readings: Sequence[Reading], floor: float) -> float | None:
    """Hours from the last reading until `floor` bytes are left, by the straight line of least squares.

    None while free space does not fall, or the readings cover less than half an hour.
    """
    if len(readings) < 2 or readings[-1].at_s - readings[0].at_s < SHORTEST_S:
        return None
    mean_at = sum(reading.at_s for reading in readings) / len(readings)
    mean_free = sum(reading.free for reading in readings) / len(readings)
    spread = sum((reading.at_s - mean_at) ** 2 for reading in readings)
    shared = sum((reading.at_s - mean_at) * (reading.free - mean_free) for reading in readings)
    slope = shared / spread  # bytes per second
    if slope >= 0:
        return None
    return max(readings[-1].free - floor, 0.0) / -slope / 3600


def judge(before: DiskState, free: int, hours_left: float | None, reserve: int) -> DiskState:
    """The state now; one that was entered is left only well beyond its bound."""
    if free < reserve * (LEAVE if before == "full" else 1):
        return "full"
    wide = 1 if before == "ok" else LEAVE
    if free < 2 * reserve * wide or (hours_left is not None and hours_left < LOW_HOURS * wide):
        return "low"
    return "ok"


class DiskWatch:
    """Looks at the disk now and then; logs each state once, when it is entered."""

    def __init__(self, reserve: int, state: DiskState = "ok") -> None:
        self._reserve = reserve
        self._readings: deque[Reading] = deque(maxlen=READINGS)
        self._state: DiskState = state
        self.status: DiskStatus | None = None  # None before the first look

    def look(self, free: int, total: int, at_s: float) -> DiskStatus:
        """Takes a reading; `at_s` never falls."""
        if self._readings and free - self._readings[-1].free > MADE_ROOM * total:
            self._readings.clear()
        if not self._readings or at_s - self._readings[-1].at_s >= STEP_S:
            self._readings.append(Reading(at_s, free))
        hours = hours_until([*self._readings, Reading(at_s, free)], self._reserve)
        state = judge(self._state, free, hours, self._reserve)
        self.status = DiskStatus(state, free, total, self._reserve, hours)
        if state != self._state:
            self._say(self.status)
            self._state = state
        return self.status

    def is_full(self) -> bool:
        """Whether the reserve is reached: no more samples then."""
        return self._state == "full"

    def _say(self, status: DiskStatus) -> None:
        if status.state == "ok":
            log.warning("disk has room again", free_mb=status.free // MB)
        else:
            hours = None if status.hours_left is None else round(status.hours_left, 1)
            log.error(
                "disk reserve reached" if status.state == "full" else "disk nearly full",
                free_mb=status.free // MB,
                reserve_mb=status.reserve // MB,
                hours_left=hours,
            )
