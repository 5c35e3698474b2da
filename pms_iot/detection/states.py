"""In which operating state each watched series was at a given time, from the samples of its state point."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pms_iot.detection.asof import last_before
from pms_iot.kernel.arrays import Arrays
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.groups import run_starts

CODES = 16  # codes of a state point that have rows of their own; any other counts as unknown
UNKNOWN = 0
_KEPT = 8  # changes remembered for samples that come after a later state
_NEVER = np.iinfo(np.int64).min

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Codes = NDArray[np.int64]


class States:
    """The changes of each state point as flat columns, ordered by point and time.

    inputs: the series of the state point of each watched one, -1 for none.
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        self.series = np.unique([series for series in inputs if series >= 0]).astype(np.int32)
        # Of each watched series; the last slot is that of no point at all.
        slot = np.searchsorted(self.series, inputs).astype(np.intp)
        self._slot = np.where(np.asarray(inputs, np.int64) < 0, len(self.series), slot)
        self._last = np.full(len(self.series) + 1, UNKNOWN, np.int64)
        self._since = np.full(len(self.series) + 1, _NEVER)
        self._changes = _changes([], [], [])

    def learn(self, batch: Batch) -> None:
        """Takes in state samples: usable, ordered by series and time, each passed once."""
        if not len(self.series):
            return
        slot = np.searchsorted(self.series, batch.series)
        mine = np.flatnonzero(self.series[np.minimum(slot, len(self.series) - 1)] == batch.series)
        slot, at, code = slot[mine], batch.at[mine], _codes(batch.value[mine])
        before = np.empty_like(code)
        before[1:] = code[:-1]
        starts = run_starts(slot)
        before[starts] = self._last[slot[starts]]
        new = np.flatnonzero((code != before) | (self._since[slot] == _NEVER) & _first(slot))
        slot, at, code = slot[new], at[new], code[new]
        self._last[slot], self._since[slot] = code, at  # the last of each point wins
        known = self._changes
        place = np.searchsorted(known["slot"], slot, side="right")
        self._changes = _changes(
            np.insert(known["slot"], place, slot),
            np.insert(known["at"], place, at),
            np.insert(known["code"], place, code),
        )

    def at(self, watched: Index, at: Times) -> tuple[Codes, Times]:
        """(code, since when) of the state of each of these watched series at the time beside it."""
        slot = self._slot[watched]
        code, since = self._last[slot], self._since[slot]
        older = np.flatnonzero(at < since)
        if len(older):
            code[older], since[older] = self._before(slot[older], at[older])
        return code, since

    def forget(self) -> None:
        """Keeps the last changes of each point; called when a batch is done."""
        slot = self._changes["slot"]
        if len(slot):
            end = np.searchsorted(slot, slot, side="right")
            keep = end - np.arange(len(slot)) <= _KEPT
            self._changes = {name: column[keep] for name, column in self._changes.items()}

    def snapshot(self) -> Arrays:
        known = self._changes
        return {
            "states.series": self.series[known["slot"]],
            "states.at": known["at"],
            "states.code": known["code"],
        }

    def restore(self, state: Arrays) -> None:
        """Takes up what a snapshot knows of the same points; removes its arrays from `state`."""
        series, at, code = (state.pop(f"states.{name}") for name in ("series", "at", "code"))
        here = np.isin(series, self.series)
        slot = np.searchsorted(self.series, series[here])
        self._changes = _changes(slot, at[here], code[here])
        self._last[slot], self._since[slot] = code[here], at[here]

    def _before(self, slot: Index, at: Times) -> tuple[Codes, Times]:
        """As `at`, from the list of changes."""
        known = self._changes
        change = last_before(known["slot"], known["at"], slot.astype(np.int64), at)
        code = np.where(change >= 0, known["code"][change], UNKNOWN)
        return code, np.where(change >= 0, known["at"][change], _NEVER)


def _changes(slot: object, at: object, code: object) -> dict[str, NDArray[np.int64]]:
    return {
        "slot": np.asarray(slot, np.int64),
        "at": np.asarray(at, np.int64),
        "code": np.asarray(code, np.int64),
    }


def _codes(value: NDArray[np.float64]) -> Codes:
    known = (value >= 0) & (value < CODES)
    return np.where(known, value, UNKNOWN).astype(np.int64)


def _first(group: NDArray[np.intp]) -> NDArray[np.bool_]:
    first = np.zeros(len(group), np.bool_)
    first[run_starts(group)] = True
    return first
