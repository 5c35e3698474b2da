"""Lets each sample pass once: what is not newer than the last of its series is dropped."""

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch

_NEVER = np.iinfo(np.int64).min


class LastSeen:
    """The time of the newest sample of each series, as one array indexed by series."""

    def __init__(self, at: NDArray[np.int64] | None = None) -> None:
        self.at = np.empty(0, np.int64) if at is None else at

    def newer(self, batch: Batch) -> Batch:
        """The samples that move their series forward, by series, in time order.

        Judged in order of arrival, so that the outcome does not depend on how the input was cut
        into batches: a sample that comes after a newer one is late even inside one batch.
        """
        if not len(batch):
            return batch
        self._grow(int(batch.series.max()) + 1)
        if (batch.series[1:] < batch.series[:-1]).any():
            batch = batch.take(np.argsort(batch.series, kind="stable"))
        series, at = batch.series, batch.at
        keep = at > self.at[series]
        same = series[1:] == series[:-1]
        if (same & (at[1:] <= at[:-1])).any():
            keep &= _rising(series, at)
        if not keep.all():
            batch = batch.take(keep)
        self.at[batch.series] = batch.at  # the last of each series wins
        return batch

    def usable(self, batch: Batch) -> Batch:
        """As `newer`, without samples that are bad or no number; those are passed all the same."""
        fresh = self.newer(batch)
        return fresh.take((fresh.quality > 0) & np.isfinite(fresh.value))

    def _grow(self, size: int) -> None:
        if size > len(self.at):
            new = np.full(size + size // 2, _NEVER)
            new[: len(self.at)] = self.at
            self.at = new


def _rising(series: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where `at` exceeds all before it in its series; `series` is sorted."""
    _, rank = np.unique(at, return_inverse=True)
    _, group = np.unique(series, return_inverse=True)
    key = group * len(at) + rank  # so one running maximum serves all series
    before = np.concatenate(([-1], np.maximum.accumulate(key)[:-1]))
    return key > before
