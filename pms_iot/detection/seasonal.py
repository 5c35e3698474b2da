"""The learned detector: how improbable a reading is beside what it usually is at this time of day.

Expected value: the better of an exponential level and a day profile of 96 quarter hours in the
site's zone, whichever has had the smaller running error (Holt 1957, Winters 1960; best-of selection
as in the study of the detection reference). The residual, in units of its own running mean size, is
judged by `pms_iot.detection.tail`. Time steps are true: every weight is 1 - exp(-dt/tau).

Params, all optional: level (s, time constant of the level), scale (s, of the residual's size),
alarm (score at which learning freezes and where the band lies), freeze (s, after which the new
state is taken for normal and learned from the start), band (s between two points of the band).
"""

from zoneinfo import ZoneInfo

import numpy as np

from pms_iot.detection import tail
from pms_iot.detection.columnar import Floats, Mask, Rows, S, Times
from pms_iot.detection.learned import LearnedDetector
from pms_iot.kernel.arrays import Arrays
from pms_iot.kernel.clock import from_ns

_BINS = 96
_BIN_S = 86_400 // _BINS
_PROFILE_S = 3 * _BIN_S  # a bin remembers about three days
_CLIP = 5.0  # scales; what is further out does not teach more than that
_FLOOR = (
    5e-4  # of the physical range: a residual's size below it is the converter's, not the machine's
)
_RECORD = 0.05  # weight of a sample beyond all before it: a ramp must not teach its own steps
_NORMAL = np.sqrt(np.pi / 2)  # standard deviation of a normal variable by its mean size
_HOUR_NS = 3600 * S


class Seasonal(LearnedDetector):
    """Scores: `<point>.anomaly` = -log10 tail probability (second largest of the last three, so that
    one spike is not enough; 0 during warm-up and while quiet), `<point>.lo` and `.hi` = where it would alarm."""

    def _fresh(self, size: int) -> Arrays:
        watched = self._watched
        self._level_s = self._param("level", 600.0)
        self._scale_s = self._param("scale", 3600.0)
        self._band_ns = self._param("band", 30.0) * S
        self._floor = np.array([max(_FLOOR * w.span, 1e-9) for w in watched])
        self._zones = sorted({w.zone for w in watched})
        self._zone = np.array([self._zones.index(w.zone) for w in watched], np.intp)
        self._offsets: dict[tuple[int, int], int] = {}
        return super()._fresh(size)

    def _blank(self, size: int) -> Arrays:
        return {
            "level": np.zeros(size),
            "scale": np.zeros(size),
            "level_error": np.zeros(size),
            "day_error": np.full(size, np.inf),
            "profile": np.zeros((size, _BINS)),
            "profile_n": np.zeros((size, _BINS)),
            "profile_day": np.zeros((size, _BINS), np.int32),  # when the bin was first learned
            "past": np.zeros((size, tail.BINS)),
            "raw": np.zeros((size, 2)),  # the last two scores before smoothing
            "band": np.zeros(size, np.int64),
        }

    def _judge(self, rows: Rows, at: Times, value: Floats) -> Floats:
        state, level_s = self._state, self._level_s[rows]
        first = state["count"][rows] == 0
        dt = np.where(first, 0.0, (at - state["last"][rows]) / S)
        torn = first | (dt > 3 * level_s)  # the level says nothing about so long ago
        state["level"][rows[torn]] = value[torn]
        bins, days = self._time_of_day(rows, at)
        known = (state["profile_n"][rows, bins] > 0) & (state["profile_day"][rows, bins] < days)
        by_day = known & (state["day_error"][rows] < state["level_error"][rows])
        expected = np.where(by_day, state["profile"][rows, bins], state["level"][rows])
        scale = np.maximum(state["scale"][rows], self._floor[rows])
        z = np.abs(value - expected) / scale
        past = tail.Tail(state["past"][rows])
        warm = state["age"][rows] >= self._warmup_s[rows]
        speaks = state["age"][rows] >= self._scores_after_s[rows]
        raw = np.where(speaks & (by_day | ~torn), past.score(z), 0.0)
        score = self._smooth(rows, raw)
        learn = self._freeze(rows, at, score)
        trust = np.where(z > past.most, _RECORD, 1.0)[learn]
        rows_, dt_, value_ = rows[learn], dt[learn], value[learn]
        self._learn_size(rows_, dt_, z[learn], trust, past.is_full[learn])
        self._learn_level(rows_, dt_, value_, trust)
        self._learn_day(rows_, dt_, value_, bins[learn], days[learn], trust)
        self._passed(rows, at, dt, 3 * level_s)
        scores = np.full((len(rows), 3), np.nan)
        scores[:, 0] = score
        shown = np.flatnonzero(warm & self._band_due(rows, at, score))
        reach = past.reaching(self._alarm[rows[shown]], shown) * scale[shown]
        scores[shown, 1] = expected[shown] - reach
        scores[shown, 2] = expected[shown] + reach
        return scores

    def _smooth(self, rows: Rows, raw: Floats) -> Floats:
        """Two of three: the second largest of this score and the two before it."""
        before = self._state["raw"][rows]
        self._state["raw"][rows] = np.column_stack((before[:, 1], raw))
        return np.sort(np.column_stack((before, raw)), axis=1)[:, 1]

    def _learn_size(self, rows: Rows, dt: Floats, z: Floats, trust: Floats, is_full: Mask) -> None:
        """The usual size of a residual, and the histogram once that size has settled."""
        state = self._state
        scale = np.maximum(state["scale"][rows], self._floor[rows])
        settled = state["age"][rows] > self._warmup_s[rows] / 2
        size = scale * np.where(settled, np.minimum(z, _CLIP), z)
        weight = trust * self._weight(rows, dt, self._scale_s[rows])
        state["scale"][rows] += weight * (_NORMAL * size - state["scale"][rows])
        full = is_full[settled]
        tail.count(state["past"], rows[settled], z[settled], trust[settled], full=full)

    def _learn_level(self, rows: Rows, dt: Floats, value: Floats, trust: Floats) -> None:
        state = self._state
        error = value - state["level"][rows]
        weight = trust * self._weight(rows, dt, self._scale_s[rows])
        state["level_error"][rows] += weight * (np.abs(error) - state["level_error"][rows])
        state["level"][rows] += trust * self._weight(rows, dt, self._level_s[rows]) * error

    def _learn_day(
        self, rows: Rows, dt: Floats, value: Floats, bins: Rows, days: Rows, trust: Floats
    ) -> None:
        state = self._state
        n, profile = state["profile_n"][rows, bins], state["profile"][rows, bins]
        error = np.abs(value - profile)
        judged = (n > 0) & (
            state["profile_day"][rows, bins] < days
        )  # not on what it is learning now
        old = state["day_error"][rows[judged]]
        weight = (trust * (1 - np.exp(-dt / self._scale_s[rows])))[judged]
        with np.errstate(invalid="ignore"):
            new = np.where(np.isinf(old), error[judged], old + weight * (error[judged] - old))
        state["day_error"][rows[judged]] = new
        weight = trust * np.maximum(1 - np.exp(-dt / _PROFILE_S), 1 / (n + 1))
        state["profile"][rows, bins] = profile + np.where(n == 0, 1.0, weight) * (value - profile)
        state["profile_n"][rows, bins] = n + 1
        unknown = n == 0
        state["profile_day"][rows[unknown], bins[unknown]] = days[unknown]

    def _band_due(self, rows: Rows, at: Times, score: Floats) -> Mask:
        band = self._state["band"]
        due = (at - band[rows] >= self._band_ns[rows]) | (score >= self._alarm[rows] / 2)
        band[rows[due]] = at[due]
        return due

    def _time_of_day(self, rows: Rows, at: Times) -> tuple[Rows, Rows]:
        """(quarter hour of the day, day) in the zone of each row's site."""
        key = (at // _HOUR_NS) * len(self._zones) + self._zone[rows]
        if key.min() == key.max():  # nearly always
            key = key[:1]
        unique, inverse = np.unique(key, return_inverse=True)
        offsets = np.array([self._offset(*divmod(k, len(self._zones))) for k in unique.tolist()])
        local_s = at // S + offsets[inverse]
        return (local_s % 86_400 // _BIN_S).astype(np.intp), local_s // 86_400

    def _offset(self, hour: int, zone: int) -> int:
        """Seconds that the zone is ahead of UTC in that hour; zones change on the hour."""
        if len(self._offsets) > 10_000:
            self._offsets.clear()
        if (hour, zone) not in self._offsets:
            local = from_ns(hour * _HOUR_NS).astimezone(ZoneInfo(self._zones[zone]))
            ahead = local.utcoffset()
            self._offsets[hour, zone] = 0 if ahead is None else int(ahead.total_seconds())
        return self._offsets[hour, zone]
