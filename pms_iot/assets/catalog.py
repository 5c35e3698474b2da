"""The catalog of series: which number stands for which point of which asset."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, func
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from pms_iot.assets.points import PointDef
from pms_iot.assets.tables import Asset, Point, Site
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One series: a point of an asset, with what a reader needs to show it."""

    id: int
    asset_id: int
    asset: str
    site: str
    kind: str
    point: str
    type: str
    unit: str
    label_zh: str
    label_en: str
    low: float | None
    high: float | None
    period_s: float | None
    derived: bool

    @classmethod
    def of(
        cls, point: PointDef, *, id: int, asset_id: int, asset: str, site: str, kind: str
    ) -> "SeriesInfo":
        """The series of a point as a rule pack describes it."""
        return cls(
            id=id,
            asset_id=asset_id,
            asset=asset,
            site=site,
            kind=kind,
            point=point.key,
            type=point.type,
            unit=point.unit,
            label_zh=point.label.zh,
            label_en=point.label.en,
            low=point.low,
            high=point.high,
            period_s=point.period_s,
            derived=point.derived,
        )


class _Maps(NamedTuple):
    by_id: dict[int, SeriesInfo]
    by_asset: dict[str, dict[str, int]]
    generation: int


class SeriesCatalog:
    """All series, read from the register once and again on `refresh()`; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._maps = _Maps({}, {}, 0)
        self.refresh()

    @property
    def generation(self) -> int:
        """Grows with each refresh; whoever caches by series compares it."""
        return self._maps.generation

    def refresh(self) -> None:
        """Reads the register anew and swaps the maps whole."""
        share = _Shared()
        with transaction(self._engine) as session:
            rows = session.connection().execute(_SERIES)
            infos = [SeriesInfo(*map(share, row)) for row in rows]
            codes = list(session.exec(select(Asset.code)))
        by_asset: dict[str, dict[str, int]] = {code: {} for code in codes}
        for info in infos:
            by_asset[info.asset][info.point] = info.id
        # In one step: whoever has met a new series must find that the generation is another.
        self._maps = _Maps({info.id: info for info in infos}, by_asset, self.generation + 1)

    def is_behind(self) -> bool:
        """Whether the register has got points or assets since it was read, from whatever process."""
        with transaction(self._engine) as session:
            points, assets = (
                session.exec(select(func.count()).select_from(table)).one()
                for table in (Point, Asset)
            )
        return (points, assets) != (len(self._maps.by_id), len(self._maps.by_asset))

    def lookup(self, asset: str, point: str) -> int | None:
        """The series of a point, or None if the register does not know it."""
        return self._maps.by_asset.get(asset, {}).get(point)

    def series_at(self, site: str, asset: str, point: str) -> int | None:
        """As `lookup`, but another site's asset is unknown: a gateway speaks for its own site only."""
        series = self.lookup(asset, point)
        return series if series is not None and self.info(series).site == site else None

    def info(self, series: int) -> SeriesInfo:
        """Raises NotFoundError for a number that no point has."""
        try:
            return self._maps.by_id[series]
        except KeyError:
            raise NotFoundError("series", series) from None

    def has_asset(self, asset: str) -> bool:
        """Whether the register knows the asset, with points or without."""
        return asset in self._maps.by_asset

    def of_asset(self, asset: str) -> dict[str, int]:
        """Point key -> series; empty for an asset that is unknown or has no points."""
        return dict(self._maps.by_asset.get(asset, {}))

    def all(self) -> Iterable[SeriesInfo]:
        return self._maps.by_id.values()


_SERIES = (  # in the order of SeriesInfo
    select_columns(
        col(Point.id),
        col(Asset.id),
        col(Asset.code),
        col(Site.code),
        col(Asset.kind),
        col(Point.key),
        col(Point.type),
        col(Point.unit),
        col(Point.label_zh),
        col(Point.label_en),
        col(Point.low),
        col(Point.high),
        col(Point.period_s),
        col(Point.derived),
    )
    .join(Asset, col(Point.asset_id) == col(Asset.id))
    .join(Site, col(Asset.site_id) == col(Site.id))
    .order_by(col(Point.id))
)


class _Shared(dict[str | float, Any]):
    """Of equal words and of equal numbers there is one only: thousands of series share few."""

    def __call__(self, value: Any) -> Any:
        return self.setdefault(value, value) if type(value) in (str, float) else value
