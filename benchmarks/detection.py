"""All univariate detectors together and each alone, and the rules, beside detectors from PyPI and plain Python.

Points per second of CPU time on one core at 1,000 and 10,000 series, a batch holding one sample of every
series; memory of a series; snapshot and restore of 10,000 series. The peers take one sample at a time, as
they do in their own documentation; one that is not installed says so.
"""

import time
from collections.abc import Callable
from importlib import import_module
from statistics import median

import numpy as np

from benchmarks import Row
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.rule import Condition, Rule
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import PointDef
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.columnar import ColumnarDetector, Watched
from pms_iot.detection.drift import Drift
from pms_iot.detection.missing import Missing
from pms_iot.detection.rate import Rate
from pms_iot.detection.spec import SCORES, DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.arrays import size
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch

SERIES, WARM, MEASURED, REPEATS = 1000, 300, 30, 5
SETTLED = 1500  # samples of each series after which slopes are judged too
PEER_SAMPLES = 400
T0, S = 1_767_225_600_000_000_000, 1_000_000_000
WORDS = Text("字", "words")
MAKE: dict[str, type[ColumnarDetector]] = {
    "anomaly": Anomaly,
    "stuck": Stuck,
    "rate": Rate,
    "missing": Missing,
    "drift": Drift,
}


def run() -> list[Row]:
    batches = _batches(SERIES, WARM + MEASURED * REPEATS)
    rows = [_row(f"{name} detector", "pms_iot", detector(name).update, batches) for name in MAKE]
    rows += _together(SERIES) + _together(SERIES, SETTLED) + _together(10 * SERIES)
    rows += _keeping(10 * SERIES) + peers()
    batches = _batches(SERIES, WARM + MEASURED * REPEATS)
    rows.append(_row("rules, 3 per series", "pms_iot", engine().update, batches))
    rows.append(_row("rules, 3 per series", "plain Python", PlainRules().update, batches))
    return rows


def _together(series: int, warm: int = WARM) -> list[Row]:
    """Anomaly, stuck, rate, missing and drift on every series, after so many samples of each."""
    detectors = [detector(name, series) for name in MAKE]

    def update(batch: Batch) -> None:
        for one in detectors:
            one.update(batch)

    rounds = 2 if series > SERIES else MEASURED
    batches = _batches(series, warm + rounds * REPEATS)
    what = f"all univariate detectors, {series:,} series"
    if warm != WARM:
        what += ", settled"
    return [_row(what, "pms_iot", update, batches, rounds)]


def _keeping(series: int) -> list[Row]:
    """Memory of a series, and how long its state takes to be saved and taken up again."""
    detectors = [detector(name, series) for name in MAKE]
    for batch in _batches(series, WARM):
        for one in detectors:
            one.update(batch)
    start = time.process_time()
    saved = [one.snapshot() for one in detectors]
    saving = time.process_time() - start
    start = time.process_time()
    for one, state in zip(detectors, saved, strict=True):
        one.restore(state)
    restoring = time.process_time() - start
    return [
        Row("state of a series, all detectors", "pms_iot", sum(map(size, saved)) / series, "B"),
        Row("state of a series, saved", "pms_iot", sum(map(len, saved)) / series, "B"),
        Row(f"snapshot of {series:,} series", "pms_iot", 1e3 * saving, "ms"),
        Row(f"restore of {series:,} series", "pms_iot", 1e3 * restoring, "ms"),
    ]


def peers() -> list[Row]:
    """Detectors from PyPI on one series, in the same run."""
    return [
        _peer("HalfSpaceTrees, 25 trees", "river", _river_trees),
        _peer("GaussianScorer", "river", _river_gauss),
        _peer("robust random cut forest, 40 trees of 256", "rrcf", _rrcf),
        _peer("robust random cut forest", "PySAD", _pysad),
    ]


def _peer(what: str, who: str, make: Callable[[], Callable[[float], object]]) -> Row:
    try:
        score = make()
    except ImportError as problem:
        return Row(f"{what}: not installed ({problem.name})", who, 0.0, "points/s/core")
    values = np.random.default_rng(1).standard_normal(2 * PEER_SAMPLES).tolist()
    for value in values[:PEER_SAMPLES]:
        score(value)
    start = time.process_time()
    for value in values[PEER_SAMPLES:]:
        score(value)
    return Row(what, who, PEER_SAMPLES / (time.process_time() - start), "points/s/core")


def _river_trees() -> Callable[[float], object]:
    trees = import_module("river.anomaly").HalfSpaceTrees(n_trees=25, seed=1)

    def score(value: float) -> object:
        found = trees.score_one({"x": value})
        trees.learn_one({"x": value})
        return found

    return score


def _river_gauss() -> Callable[[float], object]:
    gauss = import_module("river.anomaly").GaussianScorer()

    def score(value: float) -> object:
        found = gauss.score_one(None, value)
        gauss.learn_one(None, value)
        return found

    return score


def _rrcf() -> Callable[[float], object]:
    rrcf = import_module("rrcf")
    forest = [rrcf.RCTree() for _ in range(40)]
    count = 0

    def score(value: float) -> object:
        nonlocal count
        for tree in forest:
            if len(tree.leaves) >= 256:
                tree.forget_point(count - 256)
            tree.insert_point([value], index=count)
        found = sum(tree.codisp(count) for tree in forest) / len(forest)
        count += 1
        return found

    return score


def _pysad() -> Callable[[float], object]:
    model = import_module("pysad.models").RobustRandomCutForest(num_trees=40, tree_size=256)
    return lambda value: model.fit_score_partial(np.array([value]))


def _batches(count: int, ticks: int) -> list[Batch]:
    random = np.random.default_rng(1)
    series = np.arange(1, count + 1)
    return [
        Batch.of(series, np.full(count, T0 + k * S), 20 + random.standard_normal(count))
        for k in range(ticks)
    ]


def _row(
    what: str,
    who: str,
    update: Callable[[Batch], object],
    batches: list[Batch],
    rounds: int = MEASURED,
) -> Row:
    warm = len(batches) - rounds * REPEATS
    for batch in batches[:warm]:
        update(batch)
    rates: list[float] = []
    for repeat in range(REPEATS):
        start = time.process_time()
        for batch in batches[warm + repeat * rounds :][:rounds]:
            update(batch)
        rates.append(len(batches[0]) * rounds / (time.process_time() - start))
    return Row(what, who, median(rates), "points/s/core")


def detector(name: str, series: int = SERIES) -> ColumnarDetector:
    spec = DetectorSpec(name, (PointDef("p", WORDS),), warmup_s=30, min_change=0.01)
    outputs = len(SCORES[name])
    return MAKE[name](
        [
            Watched(
                i,
                tuple(series * (1 + n) + i for n in range(outputs)),
                spec,
                zone="Asia/Shanghai",
                beside=tuple(range(i - (i - 1) % 10, i - (i - 1) % 10 + 10)),
            )
            for i in range(1, series + 1)
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
