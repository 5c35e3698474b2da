"""When a degrading quantity will cross its limit: degradation paths, fitted and weighed against each other.

Each path is y = c(hour of day) + a * g(t) + AR(1) noise with one of a fixed set of shapes g: linear from
some onset on, quadratic from some onset on, exponential. Against them stand those that lead nowhere:
nothing happens, or a single step. Every shape is fitted by least squares after whitening (Prais-Winsten,
true time steps), with one round of Huber's weights, and weighed by its likelihood less the price of its
parameters (BIC). The time of crossing is that of the *mean* path; its distribution is the weighted sum,
over the growing shapes, of P(path(t) beyond the limit), which is exact for a path that only grows.

Sources: Lu & Meeker, Technometrics 35 (1993): degradation paths and the time at which they cross;
Prais & Winsten (1954); Huber (1964); Marriott & Pope (1954): the bias of an estimated autocorrelation;
Raftery, Sociological Methodology 25 (1995): weighing models by BIC; Abramowitz & Stegun 26.7.8: Student's t.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_BINS = 16
EVIDENCE = 12.0  # natural logarithm of the odds of growth against none, from which it is believed
KEPT_EVIDENCE = 6.0  # once believed
PROGRESS = 0.15  # of the way from where it began to the limit that must have been covered
# Of the log likelihood in the interval: no law of wear is any of these shapes exactly.
TEMPER = 0.4
MARGIN = 0.05  # of the days left: no interval is narrower to either side, nor than half a bin
RISEN = 0.8  # spreads by which the newest bins must lie above the median to be looked at
REACH = 3.0  # a path is not followed further than so many times as long as it has been seen to grow
QUANTILES = (0.1, 0.5, 0.9)

_HINGES = -np.linspace(1.0, 0.08, 24)
_SQUARES = -np.linspace(1.0, 0.25, 10)
_TAUS = np.geomspace(0.06, 1.5, 18)
_STEPS = 20  # places of a step, evenly; besides these the sharpest jumps and the newest bins
_JUMPS, _NEWEST = 6, 4
_Z = np.linspace(-8, 8, 1601)
_PHI = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _Z.tolist()])
_GRID = np.concatenate(([0.0], np.geomspace(0.02, 4.0, 160)))  # of the horizon


class Crossing(NamedTuple):
    """Days from now until the limit is crossed: median and 80 % interval."""

    days: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the bins say. crossing: None without a trend that is believed. fallen_from: index of the first
    bin after a step back towards where the growth began (a repair); -1 if there was none."""

    crossing: Crossing | None
    fallen_from: int = -1


_NOTHING = Verdict(None)


def judge(
    days: Floats,
    value: Floats,
    season: NDArray[np.int64],
    limit: float,
    horizon: float,
    *,
    believed: bool,
) -> Verdict:
    """Judges bins of a quantity that gets worse as it rises.

    days: of each bin before now, rising, all <= 0. value: its mean; no NaN. season: the part of the day,
    0 and up. limit: in the unit of `value`. horizon: days. believed: whether there was a crossing at the
    last bin; less evidence then suffices. Needs `LEAST_BINS` bins.
    """
    if len(days) < LEAST_BINS or float(np.ptp(value)) == 0.0:
        return _NOTHING
    if not believed and not _has_risen(value, season):
        return _NOTHING
    span = -float(days[0])
    scale = float(np.ptp(value))
    y = value / scale
    shapes = _shapes(days, y, span)
    paths = _fitted(days, y, season, shapes)
    best = int(np.argmax(np.where(shapes.grows & (paths.slope > 0), paths.weight, -np.inf)))
    if paths.slope[best] <= 0:
        return _NOTHING
    growth = shapes.grows & (paths.slope > 0)
    evidence = _log_sum(paths.weight[growth]) - _log_sum(paths.weight[~growth])
    if (fallen := _fallen(paths, shapes, y, best)) >= 0:
        return Verdict(None, fallen)
    if evidence < (KEPT_EVIDENCE if believed else EVIDENCE):
        return _NOTHING
    level = paths.base[best] + paths.slope[best] * shapes.now[best]
    covered = (level - paths.start[best]) / max(limit / scale - paths.start[best], 1e-12)
    if level < limit / scale and covered < PROGRESS * (0.7 if believed else 1.0):
        return _NOTHING
    bin_days = float(np.median(np.diff(days)))
    return Verdict(_crossing(paths, shapes, growth, limit / scale, span, horizon, bin_days))


def _has_risen(value: Floats, season: NDArray[np.int64]) -> bool:
    """Whether the newest bins stand out at all: no path has grown where they do not, and most never do."""
    flat = value.copy()
    for part in np.unique(season):
        flat[season == part] -= np.median(flat[season == part])
    spread = 1.4826 * float(np.median(np.abs(flat)))
    return float(flat[-_NEWEST:].mean()) > RISEN * spread


class _Shapes(NamedTuple):
    """g of all shapes at the bins (shapes x bins), and how each goes on."""

    g: Floats
    now: Floats  # g at the present
    grows: NDArray[np.bool_]
    kind: NDArray[np.int64]  # 0 flat, 1 step, 2 hinge, 3 square, 4 exponential
    place: Floats  # onset in days, or time constant


class _Paths(NamedTuple):
    """The fits: c (mean over the day), a, their covariance, degrees of freedom, log weight; residuals."""

    base: Floats
    slope: Floats
    var_base: Floats
    var_slope: Floats
    cov: Floats
    freedom: int
    weight: Floats
    start: Floats  # the path at the first bin
    season: Floats  # of the best: what the time of day adds, at each bin


def _shapes(days: Floats, y: Floats, span: float) -> _Shapes:
    steps = _steps(days, y) / span
    kinds = ((0, np.zeros(1)), (1, steps), (2, _HINGES), (3, _SQUARES), (4, _TAUS))
    kind = np.concatenate([np.full(len(places), code) for code, places in kinds])
    place = np.concatenate([places for _, places in kinds]) * span
    g = _growth(kind, place, days, span)
    now = _growth(kind, place, np.zeros(1), span)[:, 0]
    return _Shapes(g, now, kind >= 2, kind, place)


def _steps(days: Floats, y: Floats) -> Floats:
    """Between which bins a step may have been."""
    last = len(days) - 1  # bins that have one after them
    places = np.concatenate(
        (
            np.linspace(1, last - 1, _STEPS).astype(np.intp),
            np.argsort(-np.abs(np.diff(y)), kind="stable")[:_JUMPS],
            last - 1 - np.arange(_NEWEST),
        )
    )
    places = np.unique(places)
    return (days[places] + days[places + 1]) / 2


def _growth(kind: NDArray[np.int64], place: Floats, at: Floats, span: float) -> Floats:
    """g of each shape at these days from now, shapes x days; about 1 at the present."""
    since = np.maximum(at[None, :] - place[:, None], 0.0) / span
    tau = np.where(kind == 4, place, 1.0)[:, None]
    exponent = np.minimum(at[None, :] / tau, 60.0)
    choices = (
        np.zeros_like(since),
        (since > 0).astype(np.float64),
        since,
        since**2,
        np.exp(exponent),
    )
    return np.choose(kind[:, None], choices)


def _fitted(days: Floats, y: Floats, season: NDArray[np.int64], shapes: _Shapes) -> _Paths:
    """Plain fits first: from the best of them come the autocorrelation and Huber's weights."""
    seasons = np.equal.outer(np.unique(season), season).astype(np.float64)  # seasons x bins
    ones = np.ones_like(y)
    plain = _least_squares(y, shapes.g, seasons, ones)
    left = y - plain.mean[int(np.argmin(plain.sse))]
    spread = 1.4826 * float(np.median(np.abs(left))) + 1e-9
    huber = np.sqrt(np.minimum(1.0, 2.0 * spread / np.maximum(np.abs(left), 1e-12)))
    steps = np.diff(days)
    rho = autocorrelation(left * huber, len(seasons) + 2)
    keep = rho ** np.maximum(steps / float(np.median(steps)), 1e-3)
    white = _least_squares(
        _whitened(y, keep), _whitened(shapes.g, keep), _whitened(seasons, keep), huber
    )
    n, extra = len(y), 2 * (shapes.kind > 0)
    sigma2 = white.sse / max(n - len(seasons) - 2, 1)
    floor = 1e-10
    weight = -0.5 * n * np.log(white.sse / n + floor) - 0.5 * extra * math.log(n)
    weight -= np.log(np.bincount(shapes.kind)[shapes.kind])  # each kind of shape counts once
    return _Paths(
        base=white.base,
        slope=white.slope,
        var_base=sigma2 * white.var_base,
        var_slope=sigma2 * white.var_slope,
        cov=sigma2 * white.cov,
        freedom=max(n - len(seasons) - 2, 1),
        weight=weight,
        start=white.base + white.slope * shapes.g[:, 0],
        season=white.offsets @ seasons,
    )


class _Squares(NamedTuple):
    base: Floats
    slope: Floats
    var_base: Floats  # all variances per unit of noise variance
    var_slope: Floats
    cov: Floats
    sse: Floats
    mean: Floats  # shapes x bins, season included
    offsets: Floats  # of the seasons, about their mean, of the best shape


def _least_squares(y: Floats, g: Floats, seasons: Floats, weight: Floats) -> _Squares:
    """Of y on the seasons and each shape in turn (Frisch-Waugh: the seasons are taken out of both)."""
    y_, g_, s_ = y * weight, g * weight, seasons * weight
    gram = s_ @ s_.T
    inverse = np.linalg.inv(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    of_y, of_g = inverse @ (s_ @ y_), inverse @ (s_ @ g_.T)  # seasons; seasons x shapes
    ry, rg = y_ - of_y @ s_, g_ - of_g.T @ s_
    power = (rg * rg).sum(axis=1)
    known = power > 1e-9 * max(float((g_ * g_).sum(axis=1).max()), 1e-12)
    slope = np.where(known, rg @ ry / np.where(known, power, 1.0), 0.0)
    left = ry[None, :] - slope[:, None] * rg
    sse = (left * left).sum(axis=1)
    levels = of_y[:, None] - of_g * slope[None, :]  # seasons x shapes
    average = np.full(len(gram), 1 / len(gram))
    lever = average @ of_g  # what a unit of slope takes from the mean level
    var_slope = np.where(known, 1.0 / np.where(known, power, 1.0), 0.0)
    best = int(np.argmin(sse))
    return _Squares(
        base=average @ levels,
        slope=slope,
        var_base=float(average @ inverse @ average) + lever**2 * var_slope,
        var_slope=var_slope,
        cov=-lever * var_slope,
        sse=sse,
        mean=levels.T @ seasons + slope[:, None] * g,
        offsets=levels[:, best] - float(average @ levels[:, best]),
    )


def autocorrelation(left: Floats, parameters: int) -> float:
    """Of neighbouring bins, freed of the bias that few bins and fitted parameters give it."""
    raw = float((left[1:] * left[:-1]).sum()) / max(float((left * left).sum()), 1e-300)
    corrected = raw + (1 + parameters / 2 + 4 * max(raw, 0.0)) / len(left)
    return min(max(corrected, 0.0), 0.95)


def _whitened(x: Floats, keep: Floats) -> Floats:
    """Innovations of AR(1) columns: bin i less what remains of bin i-1, in units of equal variance."""
    out = np.empty_like(x)
    out[..., 0] = x[..., 0]
    out[..., 1:] = (x[..., 1:] - keep * x[..., :-1]) / np.sqrt(1 - keep**2)
    return out


def _log_sum(weight: Floats) -> float:
    if not len(weight):
        return -math.inf
    top = float(weight.max())
    return top + math.log(float(np.exp(weight - top).sum()))


def _fallen(paths: _Paths, shapes: _Shapes, y: Floats, best: int) -> int:
    """Index of the first of the newest bins that lie below half of what had grown; -1 if fewer than two.

    What had grown is measured on the bins themselves, for a path fitted across a repair has no meaning.
    """
    flat = y - paths.season
    n = len(flat)
    tail = 2
    before = flat[:-tail]
    third = max(len(before) // 3, 3)
    start, top = float(np.median(before[:third])), float(np.median(before[-3:]))
    noise = 1.4826 * float(np.median(np.abs(np.diff(flat)))) / math.sqrt(2) + 1e-9
    half = start + 0.5 * (top - start)
    if top - start > 6 * noise and bool((flat[-tail:] < half).all()):
        return n - tail
    return -1


def _crossing(
    paths: _Paths,
    shapes: _Shapes,
    growth: NDArray[np.bool_],
    limit: float,
    span: float,
    horizon: float,
    bin_days: float,
) -> Crossing | None:
    """None if the path does not cross within the horizon, or further away than it may be followed."""
    chosen = np.flatnonzero(growth)
    weight = np.exp(TEMPER * (paths.weight[chosen] - paths.weight[chosen].max()))
    chosen, weight = chosen[weight > 1e-4], weight[weight > 1e-4]
    weight /= weight.sum()
    ahead = _GRID * horizon
    g = _growth(shapes.kind[chosen], shapes.place[chosen], ahead, span)
    mean = paths.base[chosen, None] + paths.slope[chosen, None] * g
    variance = (
        paths.var_base[chosen, None]
        + 2 * g * paths.cov[chosen, None]
        + g * g * paths.var_slope[chosen, None]
    )
    reached = student((mean - limit) / np.sqrt(np.maximum(variance, 1e-20)), paths.freedom)
    share = np.maximum.accumulate(weight @ reached)
    if share[-1] < QUANTILES[2]:
        return None
    low, days, high = (
        float(np.interp(q, share, ahead)) if share[0] < q else 0.0 for q in QUANTILES
    )
    onset = np.where(shapes.kind == 4, -2.5 * shapes.place, shapes.place)[chosen]
    seen = -float(weight @ np.maximum(onset, -span))
    if days > min(horizon, REACH * seen):
        return None
    if days > 0:
        margin = MARGIN * days + 0.5 * bin_days
        low, high = max(min(low, days - margin), 0.0), max(high, days + margin)
    return Crossing(days, low, high)


def student(t: Floats, freedom: int) -> Floats:
    """Distribution function of Student's t by the normal one; error below 1e-3 from 8 degrees on."""
    z = t * (1 - 1 / (4 * freedom)) / np.sqrt(1 + t * t / (2 * freedom))
    return np.interp(z, _Z, _PHI)
