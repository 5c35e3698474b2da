"""Rate of change: the least-squares slope over the last `window_s`, in units per second.

The slope over a window, not between two samples, because the latter amplifies noise by 1/dt. Limits on
it are a matter of rules; beside it stands how improbable so steep a slope is among those of the past.
Source: ordinary least squares; the window is kept as at most 32 samples, one per 1/32 of it. The tail
is that of `pms_iot.detection.tail`, over slopes in units of their usual size; one is learned for each
slot of the window.
"""

import numpy as np

from pms_iot.detection import tail
from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

_SLOTS = 33
_BLOCK = 1024  # rows that are fitted at once, in tables that stay in the cache
_ENOUGH = 200  # slopes before one is called improbable
_WEIGHT = 1 / 1000  # of a slope in what is usual
_CLIP = 5.0
_RARE, _RECORD = 3.0, 0.02
_SHARE = 0.5  # of the window that must be filled before a slope means anything


class Rate(ColumnarDetector):
    """Scores: `<point>.rate`, once half the window is filled, and `<point>.rate_anomaly`, -log10 of the
    tail probability of its size; 0 until enough slopes are known."""

    def _fresh(self, size: int) -> Arrays:
        # What `_slope` works in.
        self._since = np.empty((_BLOCK, _SLOTS), np.int64)
        self._outside = np.empty((_BLOCK, _SLOTS), np.bool_)
        self._x, self._y = np.empty((2, _BLOCK, _SLOTS))
        self._window_ns = np.array([int(w.spec.window_s * S) for w in self._watched], np.int64)
        return {
            "at": np.zeros((size, _SLOTS), np.int64),
            "value": np.full((size, _SLOTS), np.nan),
            "next": np.zeros(size, np.int64),  # slot to write
            "past": np.zeros((size, tail.BINS), np.float32),
            "size": np.zeros(size),  # usual size of a slope
            "slopes": np.zeros(size),  # learned so far
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        due = self._keep(rows, at, value)
        after = self._state["next"][rows] - due
        slope = np.empty(len(rows))
        for i in range(0, len(rows), _BLOCK):
            part = slice(i, i + _BLOCK)
            slope[part] = self._slope(rows[part], at[part], value[part], after[part])
        known = np.flatnonzero(~np.isnan(slope) & is_open)
        found = np.full((len(rows), 2), np.nan)
        slope = slope[known]
        found[known, 0] = slope
        found[known, 1] = self._improbability(rows[known], np.abs(slope), due[known])
        return found

    def _slope(self, rows: Rows, at: Times, value: Floats, after: Rows) -> Floats:
        """The slopes of up to `_BLOCK` rows; NaN where less than `_SHARE` of the window is filled.
        after: the slot behind the last sample before this one."""
        size = len(rows)
        since, outside = self._since[:size], self._outside[:size]
        x, y = self._x[:size], self._y[:size]
        window_ns = self._window_ns[rows]
        self._state["at"].take(rows, axis=0, out=since, mode="clip")
        self._state["value"].take(rows, axis=0, out=y, mode="clip")
        since -= at[:, None]
        y -= value[:, None]
        np.divide(since, S, out=x)
        # An empty slot is at 0; the present sample is the origin: it adds to n and to nothing else.
        np.less(since, np.maximum(-window_ns, 1 - at)[:, None], out=outside)
        outside |= since >= 0
        np.copyto(x, 0.0, where=outside)
        np.copyto(y, 0.0, where=outside)
        before = _SLOTS - np.einsum("ij->i", outside.view(np.int8)).astype(np.int64)
        n = before + 1
        mean_x, mean_y = np.einsum("ij->i", x) / n, np.einsum("ij->i", y) / n
        spread = np.einsum("ij,ij->i", x, x) - n * mean_x**2
        oldest = (after - before) % _SLOTS
        filled = -x[np.arange(len(rows)), oldest] >= _SHARE * (window_ns / S)
        known = np.flatnonzero(filled & (spread > 0))
        slope = np.full(len(rows), np.nan)
        common = np.einsum("ij,ij->i", x, y) - n * mean_x * mean_y
        slope[known] = common[known] / spread[known]
        return slope

    def _improbability(self, rows: Rows, size: Floats, due: Mask) -> Floats:
        """-log10 of the tail probability of slopes of these sizes; those that are due are learned."""
        state = self._state
        usual = state["size"][rows]
        z = size / np.maximum(usual, 1e-300)
        bins = tail.bin_of(z)
        ready = state["slopes"][rows] >= _ENOUGH
        found = np.zeros(len(rows))
        rare = np.flatnonzero(ready & (z > 1))
        past = state["past"].take(rows[rare], axis=0)
        found[rare] = tail.score(past, z[rare], bins[rare])
        nth = np.flatnonzero(due)
        now, size, usual = rows[nth], size[nth], usual[nth]
        count = state["slopes"][now]
        weight = np.maximum(_WEIGHT, 1 / (count + 1))
        tame = np.where(count >= _ENOUGH, np.minimum(size, _CLIP * usual), size)
        state["size"][now] += weight * (tame - usual)
        state["slopes"][now] += 1
        settled = np.flatnonzero(count >= _ENOUGH / 2)
        nth, now = nth[settled], now[settled]
        # What is improbable now teaches little, or a run of steep slopes would excuse itself.
        trust = np.where(found[nth] < _RARE, 1.0, _RECORD).astype(np.float32)
        np.add.at(state["past"].reshape(-1), now * tail.BINS + bins[nth], trust)
        return found

    def _keep(self, rows: Rows, at: Times, value: Floats) -> Mask:
        """Notes the sample if the last noted one is older than a slot's share of the window: true there."""
        state = self._state
        slot = state["next"][rows]
        last = state["at"].reshape(-1)[rows * _SLOTS + (slot - 1) % _SLOTS]
        due = (at - last >= self._window_ns[rows] // (_SLOTS - 1)) | (last == 0)
        now = np.flatnonzero(due)
        row, slot = rows[now], slot[now]
        place = row * _SLOTS + slot
        state["at"].reshape(-1)[place] = at[now]
        state["value"].reshape(-1)[place] = value[now]
        state["next"][row] = (slot + 1) % _SLOTS
        return due
