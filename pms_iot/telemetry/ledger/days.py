"""The ledger's reading side: a gateway hour by hour, an asset point by point."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, delete, select

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.assets.tables import Asset, Gateway, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.ledger import points
from pms_iot.telemetry.ledger.books import COUNTS, HOUR_NS, late_after_ns
from pms_iot.telemetry.ledger.promises import all_promised, read_promises
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerOutage, LedgerPoint

KEPT = timedelta(days=400)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Sums:
    """What is written down of some time; the columns of LedgerHour, of all lanes together.

    `values`: samples of the data lane (or without a header) that have a value: what `expected` is
    compared with. Events are extra.
    """

    values: int = 0
    samples: int = 0
    missing: int = 0
    late: int = 0
    duplicate_samples: int = 0
    batches: int = 0
    sent: int = 0
    duplicate_batches: int = 0
    skipped: int = 0
    spoilt: int = 0
    unknown: int = 0
    too_old: int = 0
    in_future: int = 0
    text: int = 0

    @property
    def refused(self) -> int:
        """Samples that came and are not stored."""
        return self.unknown + self.too_old + self.in_future + self.text

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class HourLine:
    """One hour of a gateway. `expected` counts only what may have arrived by now."""

    at: datetime
    expected: float
    sums: Sums
    first_seq: int | None
    last_seq: int | None

    @property
    def counted(self) -> float:
        return min(self.sums.values, self.expected)

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where nothing was expected."""
        return self.counted / self.expected if self.expected > 0 else None


@dataclass(frozen=True, slots=True)
class GatewayDay:
    """A gateway of the register, or one that is not in it and yet sent something."""

    site: str
    gateway: str
    assets: tuple[str, ...]
    hours: tuple[HourLine, ...]

    @property
    def sums(self) -> Sums:
        return sum((line.sums for line in self.hours), Sums())

    @property
    def expected(self) -> float:
        return sum(line.expected for line in self.hours)

    @property
    def ratio(self) -> float | None:
        expected = self.expected
        return sum(line.counted for line in self.hours) / expected if expected > 0 else None


@dataclass(frozen=True, slots=True)
class PointTally:
    """What the books say of one point in a window, beside what the store holds."""

    first_at: datetime | None  # None: never heard of
    late: int
    duplicates: int


def hours_of(start: datetime, end: datetime) -> list[datetime]:
    """The UTC hours that begin in [start, end)."""
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first += HOUR if first < start else timedelta()
    return [first + n * HOUR for n in range(max(0, -((first - end) // HOUR)))]


def gateway_days(
    session: Session, catalog: SeriesSource, start: datetime, end: datetime, now: datetime
) -> list[GatewayDay]:
    """Every gateway over the UTC hours that begin in [start, end), in order of site and code."""
    hours = hours_of(start, end)
    assets = _assets_by_gateway(session)
    rows = _rows_by_gateway(session, start, end)
    known = first_heard(session)
    by_asset: dict[str, list[SeriesInfo]] = defaultdict(list)
    for info in all_promised(catalog, read_promises(session)):
        if info.period_s and not info.derived and info.id in known:
            by_asset[info.asset].append(info)
    found: list[GatewayDay] = []
    for site, gateway in sorted(assets.keys() | rows.keys()):
        codes = assets.get((site, gateway), ())
        infos = [info for code in codes for info in by_asset[code]]
        expected = _expected(hours, infos, known, now)
        here = rows[site, gateway]
        lines = (_line(at, n, here[at]) for at, n in zip(hours, expected.tolist(), strict=True))
        found.append(GatewayDay(site, gateway, codes, tuple(lines)))
    return found


def point_tallies(
    session: Session, series: Sequence[int], site: str, start: datetime, end: datetime
) -> Mapping[int, PointTally]:
    """Of each series: since when it is known, and its late and doubled samples of the hours in [start, end)."""
    chosen = select(LedgerHour.late_points, LedgerHour.duplicate_points).where(
        LedgerHour.site == site,
        col(LedgerHour.hour) >= start,
        col(LedgerHour.hour) < end,
        or_(
            col(LedgerHour.late_points).is_not(None), col(LedgerHour.duplicate_points).is_not(None)
        ),
    )
    late: dict[int, int] = defaultdict(int)
    doubled: dict[int, int] = defaultdict(int)
    for late_points, duplicate_points in session.exec(chosen):
        for total, tally in ((late, late_points), (doubled, duplicate_points)):
            for number, count in points.counts(tally).items():
                total[number] += count
    known = first_heard(session, *series)
    return {n: PointTally(known.get(n), late[n], doubled[n]) for n in series}


def first_heard(session: Session, *series: int) -> Mapping[int, datetime]:
    """Series -> its first sample; of these series, or of all."""
    chosen = select(LedgerPoint)
    if series:
        chosen = chosen.where(col(LedgerPoint.series).in_(series))
    return {row.series: row.first_at for row in session.exec(chosen)}


def expected_until_ns(period_s: float | None, now: datetime) -> int:
    """Samples up to then would be late if they had not arrived."""
    return to_ns(now) - late_after_ns(period_s)


def prune(session: Session, now: datetime) -> int:
    """Forgets hours and outages older than KEPT; returns how many hours."""
    session.exec(delete(LedgerOutage).where(col(LedgerOutage.end) < now - KEPT))
    return session.exec(delete(LedgerHour).where(col(LedgerHour.hour) < now - KEPT)).rowcount


def _assets_by_gateway(session: Session) -> dict[tuple[str, str], tuple[str, ...]]:
    """(site, gateway) -> what speaks through it and is in service. Its own figures come by another way."""
    gateways = session.exec(
        select(Gateway, Site).join(Site, col(Gateway.site_id) == col(Site.id))
    ).all()
    supplied: dict[int, list[str]] = defaultdict(list)
    in_use = col(Asset.in_service).is_(True), col(Asset.retired_on).is_(None)
    for asset in session.exec(select(Asset).where(*in_use).order_by(Asset.code)):
        supplied[asset.supply_id or 0].append(asset.code)
    return {
        (site.code, gateway.code): tuple(supplied[gateway.asset_id]) for gateway, site in gateways
    }


_READ = [
    getattr(LedgerHour, name)
    for name in ("site", "gateway", "lane", "hour", "first_seq", "last_seq", *COUNTS)
]
_Rows = dict[datetime, list[Any]]  # LedgerHour without its tallies, which are large


def _rows_by_gateway(
    session: Session, start: datetime, end: datetime
) -> dict[tuple[str, str], _Rows]:
    found: dict[tuple[str, str], _Rows] = defaultdict(lambda: defaultdict(list))
    chosen = sql_select(*_READ).where(col(LedgerHour.hour) >= start, col(LedgerHour.hour) < end)
    for row in session.connection().execute(chosen):
        found[row.site, row.gateway][row.hour].append(row)
    return found


def _expected(
    hours: Sequence[datetime],
    infos: Sequence[SeriesInfo],
    known: Mapping[int, datetime],
    now: datetime,
) -> NDArray[np.float64]:
    """How many samples each hour was to bring, from the points that had spoken by then."""
    begin = np.array([to_ns(at) for at in hours], np.float64)[:, None]
    first = np.array([to_ns(known[info.id]) for info in infos], np.float64)
    until = np.array([expected_until_ns(info.period_s, now) for info in infos], np.float64)
    period = np.array([(info.period_s or 1.0) * 1e9 for info in infos])
    span = np.minimum(begin + HOUR_NS, until) - np.maximum(begin, first)
    return (np.maximum(span, 0.0) / period).sum(axis=1)


def _line(at: datetime, expected: float, rows: Iterable[Any]) -> HourLine:
    here = list(rows)
    sums = sum((_sums(row) for row in here), Sums())
    numbered = [row for row in here if row.lane == "data"]
    lowest = [row.first_seq for row in numbered if row.first_seq is not None]
    highest = [row.last_seq for row in numbered if row.last_seq is not None]
    return HourLine(at, expected, sums, min(lowest, default=None), max(highest, default=None))


def _sums(row: Any) -> Sums:
    values = row.samples - row.missing if row.lane != "event" else 0
    return Sums(values, **{name: getattr(row, name) for name in COUNTS})
