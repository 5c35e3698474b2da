"""The asset model over whole recordings: what `skab` and `batadal` share, and its throughput.

Measured: microseconds of CPU for each sample of 1,000 assets with 10 points each, one row a tick.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import PointDef
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.arrays import size
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch

S = 1_000_000_000
ASSETS, POINTS, WARM, MEASURED, REPEATS = 1000, 10, 150, 20, 5
BESIDE = Path(__file__).parents[2] / "shared"


def data(name: str) -> Path:
    """The folder of a data set. Raises FileNotFoundError, saying which setting to set."""
    return _folder("PMS_BENCH_DATA", "data") / name


def scorers() -> Path:
    """The folder of the scorers. Raises FileNotFoundError, saying which setting to set."""
    return _folder("PMS_BENCH_SCORERS", "bench")


def _folder(setting: str, name: str) -> Path:
    folder = Path(os.environ.get(setting, BESIDE / name))
    if not folder.is_dir():
        raise FileNotFoundError(f"{setting}: no folder {folder}")
    return folder


class Fleet:
    """Assets of one kind under one spec, with the product's detectors over them."""

    def __init__(self, spec: DetectorSpec, assets: Sequence[str]) -> None:
        self.generation = 1
        made = [*spec.points, *spec.derived_points()]
        width = len(made)
        self.infos = [
            _info(n * width + i + 1, asset, point)
            for n, asset in enumerate(assets)
            for i, point in enumerate(made)
        ]
        self._id = {(info.asset, info.point): info.id for info in self.infos}
        self._points = [point.key for point in spec.points]
        self._excess = f"{spec.name}.excess"
        self.detectors = Detectors({"k": [spec]}, self)

    def all(self) -> Sequence[SeriesInfo]:
        return self.infos

    def batch(self, asset: str, at: NDArray[np.int64], value: NDArray[np.float64]) -> Batch:
        """Rows of an asset, (times, points), as samples; NaN as bad ones."""
        series = np.array([self._id[asset, point] for point in self._points])
        quality = np.where(np.isnan(value), 0, 192).ravel()
        return Batch.of(
            np.tile(series, len(at)), np.repeat(at, len(series)), value.ravel(), quality
        )

    def alarms(self, asset: str, scores: Batch, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the asset was in alarm at each of these times."""
        excess = scores.take(scores.series == self._id[asset, self._excess])
        found = np.zeros(len(at), np.bool_)
        found[np.searchsorted(at, excess.at)] = excess.value > 1
        return found


def model(
    points: Mapping[str, str], *, period_s: float, warmup_s: float, params: Mapping[str, float]
) -> DetectorSpec:
    """A model of these points (key -> type)."""
    defs = tuple(
        PointDef(key, Text(key, key), "bool" if type_ == "bool" else "number", period_s=period_s)
        for key, type_ in points.items()
    )
    label = Text("模型", "model")
    return DetectorSpec("model", defs, warmup_s=warmup_s, params=params, name="model", label=label)


def run() -> list[Row]:
    spec = model(
        {f"p{i}": "number" for i in range(POINTS)},
        period_s=1.0,
        warmup_s=120.0,
        params={"learn": 120.0, "refit": 3600.0},
    )
    assets = [f"A{n:04}" for n in range(ASSETS)]
    fleet = Fleet(spec, assets)
    series = np.array(
        [
            fleet.batch(asset, np.zeros(1, np.int64), np.zeros((1, POINTS))).series
            for asset in assets
        ]
    )
    random = np.random.default_rng(1)
    at = iter(range(10**6))

    def tick() -> Batch:
        value = 20 + random.standard_normal(series.size)
        return Batch.of(
            series.ravel(), np.full(series.size, 1_767_225_600 * S + next(at) * S), value
        )

    for _ in range(WARM):
        fleet.detectors.update(tick())
    rates: list[float] = []
    for _ in range(REPEATS):
        batches = [tick() for _ in range(MEASURED)]
        start = time.process_time()
        for batch in batches:
            fleet.detectors.update(batch)
        rates.append(series.size * MEASURED / (time.process_time() - start))
    start = time.perf_counter()
    state = fleet.detectors.snapshot()
    saved_ms = 1e3 * (time.perf_counter() - start)
    start = time.perf_counter()
    Fleet(spec, assets).detectors.restore(state)
    restored_ms = 1e3 * (time.perf_counter() - start)
    held = sum(size(model.snapshot()) for model in fleet.detectors.models.of().values())
    what = f"asset models, {ASSETS:,} of {POINTS} points"
    return [
        Row(what, "pms_iot", median(rates), "points/s/core"),
        Row(f"{what}, state", "pms_iot", held / ASSETS, "B/asset"),
        Row(f"{what}, state saved", "pms_iot", len(state) / ASSETS, "B/asset"),
        Row(f"{what}, snapshot", "pms_iot", saved_ms, "ms"),
        Row(f"{what}, restore", "pms_iot", restored_ms, "ms"),
    ]


def _info(number: int, asset: str, point: PointDef) -> SeriesInfo:
    return SeriesInfo.of(point, id=number, asset_id=1, asset=asset, site="s", kind="k")
