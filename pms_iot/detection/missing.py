"""Missing data: a point that is silent while others of its asset speak.

The silence is measured in the longest interval that is usual between its samples: the 99th percentile
of those seen, kept as a histogram with eight bins to the octave. The clock is the asset's own samples,
so a whole asset or gateway that is silent is no business of this detector: `silent_for` rules and the
gateway's health tell that, once for all of its points.
Source: dead-man timers; the percentile in place of a fixed period as in the detection reference.
"""

from collections.abc import Sequence

import numpy as np

from pms_iot.detection.asof import last_before
from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times, Watched
from pms_iot.kernel.arrays import Arrays
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.groups import run_starts

_BINS = 256  # from 1 ms
_FIRST_S, _PER_OCTAVE = 1e-3, 8
_ONE = np.float32(1)
_ENOUGH = 20  # intervals before anything is said
_FULL = 10_000
_LOOK_NS = 10 * S  # how often an asset is looked at, at most
_TELL_NS = 60 * S


class Missing(ColumnarDetector):
    """Scores: `<point>.missing`, silence over the longest usual interval; told at least once a minute
    while the asset speaks, and whenever it is above 1."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        ordered = sorted(watched, key=lambda w: w.series)
        clocks = sorted({series for w in ordered for series in w.beside})
        groups = sorted({w.beside for w in ordered})
        number = {group: i for i, group in enumerate(groups)}
        self._asset = np.array([number[w.beside] for w in ordered], np.int64)
        size = max([*clocks, *(w.series for w in ordered)], default=-1) + 2
        self._asset_of = np.full(size, -1, np.int64)
        for group, i in number.items():
            self._asset_of[list(group)] = i
        super().__init__(watched)
        self._clocked = self._asset_of >= 0

    def _fresh(self, size: int) -> Arrays:
        self._least_ns = np.array([int(w.period_s * S) for w in self._watched], np.int64)
        return {
            "last": np.zeros(size, np.int64),
            "intervals": np.zeros((size, _BINS), np.float32),
            "looked": np.zeros(size, np.int64),
            "told": np.zeros(size, np.int64),
            "ratio": np.zeros(size),
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        raise NotImplementedError(
            "judged by the clock of the asset, not by the point's own samples"
        )

    def update(self, batch: Batch) -> Batch:
        place = np.minimum(batch.series, len(self._asset_of) - 1, dtype=np.intp)
        clocked = self._clocked[place]
        usable = self._seen.usable(batch if clocked.all() else batch.take(clocked))
        if not len(usable):
            return Batch.empty()
        assets, looks = self._looks(usable)
        nth = self._nth[self._place(usable)]
        own, at = nth[nth >= 0], usable.at[nth >= 0]
        if not len(assets):
            self._arrive(own, at)
            return Batch.empty()
        # An arrival belongs to the first look at or after it; those after the last look wait.
        turn = _turns(assets, looks, self._asset[own], at)
        of_asset = np.concatenate(([0], np.cumsum(np.bincount(assets, minlength=1))))
        nth_look = np.arange(len(assets)) - of_asset[assets]
        found: list[Batch] = []
        for k in range(int(nth_look.max(initial=-1)) + 1):
            self._arrive(own[turn == k], at[turn == k])
            now = nth_look == k
            found.append(self._look(assets[now], looks[now]))
        late = turn > nth_look.max(initial=-1)
        self._arrive(own[late], at[late])
        return Batch.concat(found)

    def _looks(self, usable: Batch) -> tuple[Rows, Times]:
        """(asset, when) of each look that these samples give cause to, by asset and time."""
        asset = self._asset_of[usable.series]
        at = usable.at
        if not _in_order(asset, at):
            order = np.lexsort((at, asset))
            asset, at = asset[order], at[order]
        cell = at // _LOOK_NS
        watched = np.full(int(self._asset.max(initial=-1)) + 1, 0, np.int64)
        np.maximum.at(watched, self._asset, self._state["looked"])
        before = np.empty_like(cell)
        before[1:] = cell[:-1]
        starts = run_starts(asset)
        before[starts] = watched[asset[starts]] // _LOOK_NS
        due = (cell > before) & (cell > watched[asset] // _LOOK_NS)
        return asset[due], at[due]

    def _arrive(self, rows: Rows, at: Times) -> None:
        """Notes arrivals, ordered by row and time, and the intervals between them."""
        if not len(rows):
            return
        state = self._state
        before = np.empty_like(at)
        before[1:] = at[:-1]
        starts = run_starts(rows)
        before[starts] = state["last"][rows[starts]]
        known = before > 0
        interval = np.maximum((at - before)[known] / S / _FIRST_S, 1.0)
        bin_ = np.minimum(np.log2(interval) * _PER_OCTAVE, _BINS - 1).astype(np.intp)
        np.add.at(state["intervals"].reshape(-1), rows[known] * _BINS + bin_, _ONE)
        state["last"][rows] = at

    def _look(self, assets: Rows, at: Times) -> Batch:
        """Judges all watched points of these assets, each at the time beside it."""
        state = self._state
        when = np.zeros(int(self._asset.max()) + 1, np.int64)
        when[assets] = at
        rows = np.flatnonzero(when[self._asset] > 0)
        at = when[self._asset[rows]]
        state["looked"][rows] = at
        ratio = (at - state["last"][rows]) / self._usual_ns(rows)
        was, state["ratio"][rows] = state["ratio"][rows], ratio
        tell = (ratio > 1) | (was > 1) | (at - state["told"][rows] >= _TELL_NS)
        tell &= ~np.isnan(ratio)
        rows, at, ratio = rows[tell], at[tell], ratio[tell]
        state["told"][rows] = at
        return Batch.of(self._scores[rows, 0], at, ratio)

    def _usual_ns(self, rows: Rows) -> Floats:
        """The longest usual interval, at least the declared period; NaN while too few are known."""
        past = self._state["intervals"][rows]
        n = past.sum(axis=1)
        full = n > _FULL
        if full.any():
            self._state["intervals"][rows[full]] /= 2
        used = past.max(axis=0, initial=0.0) > 0  # of all bins few, and zeros change no sum
        used[0] = True
        bins = np.flatnonzero(used)
        bin_ = bins[(past[:, bins].cumsum(axis=1) >= 0.99 * n[:, None]).argmax(axis=1)]
        usual = _FIRST_S * S * 2.0 ** ((bin_ + 1) / _PER_OCTAVE)
        return np.where(n < _ENOUGH, np.nan, np.maximum(usual, self._least_ns[rows]))


def _in_order(assets: Rows, at: Times) -> bool:
    """Whether these are ordered by asset, then by time."""
    same = assets[1:] == assets[:-1]
    return bool(((assets[1:] > assets[:-1]) | (same & (at[1:] >= at[:-1]))).all())


def _turns(assets: Rows, looks: Times, asset: Rows, at: Times) -> Rows:
    """For each arrival, the number of its asset's looks that lie before it."""
    before = last_before(assets, looks, asset, at - 1)
    first = np.searchsorted(assets, asset)
    return np.where(before >= 0, before - first + 1, 0)
