"""Stuck sensor: how long a reading has not moved by more than `min_change`.

Source: the flat-line test of QARTOD (Manual for Real-Time Quality Control, test 8): a reading that
stays within a tolerance of itself for a time that the process never does. A gate (`when`) says when
the process is expected to move at all.
"""

import numpy as np

from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays


class Stuck(ColumnarDetector):
    """Scores: `<point>.stuck`, seconds; 0 while the gate is closed."""

    def _fresh(self, size: int) -> Arrays:
        self._min_change = np.array([w.spec.min_change for w in self._watched])
        max_gap_s = [max(3 * w.period_s, 60.0) for w in self._watched]
        self._max_gap_ns = np.array([int(gap * S) for gap in max_gap_s], np.int64)
        return {
            "value": np.full(size, np.nan),  # what the reading is compared with
            "since": np.zeros(size, np.int64),
            "last": np.zeros(size, np.int64),
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        state = self._state
        still = np.abs(value - state["value"][rows]) <= self._min_change[rows]  # NaN: not still
        # Nobody saw what the reading did during a gap.
        still &= is_open & (at - state["last"][rows] <= self._max_gap_ns[rows])
        state["value"][rows[~still]] = value[~still]
        state["since"][rows[~still]] = at[~still]
        state["last"][rows] = at
        return ((at - state["since"][rows]) / S)[:, None]
