"""How high a score must be to raise an alarm: a limit per row that keeps to a budget of false alarms.

The limit starts high and falls over the first 14 days of data, but not below what nobody has called a
fault in that time. Then it moves in log steps: every alarm that nobody confirmed raises it, quiet time
lowers it, so that in the long run the alarms that nobody confirmed come at most `_AIM` times as often as
the budget allows. Episodes count, never samples.
Source: stochastic approximation of a quantile (Robbins and Monro 1951).
"""

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays

START, LEAST, MOST = 60.0, 6.0, 400.0  # of a limit
_FALL_S = 14 * 86_400.0
_MONTH_S = 30 * 86_400.0
_STEP = 0.25  # of the logarithm of a limit, for one alarm
_AIM = 0.5  # share of the budget that is aimed at
_ABOVE = 1.1  # how far a limit lies above the score of what was no fault

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def blank(size: int) -> Arrays:
    """Limits of so many rows before their first sample."""
    return {
        "limit": np.full(size, np.log(START)),  # its logarithm
        "limit.age": np.zeros(size),  # seconds of data
        "limit.worst": np.zeros(size),  # highest score while it fell
        "limit.alarm": np.zeros(size),  # score of the last alarm
        "limit.raised": np.zeros(size),  # by how much the last alarm raised it
    }


def limits(state: Arrays, rows: Rows | slice) -> Floats:
    return np.exp(state["limit"][rows])


def passed(state: Arrays, rows: Rows | slice, dt_s: Floats, score: Floats, budget: Floats) -> None:
    """So much time has passed without an alarm. score: what was seen; budget: alarms a month."""
    age = state["limit.age"][rows]
    falling = age < _FALL_S
    worst = np.where(falling, np.maximum(state["limit.worst"][rows], score), 0.0)
    fall = np.where(
        falling,
        np.log(START / LEAST) / _FALL_S,
        _STEP * _AIM * budget / _MONTH_S,
    )
    least = np.log(np.maximum(LEAST, _ABOVE * worst))
    limit = state["limit"][rows]
    state["limit"][rows] = np.maximum(limit - fall * dt_s, np.minimum(limit, least))
    state["limit.worst"][rows] = worst
    state["limit.age"][rows] = age + dt_s


def alarmed(state: Arrays, rows: Rows, score: Floats) -> None:
    """These rows have raised an alarm, which nobody has confirmed yet."""
    limit = state["limit"][rows]
    state["limit"][rows] = np.minimum(limit + _STEP, np.log(MOST))
    state["limit.raised"][rows] = state["limit"][rows] - limit
    state["limit.alarm"][rows] = score


def judged(state: Arrays, rows: Rows, outcome: str) -> None:
    """What people found at the last alarm of these rows. A true fault (of the machine or of its sensor)
    gives back what the alarm took; a false alarm puts the limit above its score."""
    raised = state["limit.raised"][rows]
    if outcome in ("true_fault", "sensor_fault"):
        state["limit"][rows] -= raised
    else:
        above = np.log(np.maximum(_ABOVE * state["limit.alarm"][rows], 1.0))
        limit = state["limit"][rows]
        state["limit"][rows] = np.minimum(np.maximum(limit + _STEP, above), np.log(MOST))
    state["limit.raised"][rows] = 0.0
