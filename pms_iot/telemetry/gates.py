"""Whether an asset was in a given state at a given time, from the last known values of its points."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition

_KEPT = 32  # changes remembered for each gate; enough for lanes that run ahead of each other


@dataclass(frozen=True, slots=True)
class Lock:
    """A gate on a series: `condition` on its value, true for at least `for_ns`."""

    series: int
    condition: Condition
    for_ns: int


class Gates:
    """The changes of each lock, as (time, true or false); `doors[i]` needs all of its locks.

    A value holds until the next one. Before the first value the state is unknown and the door is
    closed. Samples that are bad or NaN say nothing. The caller passes each sample once (LastSeen).
    """

    def __init__(self, doors: Sequence[Sequence[Lock]]) -> None:
        self._locks = list(dict.fromkeys(lock for door in doors for lock in door))
        number = {lock: i for i, lock in enumerate(self._locks)}
        self._doors = [[number[lock] for lock in door] for door in doors]
        self._of_series: dict[int, list[int]] = {}
        for i, lock in enumerate(self._locks):
            self._of_series.setdefault(lock.series, []).append(i)
        self._watched = np.array(sorted(self._of_series), np.int32)
        self._times: list[list[int]] = [[] for _ in self._locks]
        self._truths: list[list[bool]] = [[] for _ in self._locks]

    def learn(self, batch: Batch) -> None:
        """Takes in the samples of the points that doors depend on; others are ignored."""
        mine = batch.take(
            np.isin(batch.series, self._watched) & (batch.quality > 0) & np.isfinite(batch.value)
        )
        for series in np.unique(mine.series).tolist():
            of_series = mine.series == series
            at, value = mine.at[of_series], mine.value[of_series]
            for i in self._of_series[series]:
                self._note(i, at, self._locks[i].condition.holds_each(value))

    def forget(self) -> None:
        """Drops what no late lane can ask for any more; called when a batch is done."""
        for times, truths in zip(self._times, self._truths, strict=True):
            if len(times) > _KEPT:
                del times[:-_KEPT], truths[:-_KEPT]

    def open_at(self, door: int, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether all locks of the door were open at each of these times."""
        state = np.ones(len(at), np.bool_)
        for i in self._doors[door]:
            state &= [self._is_open(i, t) for t in at.tolist()]
        return state

    def snapshot(self) -> list[tuple[str, list[int], list[bool]]]:
        """What is known of each lock, under the lock's own description."""
        return list(zip(map(repr, self._locks), self._times, self._truths, strict=True))

    def restore(self, state: Sequence[tuple[str, list[int], list[bool]]]) -> None:
        """Takes up what a snapshot knows of the same locks."""
        known = {lock: (times, truths) for lock, times, truths in state}
        for i, lock in enumerate(map(repr, self._locks)):
            if lock in known:
                self._times[i], self._truths[i] = known[lock]

    def _note(self, i: int, at: NDArray[np.int64], truth: NDArray[np.bool_]) -> None:
        first = not self._truths[i] or self._truths[i][-1] != truth[0]
        changed = np.concatenate(([first], truth[1:] != truth[:-1]))
        self._times[i] += at[changed].tolist()
        self._truths[i] += truth[changed].tolist()

    def _is_open(self, i: int, at: int) -> bool:
        last = bisect_right(self._times[i], at) - 1
        if last < 0 or not self._truths[i][last]:
            return False
        return at - self._times[i][last] >= self._locks[i].for_ns
