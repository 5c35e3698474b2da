"""The model of one kind of asset: a drift-aware chart and a ridge model per operating state, one verdict.

Rows of the asset (asset_rows.py) go to the columns of the operating state that holds. Each is judged by
the chart (chart.py), which needs minutes, and by the residual of the ridge model (ridge.py), which needs
days; the larger of both, each over its own limit, is the score. In alarm nothing is learned; an alarm
that outlasts `freeze` is taken for the new normal, which is learned from the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.detection.asset_rows import AssetRows, Floats, Index, S, Tick, Times
from pms_iot.detection.calendar import Calendar
from pms_iot.detection.chart import Chart
from pms_iot.detection.model_file import LEARNED, Learned
from pms_iot.detection.ridge import Ridge
from pms_iot.detection.spec import DetectorSpec
from pms_iot.detection.states import CODES, UNKNOWN
from pms_iot.feedback.service import TRUE, Limit
from pms_iot.kernel.arrays import Arrays, pack, unpack
from pms_iot.telemetry.batch import Batch

Mask = NDArray[np.bool_]

_DAY_S = 86_400.0
_GAP = 30.0  # steps; what is older says nothing of now
_FOLLOWS = 1.5  # steps; a row further away is not the row before
_OFF = 0.2  # of the limit, where an alarm of the residual ends
_JUST = 1.001  # the least excess in alarm
_PER_INPUT = 5  # rows for each input, before a fit
_MOST_LEVEL = 4.0
_RIGHT, _WRONG = 0.9, 1.25  # what a verdict multiplies the limits by


@dataclass(frozen=True, slots=True)
class Modelled:
    """One asset, as series: what goes in and what comes out; -1 for a point that it lacks.

    points and statuses as in the spec; state: of the operating state, -1 without. periods_s: of points,
    statuses and state.
    """

    asset: str
    points: tuple[int, ...]
    statuses: tuple[int, ...]
    state: int
    periods_s: tuple[float, ...]
    anomaly: int
    excess: int
    expected: tuple[int, ...]
    share: tuple[int, ...]
    zone: str = "UTC"

    @property
    def inputs(self) -> tuple[int, ...]:
        return (*self.points, *self.statuses, self.state)


class AssetModel:
    """All assets of a kind under one spec; state as arrays over assets, and over assets and states.

    Params of the spec, all optional: step (s between two rows; the longest period of a point), limit
    (of the chart, in its units; 0: no chart), residual_limit (in usual mean squares; 0: no ridge model),
    learn (s of data before the first fit), refit (s between two), memory (s that a fit remembers),
    freeze (s), band (s between two samples of what was expected).
    """

    def __init__(self, spec: DetectorSpec, watched: Sequence[Modelled]) -> None:
        self.spec = spec
        self.watched = sorted(watched, key=lambda asset: asset.asset)
        self._number = {asset.asset: a for a, asset in enumerate(self.watched)}
        self._points = len(spec.targets())
        self._statuses = len(spec.points) - self._points
        periods = [period for asset in self.watched for period in asset.periods_s[: self._points]]
        self._step_s = self._param("step", max(periods, default=1.0))
        warmup = max(spec.warmup_s, spec.quiet_s) / self._step_s
        self._limit = self._param("limit", 0.75)
        self._residual_limit = self._param("residual_limit", 1.7)
        self._learn_ns = int(self._param("learn", 7 * _DAY_S) * S)
        self._refit_ns = int(self._param("refit", _DAY_S) * S)
        self._most = self._param("memory", 365 * _DAY_S) / self._step_s
        self._freeze_ns = int(self._param("freeze", _DAY_S) * S)
        self._band_ns = int(self._param("band", 30.0) * S)
        self._blank_ns = int(spec.blank_s * S)
        self._chart = Chart(self._points, warmup, self._limit or np.inf)
        self._ridge = Ridge(self._points, self._statuses, self._residual_limit)
        hold_s = [
            [3 * max(period, self._step_s) for period in asset.periods_s] for asset in self.watched
        ]
        inputs = [asset.inputs for asset in self.watched]
        self._rows = AssetRows(inputs, hold_s, self._step_s)
        width = len(spec.points)
        of_points = [series[:width] for series in inputs]
        self._has = np.array(of_points, np.int64).reshape(len(inputs), width) >= 0
        self._calendar = Calendar([asset.zone for asset in self.watched])
        self._out = _Outputs(self.watched, self._points)
        size = len(self.watched)
        self.assets: Arrays = {
            "asset.code": np.full(size, -1, np.int64),
            "asset.since": np.zeros(size, np.int64),  # in this operating state
            "asset.torn": np.ones(size, np.bool_),  # the next row does not continue the last
            "asset.before": np.full((size, width), np.nan),  # the row before
            "asset.shown": np.zeros(size, np.int64),  # when `expected` was last said
            "asset.level": np.ones(size),  # what people's verdicts make of 1, see _levels
        }
        self._row = np.full((size, CODES), -1, np.intp)  # of an asset in a state
        self.of_row = np.empty((0, 2), np.int64)  # (asset, state) of each row
        self.columns = self._fresh(0)
        self.offers: dict[str, Learned] = {}  # by asset; not taken up yet

    def _param(self, name: str, default: float) -> float:
        return self.spec.params.get(name, default)

    def _fresh(self, size: int) -> Arrays:
        return {
            "model.fit_at": np.zeros(size, np.int64),  # when the next fit is due; 0: no row yet
            "model.score": np.zeros(size),  # of the residual, over its limit
            "model.alarm": np.zeros(size, np.bool_),  # of the residual
            "model.frozen": np.zeros(size, np.int64),  # in any alarm since; 0: not
            **self._chart.fresh(size),
            **self._ridge.fresh(size),
        }

    # -- the stream ------------------------------------------------------------------------

    def update(self, batch: Batch) -> Batch:
        """The scores of these samples: usable, and newer than all before them of their series."""
        return Batch.concat(part for tick in self._rows.ticks(batch) for part in self._tick(tick))

    def _tick(self, tick: Tick) -> list[Batch]:
        self._take_up(tick)
        torn, usable = self._enter(tick)
        value = tick.value[:, :-1]  # points and statuses
        points = value[:, : self._points]
        before = self.assets["asset.before"][tick.assets]
        before[torn | (tick.steps > _FOLLOWS)] = np.nan
        self.assets["asset.before"][tick.assets] = value
        if not usable.any():
            return []
        a, at = tick.assets[usable], tick.at[usable]
        value, points, before = value[usable], points[usable], before[usable]
        rows = self._rows_of(a, self.assets["asset.code"][a])
        self._anchor(rows[torn[usable]])
        level = self._levels()[a]
        steps = np.where(torn, 1.0, tick.steps)[usable]
        out = np.zeros(points.shape)
        if self._limit:
            out = self._chart.judge(self.columns, rows, points, steps, level) / self._limit
        ridge = self._ridge_part(rows, a, at, value, before)
        alarm = self._alarms(rows, at, ridge.score, level)
        self._learn(rows, at, ridge, calm=~alarm)
        ratio = np.maximum(out.max(axis=1, initial=0.0), ridge.score)
        excess = ratio / level
        excess = np.where(alarm, np.maximum(excess, _JUST), np.minimum(excess, 1.0))
        found = [self._out.verdicts(a, at, ratio, excess)]
        shown = (at - self.assets["asset.shown"][a] >= self._band_ns) | (excess > 0.5)
        if shown.any():
            self.assets["asset.shown"][a[shown]] = at[shown]
            expected = np.where(np.isnan(ridge.expected), self._usual(rows, points), ridge.expected)
            share = self._shares(rows, out, ridge.score)
            found.append(self._out.of_points(a[shown], at[shown], expected[shown], share[shown]))
        return found

    def _enter(self, tick: Tick) -> tuple[Mask, Mask]:
        """Of each asset: whether the row does not continue the last, and whether it counts at all."""
        state, a = self.assets, tick.assets
        code = np.full(len(a), UNKNOWN, np.int64)
        if self.spec.by:
            said = tick.value[:, -1]
            known = (said >= 0) & (said < CODES)
            code[known] = said[known].astype(np.int64)
        changed = code != state["asset.code"][a]
        state["asset.code"][a] = code
        since = np.where(changed, tick.at, state["asset.since"][a])
        state["asset.since"][a] = since
        torn = state["asset.torn"][a] | changed | (tick.steps > _GAP)
        usable = np.ones(len(a), np.bool_)
        if self.spec.by:
            usable = (code != UNKNOWN) & (tick.at - since >= self._blank_ns)
        state["asset.torn"][a] = torn & ~usable
        return torn, usable

    def _anchor(self, rows: Index) -> None:
        if len(rows):
            self._chart.anchor(self.columns, rows)
            self._ridge.forget_window(self.columns, rows)

    def _ridge_part(
        self, rows: Index, a: Index, at: Times, value: Floats, before: Floats
    ) -> "_RidgePart":
        """Judges the rows that are complete; the score of another stays as it was."""
        state, n = self.columns, self._points
        points, has = value[:, :n], self._has[a]
        expected = np.full(points.shape, np.nan)
        residual, score = expected.copy(), state["model.score"][rows]
        if not self._residual_limit:
            none = np.zeros(len(rows), np.bool_)
            return _RidgePart(none, np.empty((0, 0)), points, expected, residual, score)
        origin = state["ridge.origin"][rows]
        origin = np.where(np.isnan(origin), points, origin)
        state["ridge.origin"][rows] = origin
        y = np.where(has[:, :n], points - origin, 0.0)
        before = np.where(has, before, 0.0)
        before[:, :n] -= np.where(has[:, :n], origin, 0.0)
        status = np.where(has[:, n:], value[:, n:], 0.0)
        quarter, _ = self._calendar.place(a, at)
        x = self._ridge.row(before, status, quarter / 4)
        complete = ~np.isnan(x.sum(axis=1) + y.sum(axis=1))
        if complete.any():
            mine = rows[complete]
            expected[complete] = self._ridge.expected(state, mine, x[complete])
            residual = np.where(has[:, :n], points - expected, np.nan)
            score[complete] = self._ridge.judge(state, mine, residual[complete])
            state["model.score"][mine] = score[complete]
        return _RidgePart(complete, x, y, expected, residual, score)

    def _alarms(self, rows: Index, at: Times, score: Floats, level: Floats) -> Mask:
        """Which assets are in alarm; one that has been for too long is normal from now on."""
        state = self.columns
        alarm = score > np.where(state["model.alarm"][rows], _OFF, 1.0) * level
        state["model.alarm"][rows] = alarm
        alarm = alarm | state["chart.alarm"][rows].any(axis=1)
        since = state["model.frozen"][rows]
        since = np.where(alarm, np.where(since > 0, since, at), 0)
        state["model.frozen"][rows] = since
        over = alarm & (at - since > self._freeze_ns)
        if over.any():
            self._start_over(rows[over])
        return alarm & ~over

    def _start_over(self, rows: Index) -> None:
        """What is now becomes normal: the chart warms up again, the residual's usual size is learned anew."""
        for name, column in self._chart.fresh(len(rows)).items():
            self.columns[name][rows] = column
        for name in ("model.alarm", "model.frozen", "model.score", "ridge.judged"):
            self.columns[name][rows] = 0
        self.columns["ridge.peak"][rows] = 1.0
        self._ridge.forget_window(self.columns, rows)

    def _learn(self, rows: Index, at: Times, ridge: "_RidgePart", *, calm: Mask) -> None:
        state = self.columns
        learn = np.flatnonzero(ridge.complete & calm)
        if not len(learn):
            return
        mine = rows[learn]
        modelled = state["ridge.version"][mine] > 0
        self._ridge.learn_size(state, mine[modelled], ridge.residual[learn[modelled]])
        self._ridge.learn(state, mine, ridge.x[learn], ridge.y[learn])
        fit_at, now = state["model.fit_at"][mine], at[learn]
        fit_at = np.where(fit_at == 0, now + self._learn_ns, fit_at)
        enough = state["ridge.n"][mine] >= _PER_INPUT * self._ridge.inputs
        due = (now >= fit_at) & enough
        state["model.fit_at"][mine] = np.where(due, now + self._refit_ns, fit_at)
        if due.any():
            self._ridge.fit(state, mine[due], now[due], self._most)

    def _usual(self, rows: Index, points: Floats) -> Floats:
        """What is expected without a ridge model: where the points used to be."""
        warm = self.columns["chart.age"][rows] >= self._chart.warmup
        reference = self.columns["chart.reference"][rows]
        return np.where(warm[:, None] & ~np.isnan(points), reference, np.nan)

    def _shares(self, rows: Index, out: Floats, score: Floats) -> Floats:
        """(rows, points): of whichever of chart and residual is further out; NaN where nothing is."""
        by_chart = (out.max(axis=1, initial=0.0) >= score)[:, None]
        part = np.where(by_chart, out**2, self._ridge.shares(self.columns, rows))
        total = part.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return part / total

    # -- rows of assets and states -----------------------------------------------------------

    def _rows_of(self, assets: Index, code: NDArray[np.int64]) -> Index:
        """The row of each asset in this state; made where there is none yet."""
        missing = np.flatnonzero(self._row[assets, code] < 0)
        if len(missing):
            before = len(self.of_row)
            more = np.stack((assets[missing], code[missing]), axis=1)
            self._row[more[:, 0], more[:, 1]] = before + np.arange(len(more))
            self.of_row = np.concatenate((self.of_row, more))
            old, self.columns = self.columns, self._fresh(len(self.of_row))
            for name, column in self.columns.items():
                column[:before] = old[name]
        return self._row[assets, code]

    # -- people ------------------------------------------------------------------------------

    def judged(self, series: int, outcome: str) -> bool:
        """A person's verdict on an alarm of this series; whether the series is one of ours."""
        a = self._asset_of(series)
        if a is None:
            return False
        self._move(a, _factor(outcome))
        return True

    def withdrawn(self, series: int, outcome: str) -> bool:
        """A verdict does not hold after all; whether the series is one of ours."""
        a = self._asset_of(series)
        if a is None:
            return False
        self._move(a, 1 / _factor(outcome))
        return True

    def _move(self, a: int, factor: float) -> None:
        # One verdict beyond the bounds is kept, so that one taken back leaves the limit where it was.
        level = self.assets["asset.level"]
        level[a] = min(max(level[a] * factor, _RIGHT), _MOST_LEVEL * _WRONG)

    def _levels(self) -> Floats:
        """Of each asset what its limits are multiplied by."""
        return self.assets["asset.level"].clip(1.0, _MOST_LEVEL)

    def limits(self) -> Mapping[int, Limit]:
        """Of each series of `.excess` the level of `.anomaly` that is an alarm now."""
        levels = self._levels().tolist()
        target = self.spec.budget
        return {
            w.excess: Limit(level, target) for w, level in zip(self.watched, levels, strict=True)
        }

    def accept(self, series: int) -> bool:
        """What is now is normal; whether the series is one of ours."""
        a = self._asset_of(series)
        if a is None:
            return False
        rows = self._row[a]
        self._start_over(rows[rows >= 0])
        return True

    def _asset_of(self, series: int) -> int | None:
        made = ((w.anomaly, w.excess, *w.expected, *w.share) for w in self.watched)
        return next((a for a, series_ in enumerate(made) if series in series_), None)

    # -- models from elsewhere ---------------------------------------------------------------

    def unfitted(self) -> list[str]:
        """The assets without any ridge model, which history could give them."""
        if not self._residual_limit:
            return []
        fitted = set(self.of_row[self.columns["ridge.version"] > 0, 0].tolist())
        return [w.asset for a, w in enumerate(self.watched) if a not in fitted]

    def fit_now(self) -> None:
        """New weights for every row that has some, from all that was learned until now."""
        rows = np.flatnonzero(self.columns["ridge.version"] > 0)
        if len(rows):
            self._ridge.fit(self.columns, rows, self.columns["ridge.since"][rows], self._most)

    def learned(self, asset: str, holds_from_ns: int) -> Learned | None:
        """What this model knows of the asset, to be used from that sample time; None without a fit."""
        a = self._number[asset]
        rows = np.flatnonzero((self.of_row[:, 0] == a) & (self.columns["ridge.version"] > 0))
        if not len(rows):
            return None
        return Learned(
            asset,
            holds_from_ns,
            self.of_row[rows, 1],
            {name: self.columns[name][rows] for name in LEARNED},
        )

    def offer(self, learned: Learned) -> None:
        """Takes up a model of an asset at the first row at or after the time from which it holds.

        One that is not newer than the asset's own is dropped then, so an offer may be repeated.
        """
        if learned.asset in self._number and learned.fits(self._fresh(0)):
            self.offers[learned.asset] = learned

    def _take_up(self, tick: Tick) -> None:
        if not self.offers:
            return
        for a, at in zip(tick.assets.tolist(), tick.at.tolist(), strict=True):
            learned = self.offers.get(self.watched[a].asset)
            if learned is not None and at >= learned.holds_from_ns:
                del self.offers[learned.asset]
                self._put(a, learned)

    def _put(self, a: int, learned: Learned) -> None:
        rows = self._rows_of(np.full(len(learned.codes), a, np.intp), learned.codes)
        state, since = self.columns, learned.holds_from_ns
        newer = state["ridge.since"][rows] < since
        rows = rows[newer]
        version = state["ridge.version"][rows]
        for name in LEARNED:
            state[name][rows] = learned.columns[name][newer]
        state["ridge.version"][rows] = version + 1
        state["ridge.since"][rows] = since
        state["model.fit_at"][rows] = since + self._refit_ns
        self._ridge.forget_window(state, rows)

    # -- restart -----------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        order = np.lexsort((self.of_row[:, 1], self.of_row[:, 0]))
        columns = {name: column[order] for name, column in self.columns.items()}
        rows: Arrays = {"row.asset": self.of_row[order, 0], "row.code": self.of_row[order, 1]}
        meta = [asset.asset for asset in self.watched]
        return pack(meta, self.assets | self._rows.state | rows | columns)

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot under the same spec; assets that it does not know start fresh.

        Raises ValueError for bytes that are none, or that lack a column of this version; nothing is
        taken up then.
        """
        there, arrays = unpack(state)
        lacks = (self.assets | self._rows.state | self.columns).keys() - arrays.keys()
        if lacks:
            raise ValueError(f"a state without {', '.join(sorted(lacks))}")
        place = np.array([self._number.get(asset, -1) for asset in there], np.intp)
        known = np.flatnonzero(place >= 0)
        for columns in (self.assets, self._rows.state):
            for name, column in columns.items():
                column[place[known]] = arrays[name][known]
        assets = place[arrays["row.asset"]] if len(place) else np.empty(0, np.intp)
        mine = np.flatnonzero(assets >= 0)
        rows = self._rows_of(assets[mine], arrays["row.code"][mine])
        for name, column in self.columns.items():
            column[rows] = arrays[name][mine]


@dataclass(frozen=True, slots=True)
class _RidgePart:
    """Of each row: whether it is complete, inputs, points less the origin, expected, residual, score."""

    complete: Mask
    x: Floats
    y: Floats
    expected: Floats
    residual: Floats
    score: Floats


class _Outputs:
    """The series of what a model says, as columns."""

    def __init__(self, watched: Sequence[Modelled], points: int) -> None:
        size = len(watched)
        self._verdicts = np.array([(w.anomaly, w.excess) for w in watched], np.int32)
        made = [(w.expected, w.share) for w in watched]
        self._of_points = np.array(made, np.int32).reshape(size, 2, points)

    def verdicts(self, a: Index, at: Times, anomaly: Floats, excess: Floats) -> Batch:
        series = self._verdicts[a]
        return Batch.of(series.T.ravel(), np.tile(at, 2), np.concatenate((anomaly, excess)))

    def of_points(self, a: Index, at: Times, expected: Floats, share: Floats) -> Batch:
        value = np.stack((expected, share), axis=1)
        series = self._of_points[a]
        asset, which, point = np.nonzero(~np.isnan(value) & (series >= 0))
        return Batch.of(series[asset, which, point], at[asset], value[asset, which, point])


def _factor(outcome: str) -> float:
    return _RIGHT if outcome in TRUE else _WRONG
