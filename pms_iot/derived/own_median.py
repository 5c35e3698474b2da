"""A value against the median of its own past days: bounded, causal, and slow to take a fault for normal.

Each day's median is that of at most 32 of its values, taken at equal steps (the step doubles when they are
full); the medians of up to 28 days are kept. What is compared with is fixed for a day.
"""

from collections.abc import Sequence

import numpy as np

from pms_iot.derived.computed import Against
from pms_iot.derived.stage import Floats, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

DAY_S = 86_400
_DAY_NS = DAY_S * S
_KEPT = 32  # values of the present day
_DAYS = 28
_FEWEST_DAYS = 3
_FEWEST = 4  # values that make a day's median, where it has as many


class OwnMedians:
    """One row per value that is set against its own median; rows that are not stay as they are."""

    def __init__(self, against: Sequence[Against | None], every_s: Sequence[float]) -> None:
        size, plain = len(against), Against("ratio")
        said = [one or plain for one in against]
        self._is_mine = np.array([one is not None for one in against], np.bool_)
        self._relation = np.array([one.relation for one in said])
        self._days = np.array([one.days for one in said], np.intp)
        self._lag = np.array([one.lag for one in said], np.intp)
        self._guard = np.array([one.guard for one in said])
        self._relearn = np.array([one.relearn for one in said], np.int64)
        self._fewest = np.array([min(_FEWEST, max(int(DAY_S / every), 1)) for every in every_s])
        self.state: Arrays = {
            "day": np.full(size, -1, np.int64),
            "seen": np.zeros(size, np.int64),  # values of that day
            "step": np.ones(size, np.int64),  # every how many of them is kept
            "count": np.zeros(size, np.int64),
            "values": np.full((size, _KEPT), np.nan),
            "medians": np.full((size, _DAYS), np.nan),  # of learned days, the newest first
            "outside": np.zeros(size, np.int64),  # days in a row that were not learned
            "base": np.full(size, np.nan),
        }

    def apply(self, rows: Rows, value: Floats, at: Times) -> Floats:
        """The values (each row once) as their specs want them; NaN where there is nothing to compare with."""
        mine = np.flatnonzero(self._is_mine[rows] & np.isfinite(value))
        result = value.copy()
        if len(mine):
            chosen, seen = rows[mine], value[mine]
            self._turn_days(chosen, (at[mine] - 1) // _DAY_NS)
            self._keep(chosen, seen)
            result[mine] = self._related(chosen, seen)
        return result

    def _related(self, rows: Rows, value: Floats) -> Floats:
        base, relation = self.state["base"][rows], self._relation[rows]
        ratio = value / np.where(base != 0, base, np.nan)
        choices = [value - base, 100 * (ratio - 1)]
        return np.select([relation == "difference", relation == "percent"], choices, ratio)

    def _turn_days(self, rows: Rows, day: Times) -> None:
        state = self.state
        new = rows[day > state["day"][rows]]
        if not len(new):
            return
        ended = new[state["count"][new] >= self._fewest[new]]
        if len(ended):
            self._learn(ended)
        state["day"][new] = day[day > state["day"][rows]]
        state["seen"][new], state["step"][new], state["count"][new] = 0, 1, 0
        state["values"][new] = np.nan

    def _learn(self, rows: Rows) -> None:
        """Takes the day that has ended into the medians, unless it is far from those before."""
        state = self.state
        median, base = np.nanmedian(state["values"][rows], axis=1), state["base"][rows]
        far = self._distance(rows, median, base) > self._guard[rows]  # False without a base
        outside = np.where(far, state["outside"][rows] + 1, 0)
        anew = outside >= self._relearn[rows]
        state["outside"][rows] = np.where(anew, 0, outside)
        state["medians"][rows[anew]] = np.nan
        learned = rows[~far | anew]
        state["medians"][learned, 1:] = state["medians"][learned, :-1]
        state["medians"][learned, 0] = median[~far | anew]
        state["base"][learned] = self._base(learned)

    def _distance(self, rows: Rows, median: Floats, base: Floats) -> Floats:
        apart = np.abs(median - base)
        relative = apart / np.where(base != 0, np.abs(base), np.nan)
        relation = self._relation[rows]
        choices = [apart, 100 * relative]
        return np.select([relation == "difference", relation == "percent"], choices, relative)

    def _base(self, rows: Rows) -> Floats:
        medians = self.state["medians"][rows]
        count = (~np.isnan(medians)).sum(axis=1)
        first = np.minimum(self._lag[rows], np.maximum(count - self._days[rows], 0))[:, None]
        nth = np.arange(_DAYS)
        used = (nth >= first) & (nth < first + self._days[rows][:, None])
        used[count < _FEWEST_DAYS] = False
        found = np.full(len(rows), np.nan)
        known = used.any(axis=1)
        found[known] = np.nanmedian(np.where(used, medians, np.nan)[known], axis=1)
        return found

    def _keep(self, rows: Rows, value: Floats) -> None:
        state = self.state
        is_due = state["seen"][rows] % state["step"][rows] == 0
        state["seen"][rows] += 1
        rows, value = rows[is_due], value[is_due]
        full = rows[state["count"][rows] == _KEPT]
        if len(full):
            state["values"][full, : _KEPT // 2] = state["values"][full, ::2]
            state["values"][full, _KEPT // 2 :] = np.nan
            state["count"][full] = _KEPT // 2
            state["step"][full] *= 2
        state["values"][rows, state["count"][rows]] = value
        state["count"][rows] += 1
