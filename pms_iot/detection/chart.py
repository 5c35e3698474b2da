"""A drift-aware control chart over the points of an asset: how far each has moved from where it used to be.

Of each point a short exponential average is compared with a slow one, the reference, in a unit that
joins what such a point does by itself: the noise within a block of readings, the step from one block
to the next, and the wander, the rms change of the block means over half the warm-up: a temperature that
drifts by many standard deviations without any fault gets a wide unit, a steady flow a narrow one. That
is what plain multivariate charts (T2: Hotelling 1947; exponentially weighted: Lowry et al. 1992) lack.
The lower the limit, the longer is the short average: the smaller a shift that is to be found, the less
one reading is to weigh (Lucas and Saccucci 1990). A large shift is beyond the limit at once all the same.

A point is in alarm after three readings in a row beyond the limit, and until it is back within half of
it, or at a third of the alarm's peak. What is left then may be the state after the repair: the point
settles. It says nothing until it is still, which makes the new reference, or within half the limit of
its old reference, which stays, or away again. The reference of a point in alarm is frozen; the units
learn in no alarm at all. All times are counted in steps of the asset; all state is columns with one row
per asset and state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FAST = 20.0  # steps; time constant of the short average under a limit of one unit
SLOW = 200.0  # steps; of the reference
BLOCK = 40  # steps
STEPS = 3.0  # how often the step counts in the unit
CONFIRM = 3  # readings in a row
OFF = 0.5  # of the limit
LEFT = 0.3  # of the peak, which is left after the repair
SETTLE = 40.0  # steps for which a point is to be still before what is left becomes its reference
RESTLESS = 0.1  # what a step counts for that in which it is not: it is never silent for ever
MEMORY = 500.0  # blocks that the units remember after the warm-up: a fault that creeps must not widen them
CLIP = 9.0  # times its usual size; no square teaches more
_FLOOR = 1e-3  # of the usual size of a reading: less is the converter's, not the machine's


@dataclass(frozen=True, slots=True)
class Chart:
    """points: how many. warmup: steps before anything is said, at least four blocks. limit: units."""

    points: int
    warmup: float
    limit: float

    @property
    def fast(self) -> float:
        """Time constant of the short average, steps."""
        return min(FAST / self.limit, SLOW / 4)

    @property
    def _lag(self) -> int:
        """Blocks of half the warm-up."""
        return max(int(self.warmup / BLOCK) // 2, 2)

    def fresh(self, size: int) -> Arrays:
        """The state of so many rows before their first reading."""
        shape = size, self.points
        return {
            "chart.age": np.zeros(size),  # steps
            "chart.known": np.zeros(shape, np.bool_),
            "chart.fast": np.zeros(shape),
            "chart.reference": np.zeros(shape),
            "chart.length": np.zeros(size),  # steps of the open block
            "chart.n": np.zeros(shape),  # its readings, their mean and sum of squares about it
            "chart.mean": np.zeros(shape),
            "chart.squares": np.zeros(shape),
            "chart.means": np.full((size, self._lag, self.points), np.nan),  # of the last blocks
            "chart.moments": np.zeros((size, 3, self.points)),  # mean squares: noise, step, wander
            "chart.counts": np.zeros((size, 3, self.points)),  # of the blocks that made them
            "chart.unit": np.full(shape, np.nan),
            "chart.run": np.zeros(shape, np.int8),  # readings beyond the limit, in a row
            "chart.alarm": np.zeros(shape, np.bool_),
            "chart.peak": np.zeros(shape),  # of the alarm, kept while the point settles
            "chart.settle": np.zeros(shape),  # steps to be still yet; 0: settled
            "chart.home": np.zeros(shape),  # the reference before the alarm
        }

    def judge(
        self, state: Arrays, rows: Rows, value: Floats, steps: Floats, level: Floats
    ) -> Floats:
        """Takes one reading of each row (each row once); how far out each point is, in units.

        value: (rows, points), NaN where there is none, which changes nothing. steps: since the row's
        last reading. level: what the limit is multiplied by. Which are in alarm: `chart.alarm`.
        """
        there = ~np.isnan(value)
        known, age = state["chart.known"][rows], state["chart.age"][rows]
        first = there & ~known
        fast = np.where(first, value, state["chart.fast"][rows])
        reference = np.where(first, value, state["chart.reference"][rows])
        value = np.where(there, value, fast)
        weight = np.maximum(1 - np.exp(-steps / self.fast), 1 / (age + 1))
        fast = fast + weight[:, None] * (value - fast)
        limit, unit = level[:, None] * self.limit, state["chart.unit"][rows]
        reference = self._settle(state, rows, fast, reference, there, steps, limit * unit)
        speaks = there & (age >= self.warmup)[:, None] & (state["chart.settle"][rows] <= 0)
        with np.errstate(invalid="ignore"):
            out = np.where(speaks, np.abs(fast - reference) / unit, 0.0)
        out[np.isnan(out)] = 0.0
        alarm, left = self._alarm(state, rows, out, there, limit)
        state["chart.home"][rows] = np.where(left, reference, state["chart.home"][rows])
        slow = 1 - np.exp(-steps / np.where(age < self.warmup, SLOW / 4, SLOW))
        held = alarm | ~there | (state["chart.settle"][rows] > 0)
        moved = np.where(held, reference, reference + slow[:, None] * (fast - reference))
        state["chart.reference"][rows] = np.where(left, fast, moved)
        state["chart.fast"][rows] = fast
        state["chart.known"][rows] = known | there
        steps = np.minimum(steps, self.fast)
        state["chart.age"][rows] = age + steps
        calm = ~alarm.any(axis=1)
        self._learn(state, rows[calm], value[calm], there[calm], steps[calm])
        return out

    def anchor(self, state: Arrays, rows: Rows) -> None:
        """After a gap or a spell in another state: the short average and the block start anew."""
        # From the reference, as one reading alone would be as far out as the noise; but an alarm goes on.
        state["chart.fast"][rows] = np.where(
            state["chart.alarm"][rows], state["chart.fast"][rows], state["chart.reference"][rows]
        )
        for name in ("chart.n", "chart.mean", "chart.squares", "chart.length", "chart.run"):
            state[name][rows] = 0

    def _settle(
        self,
        state: Arrays,
        rows: Rows,
        fast: Floats,
        reference: Floats,
        there: Mask,
        steps: Floats,
        reach: Floats,
    ) -> Floats:
        """The references, of which those of points that settle follow. reach: the limits in values."""
        settle = state["chart.settle"][rows]
        settling = there & (settle > 0)
        if not settling.any():
            return reference
        home, peak = state["chart.home"][rows], state["chart.peak"][rows]
        off = np.abs(fast - home)
        away = off > np.maximum(reach, LEFT * peak * state["chart.unit"][rows])
        judged = settling & (away | (off < OFF * reach))
        follows = settling & ~judged
        quick = (1 - np.exp(-steps / self.fast))[:, None]
        reference = np.where(judged, home, reference)
        reference = np.where(follows, reference + quick * (fast - reference), reference)
        still = np.abs(fast - reference) <= OFF * reach
        to_go = np.maximum(settle - steps[:, None] * np.where(still, 1.0, RESTLESS), 0.0)
        state["chart.settle"][rows] = np.where(judged, 0.0, np.where(follows, to_go, settle))
        return reference

    def _alarm(
        self, state: Arrays, rows: Rows, out: Floats, there: Mask, limit: Floats
    ) -> tuple[Mask, Mask]:
        """Which points are in alarm, and which were until now and have something left of it."""
        run, peak = state["chart.run"][rows], state["chart.peak"][rows]
        run = np.where(there, np.where(out > limit, np.minimum(run + 1, CONFIRM), 0), run)
        alarm = state["chart.alarm"][rows] | (run >= CONFIRM)
        peak = np.where(alarm, np.maximum(peak, out), peak)
        over = alarm & there & (out < np.maximum(OFF * limit, LEFT * peak))
        alarm &= ~over
        left = over & (out > OFF * limit)
        settle = np.where(left, SETTLE, state["chart.settle"][rows])
        state["chart.settle"][rows] = settle
        state["chart.run"][rows] = run
        state["chart.alarm"][rows] = alarm
        state["chart.peak"][rows] = np.where(alarm | (settle > 0), peak, 0.0)
        return alarm, left

    def _learn(self, state: Arrays, rows: Rows, value: Floats, there: Mask, steps: Floats) -> None:
        """Adds to the open blocks (Welford 1962); those that are full add to the units."""
        n, mean = state["chart.n"][rows] + there, state["chart.mean"][rows]
        change = np.where(there, value - mean, 0.0)
        mean = mean + change / np.maximum(n, 1)
        state["chart.squares"][rows] += np.where(there, change * (value - mean), 0.0)
        state["chart.n"][rows], state["chart.mean"][rows] = n, mean
        state["chart.length"][rows] += steps
        full = rows[state["chart.length"][rows] >= BLOCK - 0.5]
        if len(full):
            self._close(state, full)

    def _close(self, state: Arrays, rows: Rows) -> None:
        n, means = state["chart.n"][rows], state["chart.means"][rows]
        mean = np.where(n > 0, state["chart.mean"][rows], np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.stack(
                (
                    np.where(n > 1, state["chart.squares"][rows] / n, np.nan),
                    (mean - means[:, -1]) ** 2,
                    (mean - means[:, 0]) ** 2,
                ),
                axis=1,
            )
        new = ~np.isnan(squares)
        counts, moments = state["chart.counts"][rows] + new, state["chart.moments"][rows]
        warm = (state["chart.age"][rows] > self.warmup)[:, None, None] & (counts > new)
        squares = np.where(warm, np.minimum(squares, CLIP * moments), squares)
        weight = np.where(warm, 1 / MEMORY, 1 / np.maximum(counts, 1))
        moments = moments + weight * np.where(new, squares - moments, 0.0)
        state["chart.moments"][rows], state["chart.counts"][rows] = moments, counts
        state["chart.means"][rows] = np.concatenate((means[:, 1:], mean[:, None]), axis=1)
        state["chart.unit"][rows] = self._unit(moments, counts, state["chart.reference"][rows])
        for name in ("chart.n", "chart.mean", "chart.squares", "chart.length"):
            state[name][rows] = 0.0

    def _unit(self, moments: Floats, counts: Floats, reference: Floats) -> Floats:
        """What the distance of the two averages is by itself."""
        noise, step, wander = (moments[:, i] for i in range(3))
        wander = np.where(counts[:, 2] > 0, np.maximum(wander, step), step)
        floor = (_FLOOR * reference) ** 2 + np.finfo(np.float64).tiny
        unit = np.sqrt(noise + (STEPS**2) * step + wander + floor)
        return np.where(counts[:, 1] > 0, unit, np.nan)
