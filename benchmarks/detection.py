"""Detectors and rules over 1,000 series, beside the plain way: one Python object per series, one call per sample.

Points per second of CPU time on one core; each batch holds one sample of every series.
"""

import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks import Row
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.rule import Condition, Rule
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import PointDef
from pms_iot.detection.columnar import ColumnarDetector, Watched
from pms_iot.detection.drift import Drift
from pms_iot.detection.rate import Rate
from pms_iot.detection.seasonal import Seasonal
from pms_iot.detection.spec import SCORES, DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch

SERIES, WARM, MEASURED, REPEATS = 1000, 60, 40, 5
T0, S = 1_767_225_600_000_000_000, 1_000_000_000
WORDS = Text("字", "words")


def run() -> list[Row]:
    batches = _batches()
    rows = [
        _row(f"{name} detector", "pms_iot", detector(name).update, batches)
        for name in ("seasonal", "drift", "rate", "stuck")
    ]
    rows.append(
        _row("seasonal detector (level only)", "plain Python", PlainSeasonal().update, batches)
    )
    rows.append(_row("rules, 3 per series", "pms_iot", engine().update, batches))
    rows.append(_row("rules, 3 per series", "plain Python", PlainRules().update, batches))
    return rows


def _batches() -> list[Batch]:
    random = np.random.default_rng(1)
    series = np.arange(1, SERIES + 1)
    return [
        Batch.of(series, np.full(SERIES, T0 + k * S), 20 + random.standard_normal(SERIES))
        for k in range(WARM + MEASURED * REPEATS)
    ]


def _row(what: str, who: str, update: Callable[[Batch], object], batches: list[Batch]) -> Row:
    for batch in batches[:WARM]:
        update(batch)
    rates: list[float] = []
    for repeat in range(REPEATS):
        start = time.process_time()
        for batch in batches[WARM + repeat * MEASURED :][:MEASURED]:
            update(batch)
        rates.append(SERIES * MEASURED / (time.process_time() - start))
    return Row(what, who, median(rates), "points/s/core")


def detector(name: str) -> ColumnarDetector:
    make = {"seasonal": Seasonal, "drift": Drift, "rate": Rate, "stuck": Stuck}[name]
    spec = DetectorSpec(name, (PointDef("p", WORDS),), warmup_s=30, min_change=0.01)
    scores = len(SCORES[name])
    return make(
        [
            Watched(
                i, tuple(SERIES * (1 + n) + i for n in range(scores)), spec, zone="Asia/Shanghai"
            )
            for i in range(1, SERIES + 1)
        ]
    )


class Register:
    """A thousand series of a hundred assets."""

    generation = 1

    def all(self) -> list[SeriesInfo]:
        return [
            SeriesInfo(
                i, i, f"A{i}", "s", "k", "p", "number", "", "字", "p", None, None, 1.0, False
            )
            for i in range(1, SERIES + 1)
        ]


def rules() -> list[Rule]:
    limits = [
        Condition("above", high=30, clear_high=28),
        Condition("below", low=10, clear_low=12),
        Condition("outside", low=5, high=35, clear_low=6, clear_high=34),
    ]
    return [
        Rule(f"k.r{i}", "k", WORDS, ("p",), c, "P3", WORDS, WORDS, WORDS, for_s=30, clear_for_s=60)
        for i, c in enumerate(limits)
    ]


def engine() -> RuleEngine:
    return RuleEngine(rules(), Register())


class PlainRules:
    """The same rules, one sample and one rule at a time."""

    def __init__(self) -> None:
        self._conditions = [rule.condition for rule in rules() if rule.condition is not None]
        self._since: dict[tuple[int, int], int] = {}

    def update(self, batch: Batch) -> list[tuple[int, int]]:
        fired: list[tuple[int, int]] = []
        samples = zip(batch.series.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True)
        for series, at, value in samples:
            for i, condition in enumerate(self._conditions):
                if not condition.holds(value):
                    self._since.pop((series, i), None)
                elif at - self._since.setdefault((series, i), at) >= 30 * S:
                    fired.append((series, i))
        return fired


class PlainSeasonal:
    """Level, size of residual and histogram of each series, one sample at a time; no day profile."""

    def __init__(self) -> None:
        self._state: dict[int, list[float]] = {}
        self._past: dict[int, list[int]] = {}

    def update(self, batch: Batch) -> list[float]:
        samples = zip(batch.series.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True)
        return [self._score(series, at / S, value) for series, at, value in samples]

    def _score(self, series: int, at: float, value: float) -> float:
        state = self._state.setdefault(series, [value, 1.0, at])
        past = self._past.setdefault(series, [0] * 64)
        dt = at - state[2]
        z = abs(value - state[0]) / state[1]
        place = min(max(int(4 * (math.log2(z + 1e-12) + 6)), 0), 63)
        score = -math.log10((sum(past[place:]) + 1) / (sum(past) + 1))
        past[place] += 1
        state[1] += (1 - math.exp(-dt / 3600)) * (1.25 * abs(value - state[0]) - state[1])
        state[0] += (1 - math.exp(-dt / 600)) * (value - state[0])
        state[2] = at
        return score
