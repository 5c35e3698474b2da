"""Where the time comes from. The core takes a `Clock` or an instant; only the rim asks the computer."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_ns(ns: int) -> datetime:
    """Aware UTC instant of Unix nanoseconds, truncated to microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def to_ns(at: datetime) -> int:
    """Unix nanoseconds of an aware instant; exact to the microsecond."""
    since = at - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


class Clock(Protocol):
    """The present, as the system sees it."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def now_ns(self) -> int:
        """Unix nanoseconds UTC."""
        ...


class SystemClock:
    """The computer's own clock."""

    def now(self) -> datetime:
        return from_ns(time.time_ns())

    def now_ns(self) -> int:
        return time.time_ns()


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Compressed time for demonstrations: `start_ns` at real instant `anchor_ns`, then `factor` times as fast."""

    anchor_ns: int
    start_ns: int
    factor: float

    def now(self) -> datetime:
        return from_ns(self.now_ns())

    def now_ns(self) -> int:
        return self.start_ns + int((time.time_ns() - self.anchor_ns) * self.factor)


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to; for tests and for replaying history."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def now_ns(self) -> int:
        return to_ns(self.at)

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def clock_from(environ: Mapping[str, str] = os.environ) -> Clock:
    """The clock that `PMS_CLOCK_ANCHOR_NS`, `PMS_CLOCK_START_NS` and `PMS_CLOCK_FACTOR` describe, else the real one."""
    factor = float(environ.get("PMS_CLOCK_FACTOR", "1"))
    if "PMS_CLOCK_ANCHOR_NS" not in environ:
        return SystemClock()
    anchor = int(environ["PMS_CLOCK_ANCHOR_NS"])
    return ScaledClock(anchor, int(environ.get("PMS_CLOCK_START_NS", anchor)), factor)
