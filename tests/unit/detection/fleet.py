"""A small fleet of series for tests: a real catalog object, real detectors, no database."""

from collections.abc import Iterable, Sequence

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch

S = 1_000_000_000
T0 = 1_767_225_600 * S


class FixedCatalog:
    """Series that are given once; `points` is (asset, kind, point, derived)."""

    def __init__(self, points: Sequence[tuple[str, str, str, bool]], period_s: float = 1.0) -> None:
        self.generation = 1
        self.infos = [
            SeriesInfo(
                id=i + 1,
                asset_id=1,
                asset=asset,
                site="riverside",
                kind=kind,
                point=point,
                type="number",
                unit="",
                label_zh=point,
                label_en=point,
                low=None,
                high=None,
                period_s=period_s,
                derived=derived,
            )
            for i, (asset, kind, point, derived) in enumerate(points)
        ]

    def all(self) -> Iterable[SeriesInfo]:
        return self.infos

    def id(self, asset: str, point: str) -> int:
        return next(i.id for i in self.infos if i.asset == asset and i.point == point)


def samples(series: int, at_s: Sequence[float], value: Sequence[float]) -> Batch:
    """Good samples of one series, times in seconds from T0; NaN values are bad."""
    at = [T0 + round(t * S) for t in at_s]
    quality = np.where(np.isnan(np.asarray(value, np.float64)), 0, 192)
    return Batch.of(np.full(len(at), series), at, value, quality)


def rows(batch: Batch) -> list[tuple[int, int, float]]:
    """A batch as a sorted list of (series, time, value), for comparing."""
    return sorted(zip(batch.series.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True))
