"""How high a score must be to raise an alarm: a limit per row that keeps to a budget of false alarms.

The limit starts high and falls over the first 14 days of data, but not below what nobody has called a
fault in that time. Then it moves in log steps: every alarm that nobody confirmed raises it, quiet time
lowers it, so that in the long run the alarms that nobody confirmed come at most `_AIM` times as often as
the budget allows. Episodes count, never samples.
Source: stochastic approximation of a quantile (Robbins and Monro 1951).
"""

import numpy as np
from numpy.typing import NDArray

from pms_iot.feedback.service import TRUE
from pms_iot.kernel.arrays import Arrays

START, LEAST, MOST = 60.0, 6.0, 400.0  # of a limit
FALL_S = 14 * 86_400.0
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


def passed(
    state: Arrays,
    rows: Rows | slice,
    dt_s: Floats,
    score: Floats,
    budget: Floats,
    fall_s: Floats,
    least: Floats | float = LEAST,
) -> None:
    """So much time has passed. score: what was seen; budget: alarms a month; fall_s: how long the limit
    falls at first, in seconds of data; least: where it ends."""
    age = state["limit.age"][rows]
    falling = age < fall_s
    worst = np.where(falling, np.maximum(state["limit.worst"][rows], score), 0.0)
    fall = np.where(
        falling,
        np.log(START / least) / fall_s,
        _STEP * _AIM * budget / _MONTH_S,
    )
    lowest = np.log(np.maximum(least, _ABOVE * worst))
    limit = state["limit"][rows]
    state["limit"][rows] = np.maximum(limit - fall * dt_s, np.minimum(limit, lowest))
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
    limit, raised = state["limit"][rows], state["limit.raised"][rows]
    if outcome in TRUE:
        change = -raised
    else:
        above = np.log(np.maximum(_ABOVE * state["limit.alarm"][rows], 1.0))
        change = np.minimum(np.maximum(limit + _STEP, above), np.log(MOST)) - limit
        change = np.where(state["limit.alarm"][rows] > 0, change, 0.0)
    state["limit"][rows] = limit + change
    state["limit.raised"][rows] = raised + change


def withdrawn(state: Arrays, rows: Rows, outcome: str) -> None:
    """What people found does not hold: the last alarm of these rows is one that nobody has judged."""
    raised = state["limit.raised"][rows]
    unjudged = np.where(state["limit.alarm"][rows] > 0, _STEP, 0.0)
    state["limit"][rows] += unjudged - raised
    state["limit.raised"][rows] = unjudged
