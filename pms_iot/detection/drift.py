"""Slow departure: how far a short average has moved from where it used to be, in units of what such
averages do by themselves.

An average over `fast` seconds is compared with one over `reference` seconds. The unit joins the noise
of the short average, the drift from block to block (readings such as temperatures wander by many
standard deviations without any fault, which is why a plain control chart fails on them) and a floor,
the share of the level below which no change matters. The reference is frozen in alarm.
Source: exponentially weighted charts (Roberts 1959) with the drift-aware unit of the study in the
detection reference, "Multivariate".

Params, all optional: fast (s), reference (s), block (s), floor (share of the level), alarm (score at
which learning freezes), freeze (s, after which the new level is taken for normal).
"""

import numpy as np

from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

_FREEZE_S = 86_400.0  # a day: long after somebody was sent


class Drift(ColumnarDetector):
    """Scores: `<point>.drift`; 0 during warm-up.

    After `freeze` seconds in alarm the row forgets everything and learns from the start, warm-up included.
    """

    def _fresh(self, size: int) -> Arrays:
        self._alarm = self._param("alarm", 6.0)
        self._freeze_ns = self._param("freeze", _FREEZE_S) * S
        specs = [w.spec for w in self._watched]
        self._scores_after_s = np.array([max(s.warmup_s, s.quiet_s) for s in specs])
        self._fast_s = self._param("fast", 20.0)
        self._reference_s = self._param("reference", 1200.0)
        self._block_s = self._param("block", 60.0)
        self._floor = self._param("floor", 0.002)
        return self._blank(size)

    def _param(self, name: str, default: float) -> Floats:
        return np.array([w.param(name, default) for w in self._watched])

    def _blank(self, size: int) -> Arrays:
        return {
            "last": np.zeros(size, np.int64),
            "count": np.zeros(size),
            "age": np.zeros(size),  # seconds of data
            "frozen": np.zeros(size, np.int64),  # in alarm since; 0 = not
            "fast": np.zeros(size),
            "reference": np.zeros(size),
            "noise": np.zeros(size),  # variance about the short average
            "drift": np.zeros(size),  # mean square step from block to block
            "steps": np.zeros(size),
            "block_start": np.zeros(size, np.int64),
            "block_sum": np.zeros(size),
            "block_n": np.zeros(size),
            "block_mean": np.full(size, np.nan),  # of the block before
        }

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        self._start_over(rows, at)
        if is_open.all():
            return self._judge(rows, at, value)[:, None]
        scores = np.zeros((len(rows), 1))
        if is_open.any():
            scores[is_open, 0] = self._judge(rows[is_open], at[is_open], value[is_open])
        return scores

    def _start_over(self, rows: Rows, at: Times) -> None:
        frozen = self._state["frozen"][rows]
        over = rows[np.flatnonzero((frozen > 0) & (at - frozen > self._freeze_ns[rows]))]
        if len(over):
            for name, blank in self._blank(len(over)).items():
                self._state[name][over] = blank

    def _judge(self, rows: Rows, at: Times, value: Floats) -> Floats:
        """The scores of rows whose gates are open."""
        state = self._state
        count, fast_s = state["count"][rows], self._fast_s[rows]
        first = count == 0
        dt = np.where(first, 0.0, (at - state["last"][rows]) / S)
        torn = first | (dt > 3 * fast_s)
        if torn.any():
            self._anchor(rows, at, value, first=first, torn=torn)
        plain = 1 / (count + 1)  # a plain average until there are enough samples for another
        weight = 1 - np.exp(-dt / fast_s)
        error = value - state["fast"][rows]
        fast = state["fast"][rows] + np.maximum(weight, plain) * error
        state["fast"][rows] = fast
        away = np.abs(fast - state["reference"][rows])
        warm = state["age"][rows] >= self._scores_after_s[rows]
        score = np.where(warm, away / self._unit(rows, weight), 0.0)
        learn = self._freeze(rows, at, score)
        state["last"][rows] = at
        state["count"][rows] = count + 1
        state["age"][rows] += np.minimum(dt, 3 * fast_s)
        weight = np.maximum(1 - np.exp(-dt / self._reference_s[rows]), plain)
        if learn.all():
            self._learn(rows, at, value, error, weight)
        else:
            self._learn(rows[learn], at[learn], value[learn], error[learn], weight[learn])
        return score

    def _anchor(self, rows: Rows, at: Times, value: Floats, *, first: Mask, torn: Mask) -> None:
        """After a gap the short average and the open block start again; what was learned stays."""
        state = self._state
        state["fast"][rows[torn]] = value[torn]
        state["block_start"][rows[torn]] = at[torn]
        state["block_sum"][rows[torn]] = 0.0
        state["block_n"][rows[torn]] = 0.0
        state["block_mean"][rows[torn]] = np.nan
        state["reference"][rows[first]] = value[first]

    def _unit(self, rows: Rows, weight: Floats) -> Floats:
        """What the distance of the two averages is by itself. weight: of a sample in the short one."""
        state = self._state
        noise = state["noise"][rows] * weight / (2 - weight)  # variance of an exponential average
        floor = self._floor[rows] * np.abs(state["reference"][rows])
        return np.sqrt(noise + state["drift"][rows] + floor**2) + 1e-12

    def _freeze(self, rows: Rows, at: Times, score: Floats) -> Mask:
        """Notes since when each row has been in alarm; true where it is not, and may learn."""
        frozen = self._state["frozen"]
        high = score >= self._alarm[rows]
        frozen[rows] = np.where(high, np.where(frozen[rows] > 0, frozen[rows], at), 0)
        return ~high

    def _learn(self, rows: Rows, at: Times, value: Floats, error: Floats, weight: Floats) -> None:
        """Takes the sample into the reference, the noise and the open block. weight: in the first two."""
        state = self._state
        reference, noise = state["reference"][rows], state["noise"][rows]
        state["reference"][rows] = reference + weight * (value - reference)
        state["noise"][rows] = noise + weight * (error**2 - noise)
        state["block_sum"][rows] += value
        state["block_n"][rows] += 1
        ended = np.flatnonzero((at - state["block_start"][rows]) / S >= self._block_s[rows])
        if len(ended):
            self._close(rows[ended], at[ended])

    def _close(self, rows: Rows, at: Times) -> None:
        """Ends the open blocks of these rows and learns the steps from those before."""
        state = self._state
        mean = state["block_sum"][rows] / state["block_n"][rows]
        step = (mean - state["block_mean"][rows]) ** 2
        known = rows[~np.isnan(step)]
        weight = np.maximum(
            1 - np.exp(-self._block_s[known] / self._reference_s[known]),
            1 / (state["steps"][known] + 1),
        )
        state["drift"][known] += weight * (step[~np.isnan(step)] - state["drift"][known])
        state["steps"][known] += 1
        state["block_mean"][rows] = mean
        state["block_sum"][rows] = 0.0
        state["block_n"][rows] = 0.0
        state["block_start"][rows] = at
