"""The running models that the univariate features share: levels, variances, profiles of day and week.

All time constants are multiples of the series' own step, and all weights use the true time step. What
a reading is judged by (slow levels, scales, profiles) stands still in an alarm and takes in no more
than `_CLIP` scales at once; the fast levels only follow.
Sources: exponential smoothing and its seasonal form (Holt 1957, Winters 1960), with the best of several
predictors by running error in place of one (as in the study of the detection reference).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.detection.calendar import HALVES, QUARTERS
from pms_iot.kernel.arrays import Arrays

TAUS = np.array([4.0, 8.0, 32.0, 64.0, 256.0, 1024.0])  # in steps
L4, L8, L32, L64, L256, L1024 = range(6)
_SLOW = L64  # the slow level that competes with day and week
_SLOWLY = TAUS >= 256  # levels that are references, not followers
_ERROR_TAU = 4096.0  # of running absolute errors, in steps
_SHORT, _LONG = 16.0, 512.0  # of variances, in steps
_SMOOTH = 8.0  # of the profiles' residuals, in steps
_VISITS = 4.0  # how many visits a bin of a profile averages over
_CLIP = 20.0
_FREE = 32  # samples that are taken in as they are
WEEK, DAY, LEVEL, SLOWEST = range(4)  # what a reading may be expected by
_LEVEL_ONLY = np.array([False, False, True])

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_PROFILES = (("week", HALVES), ("day", QUARTERS))


@dataclass(slots=True)
class Moment:
    """What the models say of one sample of each of n rows."""

    value: Floats
    expected: Floats  # by the best of week, day and slow level
    scale: Floats  # usual size of that residual
    by: Rows  # WEEK, DAY or LEVEL
    levels: Floats  # (n, 6), this sample included
    residuals: Floats  # (n, 4) from week, day, level and slowest level; NaN where not known
    errors: Floats  # (n, 4) their usual absolute size
    smooth: Floats  # (n, 2) smoothed residual from week and day
    short: Floats  # variance, short and long
    long: Floats


def blank(size: int) -> Arrays:
    """The models of so many rows before their first sample."""
    state: Arrays = {
        "levels": np.zeros((size, len(TAUS))),
        "variances": np.zeros((size, 2)),
        "errors": np.zeros((size, 4)),
        "smooth": np.zeros((size, 2)),
        "visit": np.full((size, 2), -1, np.int16),  # the open bin of week and of day
        "visit.sum": np.zeros((size, 2)),
        "visit.n": np.zeros((size, 2)),
    }
    for name, bins in _PROFILES:
        state[name] = np.zeros((size, bins), np.float32)
        state[f"{name}.visits"] = np.zeros((size, bins), np.uint8)
    return state


def anchor(state: Arrays, rows: Rows, value: Floats) -> None:
    """After a gap: the fast levels start again at this value; profiles and references stay."""
    state["levels"][rows[:, None], np.flatnonzero(~_SLOWLY)] = value[:, None]
    state["smooth"][rows] = 0.0
    state["visit"][rows] = -1


def begin(state: Arrays, rows: Rows, value: Floats) -> None:
    """The first sample of these rows."""
    state["levels"][rows] = value[:, None]


def relearn(state: Arrays, rows: Rows) -> None:
    """Takes the present level for normal: references and profiles move to it, what varies about them stays."""
    levels = state["levels"][rows]
    shift = levels[:, L32] - levels[:, L1024]
    levels[:, _SLOWLY] = levels[:, L32, None]
    state["levels"][rows] = levels
    for name, _ in _PROFILES:
        state[name][rows] += shift[:, None].astype(np.float32)
    state["smooth"][rows] = 0.0


def observe(
    state: Arrays,
    rows: Rows | slice,
    value: Floats,
    steps: Floats,
    count: Floats,
    bins: tuple[Rows, Rows],
    floor: Floats,
) -> Moment:
    """What is expected of this sample, and the fast models with it. steps: since the sample before,
    in steps; count: samples before; bins: of (week, day); floor: least size of a residual."""
    before = state["levels"][rows]
    first = 1 / (count + 1)
    levels = before.copy()
    levels += np.maximum(_weight(steps, TAUS), first[:, None]) * (value[:, None] - before)
    fast = state["levels"]
    fast[rows, :L256] = levels[:, :L256]
    number = _numbers(state, rows)
    expected = np.empty((len(value), 4))
    for i, (name, _) in enumerate(_PROFILES):
        seen = state[f"{name}.visits"][number, bins[i]] > 0
        expected[:, i] = np.where(seen, state[name][number, bins[i]], np.nan)
    expected[:, LEVEL], expected[:, SLOWEST] = before[:, _SLOW], before[:, L1024]
    residual = value[:, None] - expected
    known = ~np.isnan(residual)
    usual = state["errors"][rows]
    # A profile that has never been judged is not believed.
    rival = np.where(known[:, :3] & ((usual[:, :3] > 0) | _LEVEL_ONLY), usual[:, :3], np.inf)
    by = rival.argmin(axis=1)
    row = np.arange(len(value))
    smooth = state["smooth"][rows]
    apart = np.where(known[:, :2], residual[:, :2], 0.0)
    smooth = smooth + _weight(steps, np.array([_SMOOTH])) * (apart - smooth)
    state["smooth"][rows] = smooth
    variances = state["variances"][rows]
    weight = np.maximum(_weight(steps, np.array([_SHORT]))[:, 0], first)
    short = variances[:, 0] + weight * ((value - before[:, L8]) ** 2 - variances[:, 0])
    state["variances"][rows, 0] = short
    return Moment(
        value=value,
        expected=expected[row, by],
        scale=np.maximum(usual[row, by], floor),
        by=by,
        levels=levels,
        residuals=residual,
        errors=usual,
        smooth=smooth,
        short=short,
        long=variances[:, 1],
    )


def learn(
    state: Arrays,
    rows: Rows | slice,
    moment: Moment,
    steps: Floats,
    count: Floats,
    bins: tuple[Rows, Rows],
    may: Mask,
) -> None:
    """Takes the sample into what is judged by, where it may be learned from."""
    first = 1 / (count + 1)
    value, usual = moment.value, moment.errors
    reach = np.where(count > _FREE, _CLIP * moment.scale, np.inf)
    slow = state["levels"][rows, L256:]
    near = np.clip(value[:, None] - slow, -reach[:, None], reach[:, None])
    weight = np.maximum(_weight(steps, TAUS[L256:]), first[:, None]) * may[:, None]
    state["levels"][rows, L256:] = slow + weight * near
    error = np.abs(moment.residuals)
    known = ~np.isnan(error)
    error = np.where(known, error, usual)
    error = np.minimum(error, np.maximum(_CLIP * usual, reach[:, None]))
    weight = np.maximum(_weight(steps, np.array([_ERROR_TAU])), first[:, None]) * may[:, None]
    # A profile begins no better than the level is.
    begun = np.maximum(error, usual[:, LEVEL, None])
    state["errors"][rows] = np.where((usual == 0) & known, begun, usual + weight * (error - usual))
    weight = np.maximum(_weight(steps, np.array([_LONG]))[:, 0], first) * may
    state["variances"][rows, 1] += weight * (moment.short - moment.long)
    tame = moment.expected + np.clip(value - moment.expected, -reach, reach)
    _visit(state, _numbers(state, rows), tame, bins, may)


def _visit(state: Arrays, rows: Rows, value: Floats, bins: tuple[Rows, Rows], may: Mask) -> None:
    """Gathers the open bin of each profile; a bin is learned when it is left, so that no reading is
    judged by what it has taught."""
    for i, (name, _) in enumerate(_PROFILES):
        open_ = state["visit"][rows, i]
        left = np.flatnonzero(open_ != bins[i])
        if len(left):
            at, bin_ = rows[left], open_[left].astype(np.intp)
            n = state["visit.n"][at, i]
            full = np.flatnonzero((bin_ >= 0) & (n > 0))
            at_, bin_ = at[full], bin_[full]
            mean = state["visit.sum"][at_, i] / n[full]
            visits = state[f"{name}.visits"][at_, bin_]
            weight = 1 / (np.minimum(visits, _VISITS - 1) + 1)
            state[name][at_, bin_] += weight * (mean - state[name][at_, bin_])
            state[f"{name}.visits"][at_, bin_] = np.minimum(visits, 254) + 1
            state["visit"][at, i] = bins[i][left]
            state["visit.sum"][at, i] = 0.0
            state["visit.n"][at, i] = 0.0
        state["visit.sum"][rows, i] += value * may
        state["visit.n"][rows, i] += may


def _numbers(state: Arrays, rows: Rows | slice) -> Rows:
    return np.arange(len(state["levels"])) if isinstance(rows, slice) else rows


def _weight(steps: Floats, taus: Floats) -> Floats:
    return -np.expm1(-steps[:, None] / taus)
