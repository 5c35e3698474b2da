"""Every (rule, asset, point) that is watched, as columns."""

import re
from collections.abc import Iterable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import alert_key
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.gates import Lock
from pms_iot.telemetry.groups import Groups

_S = 1_000_000_000
_STATE = re.compile(r"(^|_)state$")  # `state`, `p1_state`


class Instances:
    """Row i watches series `info[i].id` with `rule[i]`; the limits of all rows are arrays.

    Rows are ordered by series.
    """

    def __init__(self, rules: Iterable[Rule], series: Iterable[SeriesInfo]) -> None:
        of_point: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            for point in rule.points:
                of_point.setdefault((rule.kind, point), []).append(rule)
        infos = sorted(series, key=lambda info: info.id)
        self._of_asset: dict[str, dict[str, SeriesInfo]] = {}
        self._states: dict[str, set[str]] = {}
        self._shared: dict[str, list[str]] = {}
        for info in infos:
            self._of_asset.setdefault(info.asset, {})[info.point] = info
            if info.derived and info.type == "enum" and _STATE.search(info.point):
                self._states.setdefault(info.asset, set()).add(info.point)
            elif info.derived and info.point.endswith(".share"):
                self._shared.setdefault(info.asset, []).append(info.point.removesuffix(".share"))
        rows = [(r, i) for i in infos for r in of_point.get((i.kind, i.point), [])]
        self.rule: list[Rule] = [rule for rule, _ in rows]
        self.info: list[SeriesInfo] = [info for _, info in rows]
        self.keys: list[str] = [alert_key(r.id, i.asset, i.point) for r, i in rows]
        self.row = {key: i for i, key in enumerate(self.keys)}
        self._index_series()
        self._compile()

    def __len__(self) -> int:
        return len(self.keys)

    def _index_series(self) -> None:
        self.series = np.array([info.id for info in self.info], np.intp)
        size = int(self.series.max(initial=-1)) + 2  # the last stands for all series beyond
        of_series: list[list[int]] = [[] for _ in range(size)]
        for row, info in enumerate(self.info):
            of_series[info.id].append(row)
        self.of_series = Groups(of_series)

    def _compile(self) -> None:
        conditions: list[Condition] = []
        for rule in self.rule:
            assert rule.condition is not None  # a rule on silence has no points
            conditions.append(rule.condition)
        self.high = np.array([c.high for c in conditions])
        self.low = np.array([c.low for c in conditions])
        self.clear_high = np.array([c.clear_high for c in conditions])
        self.clear_low = np.array([c.clear_low for c in conditions])
        # Codes in columns padded with NaN, which equals nothing; `negated` swaps "one of" to "none of".
        self.codes = np.full(
            (len(self), max((len(c.values) for c in conditions), default=0)), np.nan
        )
        for row, condition in zip(self.codes, conditions, strict=True):
            row[: len(condition.values)] = condition.values
        self.discrete = np.array([c.discrete for c in conditions], np.bool_)
        self.negated = np.array([c.op == "not_equals" for c in conditions], np.bool_)
        # Data that stops for longer says nothing about the time between.
        gaps = [int(max(3 * (i.period_s or 0.0), 60.0) * _S) for i in self.info]
        self.max_gap_ns = np.array(gaps, np.int64)
        self.for_ns = np.array([int(rule.for_s * _S) for rule in self.rule], np.int64)
        self.clear_for_ns = np.array([int(rule.clear_for_s * _S) for rule in self.rule], np.int64)
        self._find_quiet(conditions)

    def _find_quiet(self, conditions: Sequence[Condition]) -> None:
        """For each series the values with which no row of it begins, so that most need no look."""
        size = len(self.of_series)
        self._most, self._least = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(self._most, self.series, self.high)
        np.maximum.at(self._least, self.series, self.low)
        first = np.array([min(c.values, default=np.inf) for c in conditions])
        last = np.array([max(c.values, default=-np.inf) for c in conditions])
        first[self.negated], last[self.negated] = -np.inf, np.inf  # true of nearly every value
        self._first_code, self._last_code = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(self._first_code, self.series, first)
        np.maximum.at(self._last_code, self.series, last)

    def may_begin(
        self, series: NDArray[np.intp], least: NDArray[np.float64], most: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """False where no row of the series begins with any value from `least` to `most`."""
        beyond = (most > self._most[series]) | (least < self._least[series])
        return beyond | ((most >= self._first_code[series]) & (least <= self._last_code[series]))

    def begins(self, rows: NDArray[np.intp], value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the condition of each row is true of its value, gates and hysteresis left aside."""
        return self._true(rows, value, self.low, self.high)

    def goes_on(self, rows: NDArray[np.intp], value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """As `begins`, of rows whose condition was true before: with hysteresis."""
        return self._true(rows, value, self.clear_low, self.clear_high)

    def _true(
        self,
        rows: NDArray[np.intp],
        value: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        truth = (value > high[rows]) | (value < low[rows])
        discrete = self.discrete[rows]
        if discrete.any():
            chosen = rows[discrete]
            listed = (self.codes[chosen] == value[discrete, None]).any(axis=1)
            truth[discrete] = listed != self.negated[chosen]
        return truth

    def doors(self) -> list[Sequence[Lock]]:
        """The gates of each row, on the series of its asset. A point the asset lacks is never known."""
        return [
            [
                Lock(self.series_of(info.asset, g.point), g.condition, int(g.for_s * _S))
                for g in rule.when
            ]
            for rule, info in zip(self.rule, self.info, strict=True)
        ]

    def series_of(self, asset: str, point: str) -> int:
        """The series of an asset's point; -1 for one that it lacks."""
        info = self._of_asset.get(asset, {}).get(point)
        return -1 if info is None else info.id

    def period_s(self, asset: str, point: str) -> float:
        """How often the point is sampled; 0 where that is not known."""
        info = self._of_asset.get(asset, {}).get(point)
        return (info.period_s or 0.0) if info is not None else 0.0

    def states(self, asset: str) -> Set[str]:
        """The asset's points that hold an operating state."""
        return self._states.get(asset, frozenset())

    def shared(self, asset: str) -> Sequence[str]:
        """The asset's points of which a model tells their share of its residual."""
        return self._shared.get(asset, ())
