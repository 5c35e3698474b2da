"""What the detectors share: state as arrays over rows, and samples taken in ticks.

A series has one row, or one for each operating state that it has been in (`DetectorSpec.by`), so that
what is learned is learned per state without the algorithms knowing. Tick k of a batch holds the k-th
sample of each series, so that one numpy call serves all series.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pms_iot.detection.spec import DetectorSpec
from pms_iot.detection.states import CODES, UNKNOWN, States
from pms_iot.kernel.arrays import Arrays, pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.fresh import LastSeen
from pms_iot.telemetry.gates import Gates, Lock
from pms_iot.telemetry.groups import run_starts

S = 1_000_000_000
Rows = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Watched:
    """One series that a detector watches: its spec, the series of its scores, its point and place."""

    series: int
    scores: tuple[int, ...]
    spec: DetectorSpec
    period_s: float = 1.0
    span: float = 0.0  # width of the physical range, 0 if unknown
    zone: str = "UTC"
    gate: tuple[Lock, ...] = ()
    state: int = -1  # series of the operating state, -1 for none
    beside: tuple[int, ...] = ()  # all measured series of the same asset, this one included

    def param(self, name: str, default: float) -> float:
        return self.spec.params.get(name, default)


class ColumnarDetector(ABC):
    """A detector whose state is arrays over rows: one per watched series, or per series and state.

    `_watched` has one entry per row; rows are added when a series first enters a state.
    """

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = sorted(watched, key=lambda w: w.series)
        self._series = np.array([w.series for w in self._watched], np.int32)
        self._scores = np.array([w.scores for w in self._watched], np.int32)
        self._gates = Gates([w.gate for w in self._watched])
        self._gated = np.array([bool(w.gate) for w in self._watched], np.bool_)
        self._has_gates = bool(self._gated.any())
        self._states = States([w.state for w in self._watched])
        self._by_state = np.array([bool(w.spec.by) for w in self._watched], np.bool_)
        self._has_states = bool(self._by_state.any())
        self._blank_ns = np.array([int(w.spec.blank_s * S) for w in self._watched], np.int64)
        inputs = [w.series for w in watched] + [k.series for w in watched for k in w.gate]
        inputs += self._states.series.tolist()
        # Tables by series; the last entry stands for all series beyond.
        size = max(inputs, default=-1) + 2
        self._is_input = np.zeros(size, np.bool_)
        self._is_input[[series for series in inputs if series >= 0]] = True
        self._nth = np.full(size, -1, np.intp)
        self._nth[self._series] = np.arange(len(self._series))
        self._seen = LastSeen()
        self._newest = np.zeros(len(self._series), np.int64)  # last sample judged, in any state
        plain = np.flatnonzero(~self._by_state)
        self._row = np.full((len(self._series), CODES), -1, np.intp)
        self._row[plain] = np.arange(len(plain))[:, None]
        self._of_row, self._code = plain, np.zeros(len(plain), np.int64)
        self._all = self._watched
        self._watched = [self._all[i] for i in plain.tolist()]
        self._state = self._fresh(len(plain))

    @abstractmethod
    def _fresh(self, size: int) -> Arrays:
        """State of so many rows before their first sample. Also called when rows are added: columns
        of parameters are made here, from `_watched`."""

    @abstractmethod
    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        """Takes one sample of each of these rows (each row at most once) and scores it.

        Returns (rows, scores), NaN where there is no score. is_open: whether the gates were open.
        """

    def update(self, batch: Batch) -> Batch:
        inputs = self._is_input[self._place(batch)]
        usable = self._seen.usable(batch if inputs.all() else batch.take(inputs))
        if not len(usable):
            return Batch.empty()
        if self._has_gates:
            self._gates.learn(usable)
        self._states.learn(usable)
        mine, nth, rows = self._judged(usable)
        order, ticks = _ticks(mine.series)
        at, value, nth, rows = mine.at[order], mine.value[order], nth[order], rows[order]
        is_open = self._open(nth, at)
        found: list[Floats] = []
        for tick in ticks:
            found.append(self._tick(rows[tick], at[tick], value[tick], is_open[tick]))
            self._newest[nth[tick]] = at[tick]
        self._gates.forget()
        self._states.forget()
        return self._scored(nth, at, np.concatenate(found)) if found else Batch.empty()

    def snapshot(self) -> bytes:
        # By series and state, in whatever order the rows came to be.
        order: Rows | slice = np.lexsort((self._code, self._of_row))
        if (order[1:] > order[:-1]).all():
            order = slice(None)  # nearly always, and then nothing is copied
        meta = {"series": self._series.tolist(), "gates": self._gates.snapshot()}
        rows = {"row.series": self._series[self._of_row[order]], "row.code": self._code[order]}
        columns = {name: column[order] for name, column in self._state.items()}
        engine = {"seen": self._seen.at, "newest": self._newest} | self._states.snapshot()
        return pack(meta, columns | rows | engine)

    def restore(self, state: bytes) -> None:
        meta, arrays = unpack(state)
        self._seen = LastSeen(arrays.pop("seen"))
        self._gates.restore(meta["gates"])
        self._states.restore(arrays)
        _, here, there = np.intersect1d(self._series, meta["series"], return_indices=True)
        self._newest[here] = arrays.pop("newest")[there]
        nth, code = self._nth[_within(arrays.pop("row.series"), self._nth)], arrays.pop("row.code")
        known = np.flatnonzero(nth >= 0)
        # Rows of a series that was then watched without states, or is so now, are left out.
        known = known[self._by_state[nth[known]] == (code[known] != UNKNOWN)]
        nth, code = nth[known], code[known]
        self._add_rows(nth, code)
        rows = self._row[nth, code]
        for name, column in self._state.items():
            column[rows] = arrays[name][known]

    def _judged(self, usable: Batch) -> tuple[Batch, Rows, Rows]:
        """The samples to judge, the number of the watched series of each, and its row."""
        nth = self._nth[self._place(usable)]
        watched = nth >= 0
        if not watched.all():
            usable, nth = usable.take(watched), nth[watched]
        rows = self._rows(nth, usable.at)
        known = rows >= 0
        if known.all():
            return usable, nth, rows
        return usable.take(known), nth[known], rows[known]

    def _scored(self, nth: Rows, at: Times, scores: Floats) -> Batch:
        """What `_tick` has found, without what is NaN."""
        outputs = scores.shape[1]
        said = np.flatnonzero(~np.isnan(scores))
        sample = said // outputs
        series = self._scores.reshape(-1)[said + (nth[sample] - sample) * outputs]
        return Batch.of(series, at[sample], scores.reshape(-1)[said])

    def _resumed(self, rows: Rows) -> Mask:
        """Where the sample before this one was in another state, given `last`, the row's own last."""
        return self._state["last"][rows] < self._newest[self._of_row[rows]]

    def _rows(self, nth: Rows, at: Times) -> Rows:
        """The row of each sample of the nth watched series; -1 where the state is unknown or blanked."""
        if not self._has_states:
            return nth  # one row each, in the same order
        rows = self._row[nth, UNKNOWN]
        by = np.flatnonzero(self._by_state[nth])
        if not len(by):
            return rows
        watched = nth[by]
        code, since = self._states.at(watched, at[by])
        usable = (code != UNKNOWN) & (at[by] - np.maximum(since, 0) >= self._blank_ns[watched])
        by, watched, code = by[usable], watched[usable], code[usable]
        self._add_rows(watched, code)
        rows[by] = self._row[watched, code]
        return rows

    def _add_rows(self, nth: Rows, code: NDArray[np.int64]) -> None:
        """Makes the rows of these series and states that do not exist yet."""
        missing = np.unique((nth * CODES + code)[self._row[nth, code] < 0])
        if not len(missing):
            return
        nth, code = np.divmod(missing, CODES)
        before = len(self._of_row)
        self._row[nth, code] = before + np.arange(len(missing))
        self._of_row = np.concatenate((self._of_row, nth))
        self._code = np.concatenate((self._code, code))
        self._watched = self._watched + [self._all[i] for i in nth.tolist()]
        old, self._state = self._state, self._fresh(len(self._of_row))
        for name, column in self._state.items():
            column[:before] = old[name]

    def _open(self, nth: Rows, at: Times) -> Mask:
        """Whether the gates of each sample's series were open; series without gates are always open."""
        is_open = np.ones(len(nth), np.bool_)
        if self._has_gates:
            gated = self._gated[nth]
            is_open[gated] = self._gates.open_at(nth[gated], at[gated])
        return is_open

    def _place(self, batch: Batch) -> Rows:
        return _within(batch.series, self._nth)


def _within(series: NDArray[np.int32], table: NDArray[np.intp]) -> Rows:
    return np.minimum(series, len(table) - 1, dtype=np.intp)


def _ticks(series: NDArray[np.int32]) -> tuple[Rows | slice, list[slice]]:
    """(order, ticks): the first sample of each series, then the second of each, …, and where in that
    order each of these begins and ends; `series` is sorted."""
    if (series[1:] != series[:-1]).all():  # nearly always
        return slice(None), [slice(None)] * bool(len(series))
    starts = run_starts(series)
    nth = np.arange(len(series)) - np.repeat(starts, np.diff(starts, append=len(series)))
    ends = np.cumsum(np.bincount(nth)).tolist()
    return np.argsort(nth, kind="stable"), [slice(a, b) for a, b in pairwise([0, *ends])]
