"""The page of one asset, and the files that belong to it."""

from datetime import timedelta
from functools import partial
from typing import Literal

from fastapi import APIRouter, Response
from sqlmodel import Session, select

from pms_iot.assets.tables import Asset, Document
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.maintenance.forecast import CalendarEntry, calendar
from pms_iot.telemetry.ledger.asset import Sources, point_ratio
from pms_iot.web.forecasts import forecasts_of, said
from pms_iot.web.formats import local_date
from pms_iot.web.key_points import key_values
from pms_iot.web.plans import plan_labels, templates
from pms_iot.web.render import page
from pms_iot.web.status import AssetStatus, survey
from pms_iot.web.visit import Looking, Visit

router = APIRouter()
SPANS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
Span = Literal["1h", "6h", "24h", "7d", "30d"]
PLANNED_DAYS = 60
INSPECTION_WARNING = timedelta(days=30)


@router.get("/a/{code}")
def asset_page(visit: Looking, code: str, point: str = "", span: Span = "24h") -> Response:
    status = _status(visit, code)
    with transaction(visit.deps.engine) as session:
        documents = _documents(session, status.asset)
        planned = _planned(session, visit, status)
        supply = session.get(Asset, status.asset.supply_id) if status.asset.supply_id else None
    chosen = _chosen(status, point)
    derived = [value for value in status.values if value.info.derived]
    computed = [value for value in derived if "." not in value.info.point]
    today = local_date(visit.now, status.site.timezone)
    due = status.asset.inspection_due_on
    return page(
        visit,
        "asset.html",
        status=status,
        asset=status.asset,
        measured=[value for value in status.values if not value.info.derived],
        states=[value for value in computed if value.info.type == "enum"],
        computed=computed,
        scores=[value for value in derived if value not in computed],
        point=chosen,
        complete=_complete(visit, code, chosen, span),
        span=span,
        spans=SPANS,
        end=to_ns(visit.now) // 1_000_000,
        start=to_ns(visit.now - SPANS[span]) // 1_000_000,
        documents=documents,
        planned=planned,
        forecasts=forecasts_of(visit, {status.site.code: status.site.timezone}, asset=code),
        said=partial(said, visit),
        plan_labels=plan_labels(visit),
        supply=supply,
        today=today,
        inspection_soon=due is not None and due - today <= INSPECTION_WARNING,
        title_of=visit.reader.title,
        zone=status.site.timezone,
    )


def _status(visit: Visit, code: str) -> AssetStatus:
    found = survey(visit, code)
    if not found:
        raise NotFoundError("asset", code)
    return found[0]


def _chosen(status: AssetStatus, point: str) -> str | None:
    """The point of the address, else a key quantity (rather one with an expected band), else any."""
    if point and any(value.info.point == point for value in status.values):
        return point
    keys = key_values(status.asset.kind, status.values)
    quantities = [value.info.point for value in keys if value.info.unit]
    banded = [
        value.info.point.removesuffix(".lo")
        for value in status.values
        if value.info.point.endswith(".lo")
    ]
    watched = [key for key in quantities if key in banded]
    anything = [value.info.point for value in status.values]
    return next(iter([*watched, *quantities, *anything]), None)


def _complete(visit: Visit, code: str, point: str | None, span: Span) -> float | None:
    """How much of the chart's window is stored."""
    series = visit.deps.catalog.lookup(code, point) if point else None
    if series is None:
        return None
    sources = Sources(visit.deps.engine, visit.deps.store, visit.deps.catalog)
    window = to_ns(visit.now - SPANS[span]), to_ns(visit.now)
    return point_ratio(sources, series, *window, visit.now)


def _documents(session: Session, asset: Asset) -> list[tuple[int | None, str, str]]:
    """Without their contents."""
    query = (
        select(Document.id, Document.title, Document.category)
        .where(Document.asset_id == asset.id)
        .order_by(Document.title)
    )
    return list(session.exec(query))


def _planned(session: Session, visit: Visit, status: AssetStatus) -> list[CalendarEntry]:
    today = local_date(visit.now, status.site.timezone)
    entries = calendar(
        session,
        today - timedelta(days=366),
        today + timedelta(days=PLANNED_DAYS),
        templates(visit.deps),
    )
    return [
        entry
        for entry in entries
        if entry.asset == status.asset.code and entry.state in ("open", "forecast")
    ]


@router.get("/documents/{document_id}")
def document(visit: Looking, document_id: int) -> Response:
    """Always a download: a file from outside is never shown as a page of this site."""
    with transaction(visit.deps.engine) as session:
        found = session.get(Document, document_id)
    if found is None:
        raise NotFoundError("document", document_id)
    return Response(
        found.content,
        media_type=found.media_type,
        headers={"Content-Disposition": f"attachment; filename=document-{document_id}"},
    )
