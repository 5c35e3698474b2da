"""Rate of change: the least-squares slope over the last `window_s`, in units per second.

The slope over a window, not between two samples, because the latter amplifies noise by 1/dt.
Source: ordinary least squares; the window is kept as at most 32 samples, one per 1/32 of it.
"""

import numpy as np

from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

_SLOTS = 33
_SHARE = 0.5  # of the window that must be filled before a slope means anything


class Rate(ColumnarDetector):
    """Scores: `<point>.rate`, once half the window is filled."""

    def _fresh(self, size: int) -> Arrays:
        self._window_ns = np.array([int(w.spec.window_s * S) for w in self._watched], np.int64)
        return {
            "at": np.zeros((size, _SLOTS), np.int64),
            "value": np.full((size, _SLOTS), np.nan),
            "next": np.zeros(size, np.int64),  # slot to write
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        state, window = self._state, self._window_ns[rows]
        self._keep(rows, at, value)
        age = at[:, None] - state["at"][rows]
        kept = state["value"][rows]
        inside = ~np.isnan(kept) & (age > 0) & (age <= window[:, None])
        # The present sample is the origin: it adds to n and to nothing else.
        x = -np.where(inside, age, 0) / S
        y = np.where(inside, kept - value[:, None], 0.0)
        n = inside.sum(axis=1) + 1
        mean_x, mean_y = x.sum(axis=1) / n, y.sum(axis=1) / n
        spread = (x * x).sum(axis=1) - n * mean_x**2
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = ((x * y).sum(axis=1) - n * mean_x * mean_y) / spread
        filled = np.where(inside, age, 0).max(axis=1) >= _SHARE * window
        return np.where(filled & (spread > 0) & is_open, slope, np.nan)[:, None]

    def _keep(self, rows: Rows, at: Times, value: Floats) -> None:
        """Notes the sample if the last noted one is older than a slot's share of the window."""
        state = self._state
        last = (state["next"][rows] - 1) % _SLOTS
        due = at - state["at"][rows, last] >= self._window_ns[rows] // (_SLOTS - 1)
        due |= np.isnan(state["value"][rows, last])
        slot = state["next"][rows]
        state["at"][rows[due], slot[due]] = at[due]
        state["value"][rows[due], slot[due]] = value[due]
        state["next"][rows[due]] = (slot[due] + 1) % _SLOTS
