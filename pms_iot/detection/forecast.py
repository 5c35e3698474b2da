"""Forecast: in how many days a quantity that drifts will reach its limit, with an 80 % interval.

Samples become bins of 1/120 of the window (6 h for 30 days), each the median of the means of its eight
parts, which a burst of wrong readings does not move (median of means: Nemirovski & Yudin 1983). At the end
of each bin the paths of `pms_iot.detection.paths` are weighed. The bins of a series end at a time of day
of its own, so that the work of many series is spread.

While a trend is believed there is one forecast per bin. When it ends, one last sample says "not within
the horizon", so that an alert on the forecast ends too: days_left, days_lo and days_hi are the horizon.
After a step back towards where the growth began (a repair) the bins before it are forgotten.

Params, optional: log (1: the paths are fitted to the logarithm, as insulation resistances fall).
"""

import math

import numpy as np

from pms_iot.detection import paths
from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.detection.paths import Crossing
from pms_iot.kernel.arrays import Arrays

SLOTS = 120  # bins of the window
_PARTS = 8  # of a bin
_DAY_S = 86_400.0
_GOLDEN = 0.6180339887498949
_AGAIN = 2  # bins without a trend that end a forecast


class Forecast(ColumnarDetector):
    """Scores: `<point>.days_left`, `.days_lo`, `.days_hi` in days, at the first sample after each bin."""

    def _fresh(self, size: int) -> Arrays:
        specs = [w.spec for w in self._watched]
        self._bin_ns = np.array([int(s.window_s * S) // SLOTS for s in specs], np.int64)
        share = np.array([w.series * _GOLDEN % 1.0 for w in self._watched])
        self._phase_ns = (share * self._bin_ns).astype(np.int64)
        self._sign = np.array([1.0 if s.rising else -1.0 for s in specs])
        self._log = np.array([w.param("log", 0.0) > 0 for w in self._watched], np.bool_)
        limit = np.array([s.limit for s in specs])
        self._limit = np.where(self._log, _logarithm(limit), limit) * self._sign
        self._horizon = np.array([s.horizon_s / _DAY_S for s in specs])
        per_day = np.round(_DAY_S * S / np.maximum(self._bin_ns, 1)).astype(np.int64)
        self._seasons = np.where((per_day >= 2) & (per_day <= _PARTS), per_day, 1)
        return {
            "open": np.full(size, -1, np.int64),  # number of the bin that is being filled
            "sum": np.zeros((size, _PARTS)),
            "count": np.zeros((size, _PARTS)),
            "age": np.zeros(size),  # sum of the samples' ns since the bin's start
            "at": np.full((size, SLOTS), -1, np.int64),  # mean time of each full bin, in a ring
            "value": np.zeros((size, SLOTS)),
            "next": np.zeros(size, np.int64),  # slot to write
            "trust": np.zeros(size, np.int64),  # bins that a forecast lasts without a trend
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        scores = np.full((len(rows), 3), np.nan)
        chosen = np.flatnonzero(is_open)
        rows, at, value = rows[chosen], at[chosen], value[chosen]
        state, width = self._state, self._bin_ns[rows]
        number, since = np.divmod(at + self._phase_ns[rows], width)
        ended = np.flatnonzero((state["open"][rows] >= 0) & (number > state["open"][rows]))
        for nth in ended.tolist():
            row = int(rows[nth])
            self._close(row)
            scores[chosen[nth]] = self._said(row, int(at[nth]))
        state["open"][rows] = np.maximum(state["open"][rows], number)
        value = np.where(self._log[rows], _logarithm(value), value)
        part = since * _PARTS // width
        state["sum"][rows, part] += value
        state["count"][rows, part] += 1
        state["age"][rows] += since
        return scores

    def _close(self, row: int) -> None:
        """The open bin joins the full ones."""
        state = self._state
        count, slot = state["count"][row], state["next"][row]
        means = state["sum"][row][count > 0] / count[count > 0]
        start = int(state["open"][row] * self._bin_ns[row] - self._phase_ns[row])
        state["at"][row, slot] = start + int(state["age"][row] / count.sum())
        state["value"][row, slot] = np.median(means) * self._sign[row]
        state["next"][row] = (slot + 1) % SLOTS
        state["sum"][row], state["count"][row], state["age"][row] = 0.0, 0.0, 0.0

    def _said(self, row: int, at: int) -> Crossing | tuple[float, float, float]:
        """The forecast at the end of a bin, in days from `at`; NaN for none."""
        state, limit = self._state, float(self._limit[row])
        known = (state["at"][row] >= 0) & (at - state["at"][row] <= SLOTS * self._bin_ns[row])
        slots = np.flatnonzero(known)
        slots = slots[np.argsort(state["at"][row, slots])]
        days = (state["at"][row, slots] - at) / (S * _DAY_S)
        value = state["value"][row, slots]
        number = (state["at"][row, slots] + self._phase_ns[row]) // self._bin_ns[row]
        season = number % self._seasons[row]
        trust, horizon = int(state["trust"][row]), float(self._horizon[row])
        verdict = paths.judge(days, value, season, limit, horizon, believed=trust > 0)
        crossing = verdict.crossing
        if verdict.fallen_from >= 0:
            state["at"][row, slots[: verdict.fallen_from]] = -1
            trust = min(trust, 1)
        elif crossing is None and trust and float(np.median(value[-3:])) >= limit:
            crossing = Crossing(0.0, 0.0, 0.0)  # no longer growing, for it is there
        if crossing is not None:
            state["trust"][row] = _AGAIN
            return crossing
        state["trust"][row] = max(trust - 1, 0)
        return (horizon, horizon, horizon) if trust == 1 else (math.nan, math.nan, math.nan)


def _logarithm(value: Floats) -> Floats:
    """What is not above zero counts as very little."""
    return np.log(np.maximum(value, 1e-9))
