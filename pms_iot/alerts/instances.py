"""Every (rule, asset, point) that is watched, as columns."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import alert_key
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.gates import Lock

_S = 1_000_000_000


class Instances:
    """Row i watches series `info[i].id` with `rule[i]`; the limits of all rows are arrays.

    Rows are ordered by series, so the rows of series s are first[s] … first[s] + count[s] - 1.
    """

    def __init__(self, rules: Iterable[Rule], series: Iterable[SeriesInfo]) -> None:
        of_point: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            for point in rule.points:
                of_point.setdefault((rule.kind, point), []).append(rule)
        infos = sorted(series, key=lambda info: info.id)
        self._ids = {(info.asset, info.point): info.id for info in infos}
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
        ids = np.array([info.id for info in self.info], np.int64)
        size = int(ids[-1]) + 1 if len(ids) else 0
        self.count = np.bincount(ids, minlength=size)
        self.first = np.concatenate(([0], np.cumsum(self.count)))[:size]

    def _compile(self) -> None:
        conditions: list[Condition] = []
        for rule in self.rule:
            assert rule.condition is not None  # a rule on silence has no points
            conditions.append(rule.condition)
        self.high = np.array([c.high for c in conditions])
        self.low = np.array([c.low for c in conditions])
        # Codes in columns padded with NaN, which equals nothing; `negated` swaps "one of" to "none of".
        self.codes = np.full(
            (len(self), max((len(c.values) for c in conditions), default=0)), np.nan
        )
        for row, condition in zip(self.codes, conditions, strict=True):
            row[: len(condition.values)] = condition.values
        self.discrete = np.array([c.discrete for c in conditions], np.bool_)
        self.negated = np.array([c.op == "not_equals" for c in conditions], np.bool_)
        # Data that stops for longer says nothing about the time between.
        self.max_gap_ns = [int(max(3 * (i.period_s or 0.0), 60.0) * _S) for i in self.info]
        self.for_ns = [int(rule.for_s * _S) for rule in self.rule]
        self.clear_for_ns = [int(rule.clear_for_s * _S) for rule in self.rule]

    def expand(self, series: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(position in `series`, row) for each row that watches each of these series."""
        known = np.flatnonzero(series < len(self.count))
        times = self.count[series[known]]
        position = np.repeat(known, times)
        nth = np.arange(len(position)) - np.repeat(np.cumsum(times) - times, times)
        return position, self.first[series[position]] + nth

    def begins(self, rows: NDArray[np.intp], value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the condition of each row is true of its value, gates and hysteresis left aside."""
        truth = (value > self.high[rows]) | (value < self.low[rows])
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
                Lock(self._ids.get((info.asset, g.point), -1), g.condition, int(g.for_s * _S))
                for g in rule.when
            ]
            for rule, info in zip(self.rule, self.info, strict=True)
        ]

    def band(self, row: int) -> tuple[int, int, int] | None:
        """Series of a row's measured point and of its expected low and high, where a detector makes them."""
        info = self.info[row]
        base = info.point.split(".")[0]
        found = [self._ids.get((info.asset, base + end)) for end in ("", ".lo", ".hi")]
        ids = [series for series in found if series is not None]
        return (ids[0], ids[1], ids[2]) if len(ids) == 3 else None
