"""The newest value of each series and its time, and what it was at an earlier sample of the same batch."""

from bisect import bisect_right
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch

NEVER = np.iinfo(np.int64).min

_T = TypeVar("_T", bound=np.generic)


class LastValues:
    """Two arrays indexed by series: `value` (NaN before the first) and `at` (Unix ns, NEVER before the first)."""

    def __init__(
        self, value: NDArray[np.float64] | None = None, at: NDArray[np.int64] | None = None
    ) -> None:
        self.value = np.empty(0) if value is None else value
        self.at = np.empty(0, np.int64) if at is None else at

    def make_room(self, size: int) -> None:
        """For that many series; never less than before."""
        self.value = _grown(self.value, size, np.nan)
        self.at = _grown(self.at, size, NEVER)

    def learn(self, usable: Batch) -> None:
        """Samples ordered by series, then by time, for all of which there is room."""
        self.value[usable.series] = usable.value  # the last of each series wins
        self.at[usable.series] = usable.at

    def as_of(
        self, series: NDArray[np.intp], at: int, usable: Batch
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Value and time of the last sample of each of `series` not after `at` (Unix ns).

        `usable`: a batch that is not yet learned. A series beyond the room, or negative, has never had one.
        """
        value, heard = np.full(len(series), np.nan), np.full(len(series), NEVER)
        known = (series >= 0) & (series < len(self.at))
        value[known], heard[known] = self.value[series[known]], self.at[series[known]]
        start = np.searchsorted(usable.series, series, "left")
        end = np.searchsorted(usable.series, series, "right")
        for i in np.flatnonzero(start < end).tolist():
            first, last = int(start[i]), int(end[i])
            here = bisect_right(usable.at, at, first, last)
            if here > first:
                value[i], heard[i] = usable.value[here - 1], usable.at[here - 1]
        return value, heard


def _grown(column: NDArray[_T], size: int, fill: float) -> NDArray[_T]:
    more = max(size - len(column), 0)
    return np.concatenate((column, np.full(more, fill, column.dtype))) if more else column
