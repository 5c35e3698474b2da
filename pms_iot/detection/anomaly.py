"""The univariate detector: how improbable a reading is beside all that this point has done before.

Features of five families (spike, shift, drift, season, variance) and record novelty, each judged by a
histogram of its own past; their -log10 tail probabilities are added (Fisher 1925). A score counts less
the more often one like it has been before, and for some time after an alarm only a higher one counts.
Source: the study in the detection reference.

Params, all optional: unit (s; the step that all time constants are multiples of: the point's period or
the time between its samples, whichever is longer), freeze (s, after which the new state is taken for
normal), band (s between two samples of band and scores while nothing happens), fall (s of data over
which the limit falls from its high start), least (where its fall ends).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pms_iot.detection import budget, models, records, season, shift, spike, tail, variance, wander
from pms_iot.detection.calendar import Calendar
from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.feedback.service import Limit
from pms_iot.kernel.arrays import Arrays

SPIKE, SHIFT, DRIFT, SEASON, VARIANCE, RECORD = range(1, 7)
# In the order in which `_features` puts them.
_CAUSES = np.array(
    [RECORD, SHIFT, SHIFT, DRIFT, SEASON, SEASON, VARIANCE, SPIKE, SHIFT, DRIFT, VARIANCE]
)
_FAMILY = (_CAUSES[:, None] == np.arange(7)).astype(np.float64)
_RECORDS, _FEATURES = 7, len(_CAUSES)
_FIRST_BIN = np.arange(_FEATURES) * tail.BINS
_ONE = np.float32(1)
_SPIKE = 7  # the feature that the expected band is made of
_FLOOR = 5e-4  # of the physical range: below it, it is the converter that moves, not the machine
_FINE = 2e-3  # of the range seen so far: likewise
_GAP = 3 * models.TAUS[models.L32]  # steps
_REFRACTORY = 80.0  # steps
_SETTLED = 64  # samples after which pasts are gathered
_FRESH = 256  # samples from which the past is halved whenever it has doubled
_EMITTED = 40  # bins of earlier scores, four to the octave from 0.5
_BAND_SHARE = 1e-3
_FREEZE_S = 86_400.0
_STEP_RATE = 0.05


@dataclass(slots=True)
class _Sample:
    """One sample of each of n rows, and what is known of it beforehand."""

    rows: Rows
    at: Times
    value: Floats
    dt_s: Floats
    steps: Floats
    count: Floats
    bins: tuple[Rows, Rows]
    floor: Floats
    rest_ns: Floats  # how long a score silences lower ones


class Anomaly(ColumnarDetector):
    """Scores: `<point>.anomaly` (the score where it counts, else 0), `.excess` (over the limit of the
    budget; of the worst while an alarm lasts), `.lo` and `.hi` (expected), `.cause` (family)."""

    def _fresh(self, size: int) -> Arrays:
        watched = self._watched
        self._unit_s = np.array([w.param("unit", 0.0) for w in watched])
        self._period_s = np.array([w.period_s for w in watched])
        self._floor = np.array([max(_FLOOR * w.span, 1e-9) for w in watched])
        self._freeze_ns = np.array([w.param("freeze", _FREEZE_S) for w in watched]) * S
        self._band_ns = np.array([w.param("band", 30.0) for w in watched]) * S
        self._speaks_s = np.array([w.spec.warmup_s + w.spec.quiet_s for w in watched])
        self._warmup_s = np.array([w.spec.warmup_s for w in watched])
        self._target = np.array([w.spec.budget for w in watched])
        self._fall_s = np.array([w.param("fall", budget.FALL_S) for w in watched])
        self._least = np.array([w.param("least", budget.LEAST) for w in watched])
        self._calendar = Calendar([w.zone for w in watched])
        return (
            {
                "last": np.zeros(size, np.int64),
                "count": np.zeros(size),
                "age": np.zeros(size),  # seconds of data
                "step": np.zeros(size),  # usual time between samples, s
                "past": np.zeros((size, _FEATURES, tail.BINS), np.float32),
                "common": np.zeros((size, _FEATURES), np.uint8),  # bin of the 90 % quantile
                # How many scores of each bin or a higher one have counted.
                "emitted": np.zeros((size, _EMITTED), np.float32),
                "emitted.at": np.zeros(size, np.int64),
                "emitted.score": np.zeros(size),
                "alarm": np.zeros(size, np.int64),  # open since; 0 = none
                "alarm.worst": np.zeros(size),  # score over limit
                "alarm.seen": np.zeros(size, np.int64),  # when it was last in evidence
                "shown": np.zeros(size, np.int64),
            }
            | models.blank(size)
            | records.blank(size, _RECORDS)
            | budget.blank(size)
        )

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        """An alarm of this score (or of another point made of the same) was looked at; outcome:
        true_fault | false_alarm | no_fault_found | sensor_fault. A series of others is nothing to it."""
        budget.judged(self._state, self._rows_of(series), outcome)

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        """An outcome that was told does not hold."""
        budget.withdrawn(self._state, self._rows_of(series), outcome)

    def accept(self, series: int, at_ns: int) -> None:
        """The present level is normal: open alarms end, and references move to where the point is."""
        rows = self._rows_of(series)
        models.relearn(self._state, rows)
        self._state["alarm"][rows] = 0

    def limits(self) -> Mapping[int, Limit]:
        """Series of each score `.excess` -> the limit of the anomaly score and what it aims at; the
        highest where states have limits of their own."""
        found: dict[int, Limit] = {}
        now = budget.limits(self._state, slice(None)).tolist()
        for nth, limit, target in zip(
            self._of_row.tolist(), now, self._target.tolist(), strict=True
        ):
            score = int(self._scores[nth, 1])
            if score not in found or found[score].limit < limit:
                found[score] = Limit(limit, target)
        return found

    def _rows_of(self, series: int) -> Rows:
        nth = np.flatnonzero((self._scores == series).any(axis=1))
        return np.flatnonzero(np.isin(self._of_row, nth))

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        scores = np.full((len(rows), 5), np.nan)
        closed = ~is_open
        if closed.any():
            scores[closed, :2] = 0.0
            self._state["alarm"][rows[closed]] = 0
            if is_open.any():
                scores[is_open] = self._judge(rows[is_open], at[is_open], value[is_open])
            return scores
        return self._judge(rows, at, value)

    def _judge(self, rows: Rows, at: Times, value: Floats) -> Floats:
        sample = self._take(rows, at, value)
        state = self._state
        moment = models.observe(
            state, rows, value, sample.steps, sample.count, sample.bins, sample.floor
        )
        quantities = _quantities(moment, sample.floor)
        least = np.repeat(sample.floor[:, None], _RECORDS, axis=1)
        least[:, 6] = 0.5
        features = np.concatenate(
            (
                records.novelty(state, rows, quantities, least),
                spike.features(moment).T,
                shift.features(moment).T,
                wander.features(moment, sample.floor).T,
                variance.features(moment, sample.floor).T,
            ),
            axis=1,
        )
        bins = tail.bin_of(features)
        parts = self._improbability(rows, features, bins)
        parts[state["age"][rows] < self._warmup_s[rows]] = 0.0
        raw = parts.sum(axis=1)
        score = self._emit(sample, raw)
        excess, may = self._alarm(sample, raw, score)
        models.learn(state, rows, moment, sample.steps, sample.count, sample.bins, may)
        records.learn(state, rows, quantities, may)
        self._remember(rows, bins, sample.count, may)
        self._passed(sample)
        return self._shown(sample, moment, parts, score, excess)

    def _take(self, rows: Rows, at: Times, value: Floats) -> _Sample:
        state = self._state
        count = state["count"][rows]
        dt_s = np.where(count == 0, 0.0, (at - state["last"][rows]) / S)
        step = state["step"][rows]
        resumed = np.flatnonzero(self._resumed(rows) & (count > 0))
        dt_s[resumed] = np.minimum(dt_s[resumed], step[resumed])
        guess = np.where(count <= 1, dt_s, step * np.exp(_STEP_RATE * np.sign(dt_s - step)))
        state["step"][rows] = guess
        unit_s = self._unit_s[rows]
        unit_s = np.where(unit_s > 0, unit_s, np.maximum(self._period_s[rows], guess))
        steps = dt_s / unit_s
        first = np.flatnonzero(count == 0)
        if len(first):
            models.begin(state, rows[first], value[first])
        torn = np.flatnonzero((steps > _GAP) & (count > 0))
        if len(torn):
            models.anchor(state, rows[torn], value[torn])
        steps = np.minimum(steps, _GAP)
        dt_s = np.minimum(dt_s, _GAP * unit_s)
        bins = self._calendar.place(rows, at)
        span = state["high"][rows, 0] - state["low"][rows, 0]
        floor = np.maximum(self._floor[rows], _FINE * np.maximum(span, 0.0))
        rest_ns = _REFRACTORY * unit_s * S
        return _Sample(rows, at, value, dt_s, steps, count, (bins[1], bins[0]), floor, rest_ns)

    def _improbability(self, rows: Rows, features: Floats, bins: tail.Bins) -> Floats:
        """(n, features): -log10 of the tail probability where it is under 10 %, else 0."""
        parts = np.zeros(features.shape)
        common = self._state["common"].take(rows, axis=0).reshape(-1)
        rare = np.flatnonzero(bins.reshape(-1) > common)
        row, feature = np.divmod(rare, _FEATURES)
        past = self._state["past"].reshape(-1, tail.BINS)
        past = past.take(rows[row] * _FEATURES + feature, axis=0)
        parts.reshape(-1)[rare] = tail.score(
            past, features.reshape(-1)[rare], bins.reshape(-1)[rare], common[rare]
        )
        return parts

    def _remember(self, rows: Rows, bins: tail.Bins, count: Floats, may: Mask) -> None:
        """Adds to the pasts, and from time to time looks where their 90 % lies."""
        state = self._state
        known = np.flatnonzero(may & (count >= _SETTLED))
        flat = state["past"].reshape(-1)
        place = rows[known, None] * (_FEATURES * tail.BINS) + _FIRST_BIN
        place += bins.take(known, axis=0)
        np.add.at(flat, place.reshape(-1), _ONE)
        n = count.astype(np.int64)
        # What was learned while the models were young counts for less and less.
        doubled = rows[(n >= _FRESH) & (n & (n - 1) == 0)]
        if len(doubled):
            state["past"][doubled] /= 2
        due = rows[n & np.where(n < 256, 7, 63) == 0]
        if len(due):
            past = state["past"][due]
            tail.fade(past)
            state["past"][due] = past
            state["common"][due] = tail.quantile_bin(past)

    def _emit(self, sample: _Sample, raw: Floats) -> Floats:
        """The score where it counts: less for what is not new, and soon after one only if higher."""
        state, rows = self._state, sample.rows
        bin_ = np.log2(np.maximum(raw, 1e-9) / 0.5) * 4
        bin_ = np.minimum(np.maximum(bin_, 0), _EMITTED - 1).astype(np.intp)
        earlier = state["emitted"].reshape(-1)[rows * _EMITTED + bin_]
        score = raw / np.sqrt(1 + earlier)
        counts = (sample.at - state["emitted.at"][rows] > sample.rest_ns) | (
            score > state["emitted.score"][rows]
        )
        counts &= score > 0
        nth = np.flatnonzero(counts)
        now = rows[nth]
        state["emitted"][now] += np.arange(_EMITTED) <= bin_[nth, None]
        state["emitted.at"][now] = sample.at[nth]
        state["emitted.score"][now] = score[nth]
        return np.where(counts, score, 0.0)

    def _alarm(self, sample: _Sample, raw: Floats, score: Floats) -> tuple[Floats, Mask]:
        """(score over the limit, whether the sample may be learned from)."""
        state, rows, at = self._state, sample.rows, sample.at
        limit = budget.limits(state, rows)
        heard = np.where(state["age"][rows] >= self._speaks_s[rows], score, 0.0)
        over = heard / limit
        since = state["alarm"][rows]
        opened = np.flatnonzero((over > 1) & (since == 0))
        if len(opened):
            budget.alarmed(state, rows[opened], score[opened])
            since[opened] = at[opened]
        budget.passed(
            state,
            rows,
            sample.dt_s,
            heard,
            self._target[rows],
            self._fall_s[rows],
            self._least[rows],
        )
        seen = np.where((over > 1) | (raw > limit / 2), at, state["alarm.seen"][rows])
        state["alarm.seen"][rows] = seen
        nth = np.flatnonzero(since > 0)
        ended = at[nth] - seen[nth] > sample.rest_ns[nth]
        overdue = at[nth] - since[nth] > self._freeze_ns[rows[nth]]
        if overdue.any():
            models.relearn(state, rows[nth[overdue]])
        ended |= overdue
        since[nth[ended]] = 0
        lasting = nth[~ended]
        worst = np.maximum(state["alarm.worst"][rows[lasting]], over[lasting])
        state["alarm"][rows] = since
        state["alarm.worst"][rows] = 0.0
        state["alarm.worst"][rows[lasting]] = worst
        excess = np.minimum(over, 1.0)
        excess[lasting] = worst
        return excess, since == 0

    def _passed(self, sample: _Sample) -> None:
        state, rows = self._state, sample.rows
        state["last"][rows] = sample.at
        state["count"][rows] += 1
        state["age"][rows] += sample.dt_s

    def _shown(
        self, sample: _Sample, moment: models.Moment, parts: Floats, score: Floats, excess: Floats
    ) -> Floats:
        """Every sample of an alarm, and of what is quiet one now and then."""
        state, rows = self._state, sample.rows
        found = np.full((len(rows), 5), np.nan)
        is_due = (sample.at - state["shown"][rows] >= self._band_ns[rows]) | (excess > 1)
        tell, due = np.flatnonzero(is_due | (score > 0)), np.flatnonzero(is_due)
        state["shown"][rows[due]] = sample.at[due]
        found[tell, 0] = score[tell]
        found[tell, 1] = excess[tell]
        shown = due[state["age"][rows[due]] >= self._warmup_s[rows[due]]]
        if len(shown):
            past = state["past"][rows[shown], _SPIKE]
            reach = tail.reach(past, _BAND_SHARE) * moment.scale[shown]
            found[shown, 2] = moment.expected[shown] - reach
            found[shown, 3] = moment.expected[shown] + reach
        told = np.flatnonzero(excess > 1)
        if len(told):
            told = told[parts[told].sum(axis=1) > 0]
            found[told, 4] = (parts[told] @ _FAMILY).argmax(axis=1)
        return found


def _quantities(moment: models.Moment, floor: Floats) -> Floats:
    """(n, 7): what records are kept of."""
    return np.stack(
        (
            moment.value,
            *shift.records(moment),
            *wander.records(moment),
            *season.records(moment),
            *variance.records(moment, floor),
        ),
        axis=1,
    )
