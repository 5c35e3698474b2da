"""Simulated time: an affine function of real time, and the site's local calendar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from pms_simulators.errors import SettingError

NS = 1_000_000_000


@dataclass(frozen=True)
class Clock:
    """now = start + (real - anchor) * factor; instants are int64 ns UTC."""

    anchor_ns: int
    start_ns: int
    factor: float

    def now_ns(self) -> int:
        return self.start_ns + round((time.time_ns() - self.anchor_ns) * self.factor)

    def elapsed_s(self) -> float:
        """Simulated seconds since the start instant; never negative."""
        return max(0.0, (self.now_ns() - self.start_ns) / NS)

    def instant(self, t_s: float) -> datetime:
        """The UTC instant `t_s` simulated seconds after the start."""
        return datetime.fromtimestamp(self.start_ns / NS + t_s, tz=UTC)


def clock_from(environ: Mapping[str, str], real_ns: int) -> Clock:
    """Reads PMS_CLOCK_ANCHOR_NS, PMS_CLOCK_START_NS and PMS_CLOCK_FACTOR; unset is the real clock.

    Raises SettingError when one of them is not a number or the factor is not above 0.
    """
    anchor_ns = _integer(environ, "PMS_CLOCK_ANCHOR_NS", real_ns)
    start_ns = _integer(environ, "PMS_CLOCK_START_NS", anchor_ns)
    return Clock(anchor_ns, start_ns, _factor(environ.get("PMS_CLOCK_FACTOR", "1")))


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise SettingError(name, text, "an integer number of nanoseconds") from error


def _factor(text: str) -> float:
    try:
        factor = float(text or "1")
    except ValueError as error:
        raise SettingError("PMS_CLOCK_FACTOR", text, "a number above 0") from error
    if not (math.isfinite(factor) and factor > 0):
        raise SettingError("PMS_CLOCK_FACTOR", text, "a number above 0")
    return factor


class LocalCalendar:
    """Local time of day and local day count of simulated seconds since the start."""

    def __init__(self, start_ns: int, zone: tzinfo) -> None:
        self._start_s = start_ns / NS
        self._zone = zone
        self._hour = -1
        self._offset_s = 0.0

    def local_s(self, t_s: float) -> float:
        """Seconds since 1970-01-01 00:00 of the local wall clock."""
        utc_s = self._start_s + t_s
        hour = int(utc_s // 3600)
        if hour != self._hour:  # offsets change on the hour at most: one look-up per hour
            self._hour = hour
            offset = datetime.fromtimestamp(utc_s, tz=self._zone).utcoffset()
            self._offset_s = offset.total_seconds() if offset else 0.0
        return utc_s + self._offset_s

    def hour(self, t_s: float) -> float:
        """Local hour of the day, 0 <= h < 24."""
        return self.local_s(t_s) % 86400 / 3600

    def day(self, t_s: float) -> int:
        """Local days since 1970-01-01 (a Thursday)."""
        return int(self.local_s(t_s) // 86400)
