"""A ridge model of an asset: each point from the row before, the states now, and the hour of day.

Sums of products accumulate row by row, so that a fit needs no stored rows: with the inputs centred and
scaled by what the sums say, it is the solution of (C + penalty I) w = c (Hoerl and Kennard 1970), with C
the correlations of the inputs and c their covariances with a point. What is judged is the squared
residual of each point in units of its own usual size, clipped, averaged over the points and then over
the last rows, and compared with how high that average goes by itself: it depends on how many points
there are and how they hang together. Per-point averages of the same tell who contributed. Source: the state-conditioned ridge
of the study in the detection reference, and the residual charts of Taormina et al., "Battle of the
Attack Detection Algorithms" (J. Water Resour. Plan. Manage. 144(8), 2018).

All state is columns with one row per asset and operating state. Times are in steps of the asset.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PENALTY = 0.05  # of a standardised input
CLIP = 25.0  # usual squares: no residual says or teaches more
WINDOW = 12  # rows
SETTLED = 120  # residuals before anything is said
CALIBRATED = 600  # residuals that say how high the mean goes by itself
LEEWAY = 1.0  # of that, where the alarm begins
FADING = 14_400.0  # rows, after which it is half forgotten
MEMORY = 720.0  # rows by which the usual size of a residual is known
_FLOOR = 0.02  # of a point's standard deviation: a residual's usual size is not below it
_HARMONICS = (1, 2)  # of the day
_DAY_SEEN = 0.5  # standard deviation of the sine of the hour; over whole days it is 0.71


@dataclass(frozen=True, slots=True)
class Ridge:
    """points: how many, each an input and a target; statuses: how many more are inputs only.

    least: mean square, in usual ones, below which there is no alarm.
    """

    points: int
    statuses: int
    least: float

    @property
    def inputs(self) -> int:
        """The constant, the row before, the statuses, the hour of day."""
        return 1 + self.points + 2 * self.statuses + 2 * len(_HARMONICS)

    def fresh(self, size: int) -> Arrays:
        """The state of so many rows before their first reading."""
        inputs, points = self.inputs, self.points
        return {
            "ridge.origin": np.full((size, points), np.nan),  # the first row: keeps the sums small
            "ridge.n": np.zeros(size),
            "ridge.xx": np.zeros((size, inputs, inputs)),
            "ridge.xy": np.zeros((size, inputs, points)),
            "ridge.yy": np.zeros((size, points)),
            "ridge.weights": np.zeros((size, inputs, points)),
            "ridge.version": np.zeros(size, np.int32),  # 0: no model
            "ridge.since": np.zeros(size, np.int64),  # the sample time from which it holds, ns
            "ridge.usual": np.zeros((size, points)),  # square of a residual
            "ridge.floor": np.zeros((size, points)),
            "ridge.mean": np.ones(
                size
            ),  # of a row's squares in usual ones, by clipping and rare points
            "ridge.now": np.ones(size),  # the mean over the window
            "ridge.peak": np.ones(size),  # its highest while nothing was wrong
            "ridge.judged": np.zeros(size),  # rows that made the usual square
            "ridge.window": np.full((size, WINDOW, points), np.nan),
            "ridge.place": np.zeros(size, np.intp),
        }

    def row(self, before: Floats, status: Floats, hour: Floats) -> Floats:
        """(rows, inputs). before: points, less the origin, and statuses of the row before; hour: 0..24."""
        angle = hour[:, None] * (2 * np.pi / 24) * np.array(_HARMONICS)
        one = np.ones((len(hour), 1))
        return np.concatenate((one, before, status, np.sin(angle), np.cos(angle)), axis=1)

    def expected(self, state: Arrays, rows: Rows, x: Floats) -> Floats:
        """(rows, points) from the inputs of each row; NaN where there is no model."""
        found = np.matmul(x[:, None, :], state["ridge.weights"][rows])[:, 0]
        found += state["ridge.origin"][rows]
        return np.where((state["ridge.version"][rows] > 0)[:, None], found, np.nan)

    def judge(self, state: Arrays, rows: Rows, residual: Floats) -> Floats:
        """The score of each row: how far the mean of the squares over points and window lies above 1,
        over how far it may; 0 until it is known how far that is.

        residual: (rows, points), NaN where there is none.
        """
        squares = self._squares(state, rows, residual) / state["ridge.mean"][rows][:, None]
        settled = (state["ridge.judged"][rows] >= SETTLED)[:, None]
        place = state["ridge.place"][rows]
        state["ridge.window"][rows, place] = np.where(settled, squares, np.nan)
        state["ridge.place"][rows] = (place + 1) % WINDOW
        window = state["ridge.window"][rows]
        there = ~np.isnan(window)
        count = there.sum(axis=2)
        total = np.where(there, window, 0.0).sum(axis=2)
        # A row that is not known is taken for a usual one.
        of_row = np.where(count > 0, total / np.maximum(count, 1), 1.0)
        mean = np.where(count.any(axis=1), of_row.mean(axis=1), 1.0)
        state["ridge.now"][rows] = mean
        heard = state["ridge.judged"][rows] >= CALIBRATED
        reach = np.maximum(self.least - 1, LEEWAY * (state["ridge.peak"][rows] - 1))
        return np.where(heard, np.maximum(mean - 1, 0.0) / reach, 0.0)

    def shares(self, state: Arrays, rows: Rows) -> Floats:
        """(rows, points): what each point adds to the window, in usual squares."""
        return np.nan_to_num(state["ridge.window"][rows]).sum(axis=1)

    def learn_size(self, state: Arrays, rows: Rows, residual: Floats) -> None:
        """The usual square of a residual, by these rows, which are not in alarm."""
        judged, usual = state["ridge.judged"][rows], state["ridge.usual"][rows]
        of_row = np.nan_to_num(self._squares(state, rows, residual)).sum(axis=1)
        of_row /= np.maximum((~np.isnan(residual)).sum(axis=1), 1)
        square = residual**2
        known = (judged >= WINDOW)[:, None]
        floor = state["ridge.floor"][rows]
        square = np.where(known, np.minimum(square, CLIP * np.maximum(usual, floor)), square)
        weight = np.maximum(1 / MEMORY, 1 / (judged + 1))[:, None]
        there = ~np.isnan(residual)
        state["ridge.usual"][rows] = usual + np.where(there, weight * (square - usual), 0.0)
        now, peak = state["ridge.now"][rows], state["ridge.peak"][rows]
        state["ridge.peak"][rows] = np.maximum(now, peak - (peak - 1) / FADING)
        settled = judged >= SETTLED / 2
        mean = state["ridge.mean"][rows]
        weight = np.maximum(1 / MEMORY, 1 / np.maximum(judged - SETTLED / 2 + 1, 1))
        state["ridge.mean"][rows] = np.where(settled, mean + weight * (of_row - mean), 1.0)
        state["ridge.judged"][rows] = judged + 1

    def _squares(self, state: Arrays, rows: Rows, residual: Floats) -> Floats:
        usual = np.maximum(state["ridge.usual"][rows], state["ridge.floor"][rows])
        return np.minimum(residual**2 / usual, CLIP)

    def learn(self, state: Arrays, rows: Rows, x: Floats, y: Floats) -> None:
        """Adds these rows to the sums. y: (rows, points) less the origin, complete."""
        state["ridge.n"][rows] += 1
        state["ridge.xx"][rows] += x[:, :, None] * x[:, None, :]
        state["ridge.xy"][rows] += x[:, :, None] * y[:, None, :]
        state["ridge.yy"][rows] += y**2

    def fit(self, state: Arrays, rows: Rows, since: NDArray[np.int64], most: float) -> None:
        """New weights from the sums of these rows, which fade to `most` readings.

        since: sample times from which they hold, ns. The penalty makes C definite: there always is one.
        """
        n = state["ridge.n"][rows][:, None]
        xx, xy = state["ridge.xx"][rows], state["ridge.xy"][rows]
        mean, mean_y = xx[:, 0] / n, xy[:, 0] / n
        c = xx / n[:, None] - mean[:, :, None] * mean[:, None, :]
        cy = xy / n[:, None] - mean[:, :, None] * mean_y[:, None, :]
        spread = np.sqrt(np.maximum(np.diagonal(c, axis1=1, axis2=2), 0.0))
        least = 1e-9 * (1 + np.abs(mean))
        least[:, -2 * len(_HARMONICS) :] = _DAY_SEEN
        scale = np.where(spread > least, spread, np.inf)  # inf: does not vary, and is left out
        c = c / scale[:, :, None] / scale[:, None, :]
        weights = np.linalg.solve(c + PENALTY * np.eye(self.inputs), cy / scale[:, :, None])
        weights /= scale[:, :, None]
        weights[:, 0] = mean_y - (mean[:, :, None] * weights).sum(axis=1)
        state["ridge.weights"][rows] = weights
        state["ridge.version"][rows] += 1
        state["ridge.since"][rows] = since
        spread_y = np.maximum(state["ridge.yy"][rows] / n - mean_y**2, 0.0)
        varies = spread_y > (1e-9 * (1 + np.abs(mean_y))) ** 2  # else there is nothing to judge by
        state["ridge.floor"][rows] = np.where(varies, _FLOOR**2 * spread_y, np.inf)
        fade = np.minimum(most / n[:, 0], 1.0)
        for name in ("ridge.n", "ridge.xx", "ridge.xy", "ridge.yy"):
            column = state[name][rows]
            state[name][rows] = column * fade.reshape((-1,) + (1,) * (column.ndim - 1))

    def forget_window(self, state: Arrays, rows: Rows) -> None:
        """After a gap or a spell in another state nothing recent is known."""
        state["ridge.window"][rows] = np.nan
