"""Time of day and of week in the zone of each row's site."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.clock import from_ns

QUARTERS = 96  # quarter hours of a day
HALVES = 336  # half hours of a week, from Monday
_QUARTER_S = 900
_S = 1_000_000_000
_KEPT = 20_000

Rows = NDArray[np.intp]
Times = NDArray[np.int64]


class Calendar:
    """zones: the IANA zone of each row."""

    def __init__(self, zones: Sequence[str]) -> None:
        self._zones = sorted(set(zones))
        number = {zone: i for i, zone in enumerate(self._zones)}
        self._zone = np.array([number[zone] for zone in zones], np.int64)
        self._offsets: dict[tuple[int, int], int] = {}

    def place(self, rows: Rows, at: Times) -> tuple[Rows, Rows]:
        """(quarter hour of the local day, half hour of the local week) of each."""
        # No zone has ever changed its offset within a quarter of an hour since 1972.
        key = (at // (_QUARTER_S * _S)) * len(self._zones) + self._zone[rows]
        first = key[0]
        if (key == first).all():  # nearly always
            offset = np.int64(self._offset(int(first)))
        else:
            unique, inverse = np.unique(key, return_inverse=True)
            offset = np.array([self._offset(k) for k in unique.tolist()], np.int64)[inverse]
        local = at // _S + offset
        week = (local + 3 * 86_400) % (7 * 86_400)  # the epoch was a Thursday
        return (week % 86_400 // _QUARTER_S), week // 1800

    def _offset(self, key: int) -> int:
        """Seconds that the zone is ahead of UTC in that quarter of an hour."""
        quarter, zone = divmod(key, len(self._zones))
        if len(self._offsets) > _KEPT:
            self._offsets.clear()
        if (quarter, zone) not in self._offsets:
            moment = from_ns(quarter * _QUARTER_S * _S).astimezone(ZoneInfo(self._zones[zone]))
            ahead = moment.utcoffset()
            self._offsets[quarter, zone] = 0 if ahead is None else int(ahead.total_seconds())
        return self._offsets[quarter, zone]
