"""What the detectors share: state as arrays over series, and samples taken in ticks.

Tick k of a batch holds the k-th sample of each series, so that one numpy call serves all series.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.arrays import Arrays, pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.fresh import LastSeen
from pms_iot.telemetry.gates import Gates, Lock

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

    def param(self, name: str, default: float) -> float:
        return self.spec.params.get(name, default)


class ColumnarDetector(ABC):
    """A detector whose state is arrays with one row per watched series."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = sorted(watched, key=lambda w: w.series)
        self._series = np.array([w.series for w in self._watched], np.int32)
        self._scores = np.array([w.scores for w in self._watched], np.int32)
        self._gates = Gates([w.gate for w in self._watched])
        self._gated = np.array([bool(w.gate) for w in self._watched], np.bool_)
        inputs = [w.series for w in watched] + [k.series for w in watched for k in w.gate]
        # Tables by series; the last entry stands for all series beyond.
        size = max(inputs, default=-1) + 2
        self._is_input = np.zeros(size, np.bool_)
        self._is_input[[series for series in inputs if series >= 0]] = True
        self._row = np.full(size, -1, np.intp)
        self._row[self._series] = np.arange(len(self._series))
        self._seen = LastSeen()
        self._state = self._fresh(len(self._watched))

    @abstractmethod
    def _fresh(self, size: int) -> Arrays:
        """State of so many series before their first sample."""

    @abstractmethod
    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        """Takes one sample of each of these rows (each row at most once) and scores it.

        Returns (rows, scores), NaN where there is no score. is_open: whether the gates were open.
        """

    def update(self, batch: Batch) -> Batch:
        inputs = self._is_input[self._place(batch)]
        if not inputs.any():
            return Batch.empty()
        fresh = self._seen.newer(batch.take(inputs))
        usable = fresh.take((fresh.quality > 0) & np.isfinite(fresh.value))
        if not len(usable):
            return Batch.empty()
        self._gates.learn(usable)
        rows = self._row[self._place(usable)]
        mine = usable.take(rows >= 0)
        rows = rows[rows >= 0]
        is_open = self._open(rows, mine.at)
        order: list[Rows] = []
        found: list[Floats] = []
        for tick in _ticks(mine.series):
            order.append(tick)
            found.append(self._tick(rows[tick], mine.at[tick], mine.value[tick], is_open[tick]))
        self._gates.forget()
        if not found:
            return Batch.empty()
        scores, position = np.concatenate(found), np.concatenate(order)
        sample, nth = np.nonzero(~np.isnan(scores))
        position = position[sample]
        return Batch.of(self._scores[rows[position], nth], mine.at[position], scores[sample, nth])

    def snapshot(self) -> bytes:
        meta = {"series": self._series.tolist(), "gates": self._gates.snapshot()}
        return pack(meta, self._state | {"seen": self._seen.at})

    def restore(self, state: bytes) -> None:
        meta, arrays = unpack(state)
        self._seen = LastSeen(arrays.pop("seen"))
        self._gates.restore(meta["gates"])
        _, here, there = np.intersect1d(self._series, meta["series"], return_indices=True)
        for name, column in self._state.items():
            column[here] = arrays[name][there]

    def _open(self, rows: Rows, at: Times) -> Mask:
        """Whether the gates of each sample's series were open; series without gates are always open."""
        is_open = np.ones(len(rows), np.bool_)
        gated = self._gated[rows]
        is_open[gated] = self._gates.open_at(rows[gated], at[gated])
        return is_open

    def _place(self, batch: Batch) -> Rows:
        return np.minimum(batch.series, len(self._row) - 1, dtype=np.intp)


def _ticks(series: NDArray[np.int32]) -> Iterator[Rows]:
    """Positions of the first sample of each series, then of the second, …; `series` is sorted."""
    if not len(series):
        return
    starts = np.concatenate(([True], series[1:] != series[:-1]))
    nth = np.arange(len(series)) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
    order = np.argsort(nth, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(nth))[:-1])
