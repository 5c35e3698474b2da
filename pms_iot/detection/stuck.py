"""Stuck sensor: how long a reading has not moved by more than `min_change`.

Source: the flat-line test of QARTOD (Manual for Real-Time Quality Control, test 8): a reading that
stays within a tolerance of itself for a time that the process never does. A gate (`when`) says when
the process is expected to move at all. Without `min_change` the tolerance is learned, a tenth of the
usual step between samples, and only a reading that nearly always moves can be stuck: a binary one, or
one that is constant by nature, is not.
"""

import numpy as np

from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

_SHARE = 0.1  # of the usual step
_WEIGHT = 1 / 200  # of a sample in what is usual
_LEARNED = 200  # samples before a learned tolerance counts
_MOVES = 0.8  # share of samples that move, of a reading that can be stuck
_BRIEF = 10  # samples without change after which nothing is learned


class Stuck(ColumnarDetector):
    """Scores: `<point>.stuck`, seconds; 0 while the gate is closed."""

    def _fresh(self, size: int) -> Arrays:
        self._min_change = np.array([w.spec.min_change for w in self._watched])
        max_gap_s = [max(3 * w.period_s, 60.0) for w in self._watched]
        self._max_gap_ns = np.array([int(gap * S) for gap in max_gap_s], np.int64)
        return {
            "value": np.full(size, np.nan),  # what the reading is compared with
            "before": np.full(size, np.nan),  # the last reading
            "since": np.zeros(size, np.int64),
            "last": np.zeros(size, np.int64),
            "run": np.zeros(size),  # samples without change
            "count": np.zeros(size),
            "step": np.zeros(size),  # usual change from sample to sample
            "moves": np.zeros(size),  # share of samples that change at all
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        state, tolerance = self._state, self._min_change[rows]
        learned = np.flatnonzero(tolerance == 0)
        tolerance[learned] = _SHARE * state["step"][rows[learned]]
        still = np.abs(value - state["value"][rows]) <= tolerance  # NaN: not still
        # Nobody saw what the reading did during a gap.
        still &= is_open & (at - state["last"][rows] <= self._max_gap_ns[rows])
        moved = np.flatnonzero(~still)
        state["value"][rows[moved]] = value[moved]
        state["since"][rows[moved]] = at[moved]
        state["last"][rows] = at
        state["run"][rows] = np.where(still, state["run"][rows] + 1, 0)
        found = (at - state["since"][rows]) / S
        if len(learned):
            seen = learned[is_open[learned]]
            self._learn(rows[seen], value[seen])
        state["before"][rows] = value
        mine = rows[learned]
        cannot = (state["count"][mine] < _LEARNED) | (state["moves"][mine] < _MOVES)
        found[learned[cannot]] = 0.0
        return found[:, None]

    def _learn(self, rows: Rows, value: Floats) -> None:
        state = self._state
        change = np.abs(value - state["before"][rows])
        known = ~np.isnan(change) & (state["run"][rows] <= _BRIEF)
        rows, change = rows[known], change[known]
        weight = np.maximum(_WEIGHT, 1 / (state["count"][rows] + 1))
        state["step"][rows] += weight * (change - state["step"][rows])
        state["moves"][rows] += weight * ((change > 0) - state["moves"][rows])
        state["count"][rows] += 1
