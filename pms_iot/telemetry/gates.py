"""Whether an asset was in a given state at a given time, from the last known values of its points."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.groups import Groups, run_starts

_KEPT = 32  # changes remembered for each gate; enough for lanes that run ahead of each other
_NEVER = np.iinfo(np.int64).min
_UNKNOWN = -1

_T = TypeVar("_T", bound=np.generic)

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lock:
    """A gate on a series: `condition` on its value, true for at least `for_ns`."""

    series: int
    condition: Condition
    for_ns: int


class Gates:
    """The changes of each lock, as (time, true or false); `doors[i]` needs all of its locks.

    A value holds until the next one. Before the first value the state is unknown and the door is
    closed. What a lock was last, and since when, stands in arrays as well; the lists of its changes
    are read only for times before that.
    """

    def __init__(self, doors: Sequence[Sequence[Lock]]) -> None:
        self._locks = list(dict.fromkeys(lock for door in doors for lock in door))
        number = {lock: i for i, lock in enumerate(self._locks)}
        self._of_door = Groups([[number[lock] for lock in door] for door in doors])
        of_series: dict[int, list[int]] = {}
        for i, lock in enumerate(self._locks):
            if lock.series >= 0:  # else of a point that the asset lacks
                of_series.setdefault(lock.series, []).append(i)
        size = max(of_series, default=-1) + 2  # the last stands for all series beyond
        self._of_series = Groups([of_series.get(series, ()) for series in range(size)])
        self._conditions = list(dict.fromkeys(lock.condition for lock in self._locks))
        nth = {condition: i for i, condition in enumerate(self._conditions)}
        self._condition = np.array([nth[lock.condition] for lock in self._locks], np.intp)
        self._for_ns = np.array([lock.for_ns for lock in self._locks], np.int64)
        self._times: list[list[int]] = [[] for _ in self._locks]
        self._truths: list[list[bool]] = [[] for _ in self._locks]
        self._grown: set[int] = set()  # locks with changes since the last `forget`
        self._sum_up()

    def learn(self, batch: Batch) -> None:
        """Takes in the samples of the points that doors depend on; others are ignored.

        All of them usable, ordered by series and then by time, and each passed once (LastSeen).
        """
        series, at, value = self._new_values(batch)
        if not len(series):
            return
        position, locks = self._of_series.expand(series)
        order = np.argsort(locks, kind="stable")
        position, locks = position[order], locks[order]
        truth = self._holds(locks, value[position])
        changed = truth != _before(locks, truth, self._truth)
        locks, at, truth = locks[changed], at[position[changed]], truth[changed]
        self._truth[locks], self._since[locks] = truth, at  # the last of each lock wins
        for i, t, holds in zip(locks.tolist(), at.tolist(), (truth > 0).tolist(), strict=True):
            self._times[i].append(t)
            self._truths[i].append(holds)
            self._grown.add(i)

    def forget(self) -> None:
        """Drops what no late lane can ask for any more; called when a batch is done."""
        for i in self._grown:
            del self._times[i][:-_KEPT], self._truths[i][:-_KEPT]
        self._grown.clear()

    def open_at(self, doors: Index, at: Times) -> Mask:
        """Whether all locks of each door were open at the time beside it."""
        position, locks = self._of_door.expand(doors)
        asked, since = at[position], self._since[locks]
        is_open = (self._truth[locks] > 0) & (asked - since >= self._for_ns[locks])
        older = np.flatnonzero(asked < since)
        is_open[older] = [
            self._was_open(i, t)
            for i, t in zip(locks[older].tolist(), asked[older].tolist(), strict=True)
        ]
        state = np.ones(len(doors), np.bool_)
        state[position[~is_open]] = False
        return state

    def snapshot(self) -> list[tuple[str, list[int], list[bool]]]:
        """What is known of each lock, under the lock's own description."""
        return list(zip(self._names, self._times, self._truths, strict=True))

    def restore(self, state: Sequence[tuple[str, list[int], list[bool]]]) -> None:
        """Takes up what a snapshot knows of the same locks."""
        known = {lock: (times, truths) for lock, times, truths in state}
        for i, lock in enumerate(self._names):
            if lock in known:
                self._times[i], self._truths[i] = known[lock]
        self._sum_up()

    @cached_property
    def _names(self) -> list[str]:
        return [repr(lock) for lock in self._locks]

    def _sum_up(self) -> None:
        self._truth = np.array([t[-1] if t else _UNKNOWN for t in self._truths], np.int8)
        self._since = np.array([t[-1] if t else _NEVER for t in self._times], np.int64)
        # The last value of each series, only to pass over those that repeat it.
        self._value = np.full(len(self._of_series), np.nan)

    def _new_values(self, batch: Batch) -> tuple[Index, Times, Floats]:
        """The samples that may change a lock: of watched series, and with another value than before."""
        series = self._of_series.place(batch.series)
        mine = np.flatnonzero(self._of_series.count[series])
        series, value = series[mine], batch.value[mine]
        new = value != _before(series, value, self._value)
        self._value[series] = value  # the last of each series wins
        return series[new], batch.at[mine[new]], value[new]

    def _holds(self, locks: Index, value: Floats) -> NDArray[np.int8]:
        truth = np.empty(len(locks), np.int8)
        condition = self._condition[locks]
        for i in np.unique(condition).tolist():
            mine = condition == i
            truth[mine] = self._conditions[i].holds_each(value[mine])
        return truth

    def _was_open(self, i: int, at: int) -> bool:
        last = bisect_right(self._times[i], at) - 1
        if last < 0 or not self._truths[i][last]:
            return False
        return at - self._times[i][last] >= self._locks[i].for_ns


def _before(group: Index, value: NDArray[_T], last: NDArray[_T]) -> NDArray[_T]:
    """What stood before each value in its group, whose members adjoin; `last` is of earlier batches."""
    before = np.empty_like(value)
    before[1:] = value[:-1]
    starts = run_starts(group)
    before[starts] = last[group[starts]]
    return before
