"""What is told of why an alert fired: values only, gathered when it fires, from what the rules hold anyway.

`Alert.why` holds, besides the template with its value and limit (all keys but those are left out where
they do not apply; points are keys of the asset, values are in their units):

    seen, expected      the measured point's value and its expected [low, high]
    predicted           what an asset model expected of the measured point
    cause               code of `<point>.cause`: which family of features made the score
    parts               of an asset model: [{point, share, seen, expected}], the three with most of the residual
    states              [{point, value}]: operating states, the one that belongs to the point first
    gates               [{point, op, values|low|high, for_s, value}]: what had to be true for the rule to look
    checked             [{rule, point, value, op, values|limit, holds}]: other rules of the asset that looked
                        and did not fire, the nearest to firing first; holds: true so far, its delay not over
    checked_more        how many more
    also                [{rule, point}]: other rules of the asset that were firing then
    stale               [{rule, point, age_s}]: rules that could not look, for their data were too old
    stale_more          how many more

All is as of the sample at which the alert fired, so that any cut of the input tells the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pms_iot.alerts.instances import Instances
from pms_iot.alerts.last_values import NEVER
from pms_iot.alerts.related import Related
from pms_iot.telemetry.condition import Condition

LISTED = 5  # of each list of other rules
PARTS = 3
FRESH_NS = 120 * 1_000_000_000  # twice the slowest heartbeat that a derived point has

Rows = NDArray[np.intp]
AsOf = Callable[[NDArray[np.intp], int], tuple[NDArray[np.float64], NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class Moment:
    """What the rule engine knows as of one sample. Each takes rows, or series, and the sample's time."""

    as_of: AsOf
    is_open: Callable[[Rows, int], NDArray[np.bool_]]
    is_firing: Callable[[Rows, int], NDArray[np.bool_]]


def told(condition: Condition, value: float, *, point: str, unit: str, for_s: float) -> dict[str, Any]:  # fmt: skip
    """Template and values of the rule itself."""
    why: dict[str, Any] = {
        "template": condition.op,
        "point": point,
        "value": value,
        "limit": condition.limit(value),
        "for_s": for_s,
        "unit": unit,
    }
    if condition.discrete:
        why["values"] = list(condition.values)
    return why


class Explainer:
    """Explains over one table of rules on assets. What it looks up of an asset is made at its first alert."""

    def __init__(self, table: Instances, related: Mapping[str, Related]) -> None:
        self._table, self._related = table, related

    def explain(self, row: int, at: int, value: float, moment: Moment) -> dict[str, Any]:
        """`Alert.why` of a row that fires at `at` (Unix ns)."""
        rule, info = self._table.rule[row], self._table.info[row]
        assert rule.condition is not None
        why = told(rule.condition, value, point=info.point, unit=info.unit, for_s=rule.for_s)
        found = (
            self._expected(row, at, moment.as_of)
            | self._states(row, at, moment.as_of)
            | self._gates(row, at, moment.as_of)
            | self._others(row, at, moment)
        )
        return why | {name: what for name, what in found.items() if what or what == 0}

    def _values(self, row: int, keys: Sequence[str], at: int, as_of: AsOf) -> list[float | None]:
        """Values of points of the row's asset; None for one that it lacks or that is not fresh."""
        asset = self._table.info[row].asset
        series = np.array([self._table.series_of(asset, key) for key in keys], np.intp)
        value, heard = as_of(series, at)
        fresh = (heard != NEVER) & (at - np.maximum(heard, 0) <= self._fresh_ns(asset, keys))
        return [v if ok else None for v, ok in zip(value.tolist(), fresh.tolist(), strict=True)]

    def _fresh_ns(self, asset: str, keys: Sequence[str]) -> NDArray[np.int64]:
        """An age up to which a value still speaks for the present."""
        periods = (self._table.period_s(asset, key) for key in keys)
        return np.array([max(int(3e9 * period), FRESH_NS) for period in periods], np.int64)

    def _expected(self, row: int, at: int, as_of: AsOf) -> dict[str, Any]:
        info = self._table.info[row]
        base = info.point.split(".", maxsplit=1)[0]
        if self._table.series_of(info.asset, base) < 0:
            return {"parts": self._parts(row, base, at, as_of)}
        keys = [base, f"{base}.lo", f"{base}.hi", f"{base}.expected", f"{base}.cause"]
        seen, low, high, predicted, cause = self._values(row, keys, at, as_of)
        found: dict[str, Any] = {}
        if low is not None and high is not None:
            found |= {"seen": seen, "expected": [low, high]}
        if predicted is not None:
            found |= {"seen": seen, "predicted": predicted}
        if cause and base != info.point:
            found["cause"] = int(cause)
        return found

    def _parts(self, row: int, model: str, at: int, as_of: AsOf) -> list[dict[str, Any]]:
        """Which points of an asset model make up its residual, the largest share first."""
        info = self._table.info[row]
        known = self._related.get(info.kind, Related()).parts.get(model)
        points = [p for p in self._table.shared(info.asset) if known is None or p in known]
        keys = [f"{p}{end}" for p in points for end in (".share", "", ".expected")]
        values = iter(self._values(row, keys, at, as_of))
        rows = [
            (-share, point, seen, expected)
            for point, share, seen, expected in zip(points, values, values, values, strict=True)
            if share
        ]
        return [
            {"point": point, "share": -share, "seen": seen, "expected": expected}
            for share, point, seen, expected in sorted(rows, key=lambda row: row[:2])[:PARTS]
        ]

    def _states(self, row: int, at: int, as_of: AsOf) -> dict[str, Any]:
        points = self._state_points(row)
        values = self._values(row, points, at, as_of)
        known = zip(points, values, strict=True)
        return {"states": [{"point": p, "value": int(v)} for p, v in known if v is not None]}

    def _state_points(self, row: int) -> list[str]:
        """Of the detector, of the part of the asset that the point belongs to, of the asset, of the gates."""
        rule, info = self._table.rule[row], self._table.info[row]
        base = info.point.split(".", maxsplit=1)[0]
        related = self._related.get(info.kind, Related())
        own = [related.state_of.get(base, ""), f"{base.split('_', maxsplit=1)[0]}_state", "state"]
        states = self._table.states(info.asset)
        nearest = [point for point in own if point in states][:1]
        gates = [gate.point for gate in rule.when if gate.point in states]
        return list(dict.fromkeys([*nearest, *gates]))

    def _gates(self, row: int, at: int, as_of: AsOf) -> dict[str, Any]:
        when = self._table.rule[row].when
        asset = self._table.info[row].asset
        series = np.array([self._table.series_of(asset, gate.point) for gate in when], np.intp)
        values, _ = as_of(series, at)
        gates = [
            {"point": gate.point, **_terms(gate.condition), "for_s": gate.for_s, "value": value}
            for gate, value in zip(when, values.tolist(), strict=True)
            if not math.isnan(value)  # else an old snapshot knew the gate, but not its value
        ]
        return {"gates": gates}

    def _others(self, row: int, at: int, moment: Moment) -> dict[str, Any]:
        """The other rules of the asset: that looked, that fired, that could not look."""
        table = self._table
        rows = self._rows_of[table.info[row].asset]
        rows = rows[rows != row]
        value, heard = moment.as_of(table.series[rows], at)
        watching = (heard != NEVER) & moment.is_open(rows, at)
        rows, value, heard = rows[watching], value[watching], heard[watching]
        age = at - heard
        firing = moment.is_firing(rows, at)
        fresh = age <= np.maximum(table.max_gap_ns[rows], FRESH_NS)
        away = _distance(table, rows, value)
        looked = sorted(
            (away[i], table.keys[rows[i]], i) for i in np.flatnonzero(fresh & ~firing).tolist()
        )
        old = np.flatnonzero(~fresh & ~firing).tolist()
        checked = [
            self._check(int(rows[i]), float(value[i]), holds=away[i] <= 0) for _, _, i in looked
        ]
        stale = [self._name(int(rows[i])) | {"age_s": int(age[i]) / 1e9} for i in old]
        return {
            "checked": checked[:LISTED],
            "checked_more": max(len(checked) - LISTED, 0) or None,
            "also": [self._name(r) for r in rows[firing].tolist()],
            "stale": stale[:LISTED],
            "stale_more": max(len(stale) - LISTED, 0) or None,
        }

    def _name(self, row: int) -> dict[str, Any]:
        return {"rule": self._table.rule[row].id, "point": self._table.info[row].point}

    def _check(self, row: int, value: float, *, holds: bool) -> dict[str, Any]:
        condition = self._table.rule[row].condition
        assert condition is not None
        said = {"op": condition.op, "value": value, "holds": holds}
        if condition.discrete:
            return self._name(row) | said | {"values": list(condition.values)}
        return self._name(row) | said | {"limit": condition.limit(value)}

    @cached_property
    def _rows_of(self) -> Mapping[str, Rows]:
        found: dict[str, list[int]] = {}
        for row, info in enumerate(self._table.info):
            found.setdefault(info.asset, []).append(row)
        return {asset: np.array(rows, np.intp) for asset, rows in found.items()}


def _terms(condition: Condition) -> dict[str, Any]:
    """A condition as values; the limits that it does not use are left out."""
    terms: dict[str, Any] = {"op": condition.op}
    if condition.discrete:
        return terms | {"values": list(condition.values)}
    limits = {"low": condition.low, "high": condition.high}
    return terms | {name: limit for name, limit in limits.items() if math.isfinite(limit)}


def _distance(table: Instances, rows: Rows, value: NDArray[np.float64]) -> list[float]:
    """How far each rule is from being true of its value, as a share of its limit; 0: it is true.

    A rule on codes is either true or as far as can be.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        over = (table.high[rows] - value) / _scale(table.high[rows])
        under = (value - table.low[rows]) / _scale(table.low[rows])
    away = np.fmin(over, under)
    away[table.discrete[rows]] = np.inf
    away[table.begins(rows, value)] = 0.0
    return away.tolist()


def _scale(limit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(limit == 0, 1.0, np.abs(limit))
