"""The ledger: what was expected, what came, late, twice or not at all, and why. Pages and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from sqlmodel import Session, col, or_, select

from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.telemetry.ledger.asset import PointLine, Sources, point_gaps, point_lines, poorest
from pms_iot.telemetry.ledger.days import GatewayDay, HourLine, gateway_days
from pms_iot.telemetry.ledger.evidence import NamedGap
from pms_iot.telemetry.ledger.tables import LedgerOutage
from pms_iot.web.formats import local_date, midnight
from pms_iot.web.render import page
from pms_iot.web.visit import Looking, Visit

router = APIRouter()
MAX_WINDOW_S = 31 * 86_400
WHOLE = 0.995  # a sample in two hundred may be a second off the hour
LISTED = 100


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a site, with its neighbours."""

    day: date
    zone: str
    start: datetime
    end: datetime

    @property
    def before(self) -> date:
        return self.day - timedelta(days=1)

    @property
    def after(self) -> date:
        return self.day + timedelta(days=1)


@router.get("/ledger")
def ledger_page(visit: Looking, day: str = "") -> Response:
    with transaction(visit.deps.engine) as session:
        chosen = _day(session, visit, day)
        gateways = gateway_days(session, visit.deps.catalog, chosen.start, chosen.end, visit.now)
        outages = _outages(session, chosen)
        names = {asset.code: asset for asset in session.exec(select(Asset))}
    return page(
        visit,
        "ledger.html",
        chosen=chosen,
        today=local_date(visit.now, chosen.zone),
        gateways=gateways,
        outages=outages,
        names=names,
        level=level,
        zone=chosen.zone,
    )


@router.get("/ledger/{asset}")
def ledger_asset_page(visit: Looking, asset: str, day: str = "", point: str = "") -> Response:
    with transaction(visit.deps.engine) as session:
        chosen = _day(session, visit, day)
        row = session.exec(select(Asset).where(Asset.code == asset)).one_or_none()
    if row is None:
        raise NotFoundError("asset", asset)
    start_ns, end_ns = to_ns(chosen.start), to_ns(chosen.end)
    lines = point_lines(_sources(visit), asset, start_ns, end_ns, visit.now)
    shown = _shown(lines, point)
    gaps = point_gaps(_sources(visit), shown.info.id, start_ns, end_ns, visit.now) if shown else []
    return page(
        visit,
        "ledger_asset.html",
        asset=row,
        chosen=chosen,
        today=local_date(visit.now, chosen.zone),
        spoken=[line for line in lines if line.complete is not None],
        never=[line for line in lines if line.complete is None],
        shown=shown,
        gaps=[_timed(gap) for gap in gaps],
        zone=chosen.zone,
    )


@router.get("/api/v1/ledger/gateways")
def gateways_json(visit: Looking, day: date | None = None) -> dict[str, Any]:
    """Every gateway, hour by hour, of a day in the first site's zone (today unless given)."""
    with transaction(visit.deps.engine) as session:
        chosen = _day(session, visit, str(day or ""))
        found = gateway_days(session, visit.deps.catalog, chosen.start, chosen.end, visit.now)
    gateways = [_gateway_json(gateway) for gateway in found]
    return {"day": str(chosen.day), "zone": chosen.zone, "gateways": gateways}


@router.get("/api/v1/ledger/assets/{asset}")
def asset_json(
    visit: Looking, asset: str, start: int, end: int, point: str | None = None
) -> dict[str, Any]:
    """The points of an asset over [start, end) Unix ms, and the gaps of `point`: the poorest unless given."""
    if not 0 < end - start <= MAX_WINDOW_S * 1000:
        raise HTTPException(422, "start must be before end, and the window at most 31 days")
    if point is not None:
        visit.series(asset, point)
    window = start * 1_000_000, end * 1_000_000
    lines = point_lines(_sources(visit), asset, *window, visit.now)
    shown = _shown(lines, point or "")
    gaps = point_gaps(_sources(visit), shown.info.id, *window, visit.now) if shown else []
    return {
        "asset": asset,
        "start": start / 1000,
        "end": end / 1000,
        "points": [_point_json(line) for line in lines],
        "gaps_of": shown.info.point if shown else None,
        "gaps": [_gap_json(gap) for gap in gaps],
    }


def level(line: HourLine) -> str:
    """One of words.HOUR_LEVEL."""
    if line.ratio is None:
        return "idle"
    if line.ratio >= WHOLE:
        return "whole"
    if line.ratio >= 0.5:
        return "short"
    return "poor" if line.sums.values else "none"


def _sources(visit: Visit) -> Sources:
    return Sources(visit.deps.engine, visit.deps.store, visit.deps.catalog)


def _shown(lines: Sequence[PointLine], point: str) -> PointLine | None:
    return next((line for line in lines if line.info.point == point), None) or poorest(lines)


def _day(session: Session, visit: Visit, text: str) -> Day:
    """The day of the address; today for anything else."""
    zone = session.exec(select(Site.timezone).order_by(col(Site.id))).first() or "Asia/Shanghai"
    try:
        return _local_day(date.fromisoformat(text), zone)
    except (ValueError, OverflowError):
        return _local_day(local_date(visit.now, zone), zone)


def _local_day(day: date, zone: str) -> Day:
    return Day(day, zone, midnight(day, zone), midnight(day + timedelta(days=1), zone))


def _outages(session: Session, chosen: Day) -> Sequence[LedgerOutage]:
    """Everybody who was away on that day, the latest first."""
    query = select(LedgerOutage).where(
        col(LedgerOutage.start) < chosen.end,
        or_(col(LedgerOutage.end).is_(None), col(LedgerOutage.end) > chosen.start),
    )
    return session.exec(query.order_by(col(LedgerOutage.start).desc()).limit(LISTED)).all()


def _timed(gap: NamedGap) -> dict[str, Any]:
    return {
        "start": from_ns(gap.start_ns),
        "end": from_ns(gap.end_ns),
        "causes": gap.causes,
        "why": gap.why,
    }


def _gateway_json(gateway: GatewayDay) -> dict[str, Any]:
    return {
        "site": gateway.site,
        "gateway": gateway.gateway,
        "assets": gateway.assets,
        "expected": gateway.expected,
        "completeness": gateway.ratio,
        **asdict(gateway.sums),
        "hours": [_hour_json(line) for line in gateway.hours],
    }


def _hour_json(line: HourLine) -> dict[str, Any]:
    return {
        "at": line.at.timestamp(),
        "expected": line.expected,
        "completeness": line.ratio,
        "first_seq": line.first_seq,
        "last_seq": line.last_seq,
        **asdict(line.sums),
    }


def _point_json(line: PointLine) -> dict[str, Any]:
    complete, first = line.complete, line.tally.first_at
    return {
        "point": line.info.point,
        "period_s": line.info.period_s,
        "first_at": first.timestamp() if first else None,
        "expected": complete.expected if complete else 0.0,
        "stored": complete.stored if complete else 0,
        "completeness": line.ratio,
        "late": line.tally.late,
        "duplicates": line.tally.duplicates,
    }


def _gap_json(gap: NamedGap) -> dict[str, Any]:
    return {
        "start": gap.start_ns / 1e9,
        "end": gap.end_ns / 1e9,
        "causes": gap.causes,
        "why": gap.why,
    }
