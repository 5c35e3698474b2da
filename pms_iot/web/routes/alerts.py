"""The alarm list and the page of one alarm."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session, col, select

from pms_iot.alerts import service
from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.web.forecasts import forecast_of_alert, said
from pms_iot.web.i18n import N_
from pms_iot.web.paths import local_path
from pms_iot.web.render import page
from pms_iot.web.visit import Looking, Visit, Working
from pms_iot.web.why import rule_of, title_of, why
from pms_iot.workorders.tables import WorkOrder

router = APIRouter()
LISTED = 500
CLEARED_FOR = timedelta(days=30)
SHELVED = {
    "safety": N_("A safety alarm is never shelved."),
    "too_long": N_("An alarm can be shelved for at most 8 hours."),
    "reason_missing": N_("Say why the alarm is shelved."),
    "not_live": N_("This alarm has cleared."),
}
Tab = Literal["open", "shelved", "cleared"]


@dataclass(frozen=True, slots=True)
class Line:
    """Alarms of the same rule and point on one asset; `newest` speaks for them."""

    newest: Alert
    count: int
    first_at: datetime
    last_at: datetime
    order: WorkOrder | None


@dataclass(frozen=True, slots=True)
class Group:
    """The alarms of one asset."""

    asset: Asset
    site: Site
    lines: Sequence[Line]
    count: int


@router.get("/alerts")
def alert_list(
    visit: Looking, state: Tab = "open", severity: str = "", asset: str = ""
) -> Response:
    with transaction(visit.deps.engine) as session:
        rows = _rows(session, visit, state, severity, asset)
        orders = _orders(session, [alert.work_order_id for alert, _, _ in rows])
        assets = session.exec(select(Asset.code).order_by(Asset.code)).all()
        counts = {tab: len(_rows(session, visit, tab, "", "")) for tab in ("open", "shelved")}
    return page(
        visit,
        "alerts.html",
        groups=_groups(rows, orders),
        state=state,
        severity=severity,
        asset=asset,
        assets=assets,
        counts=counts,
        is_cut=len(rows) == LISTED,
        is_filtered=bool(severity or asset),
        title_of=partial(title_of, visit),
        why=partial(why, visit),
        zone=rows[0][2].timezone if rows else None,
    )


Row = tuple[Alert, Asset, Site]


def _rows(session: Session, visit: Visit, state: str, severity: str, asset: str) -> list[Row]:
    query = (
        select(Alert, Asset, Site)
        .join(Asset, col(Alert.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .order_by(col(Alert.opened_at).desc())
        .limit(LISTED)
    )
    on_shelf = col(Alert.shelved_until) > visit.now
    if state == "cleared":
        since = visit.now - CLEARED_FOR
        query = query.where(Alert.state == "resolved", col(Alert.resolved_at) > since)
    elif state == "shelved":
        query = query.where(Alert.state == "firing", on_shelf)
    else:
        query = query.where(Alert.state == "firing", ~on_shelf | col(Alert.shelved_until).is_(None))
    if severity:
        query = query.where(Alert.severity == severity)
    if asset:
        query = query.where(Asset.code == asset)
    return [(alert, its_asset, site) for alert, its_asset, site in session.exec(query)]


def _orders(session: Session, ids: Sequence[int | None]) -> dict[int | None, WorkOrder]:
    query = select(WorkOrder).where(col(WorkOrder.id).in_([number for number in ids if number]))
    return {order.id: order for order in session.exec(query)}


def _groups(rows: Sequence[Row], orders: dict[int | None, WorkOrder]) -> list[Group]:
    """By asset, the most severe first."""
    by_asset: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_asset[row[1].code].append(row)
    groups = [
        Group(own[0][1], own[0][2], _lines([alert for alert, _, _ in own], orders), len(own))
        for own in by_asset.values()
    ]
    return sorted(groups, key=lambda group: group.lines[0].newest.severity)


def _lines(alerts: Sequence[Alert], orders: dict[int | None, WorkOrder]) -> list[Line]:
    by_key: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_key[alert.key].append(alert)
    lines = [
        Line(
            newest=same[0],
            count=len(same),
            first_at=same[-1].opened_at,
            last_at=same[0].opened_at,
            order=orders.get(same[0].work_order_id),
        )
        for same in by_key.values()
    ]
    return sorted(lines, key=lambda line: line.newest.severity)


@router.post("/alerts/{alert_id}/acknowledge")
def acknowledge(visit: Working, alert_id: int, next: Annotated[str, Form()] = "") -> Response:
    with transaction(visit.deps.engine) as session:
        service.acknowledge(session, alert_id, visit.who, visit.now)
    visit.deps.live.changed("alerts")
    return RedirectResponse(local_path(next) if next else f"/alerts/{alert_id}", 303)


@router.post("/alerts/{alert_id}/shelve")
def shelve(
    visit: Working,
    alert_id: int,
    hours: Annotated[float, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    until = visit.now + timedelta(hours=hours)
    try:
        with transaction(visit.deps.engine) as session:
            service.shelve(session, alert_id, visit.who, until, reason, at=visit.now)
    except service.ShelvingRefusedError as refused:
        return _alert_page(visit, alert_id, status=422, problem=visit.say(SHELVED[refused.reason]))
    visit.deps.live.changed("alerts")
    return RedirectResponse(f"/alerts/{alert_id}", 303)


@router.post("/alerts/{alert_id}/unshelve")
def unshelve(visit: Working, alert_id: int) -> Response:
    with transaction(visit.deps.engine) as session:
        service.unshelve(session, alert_id, visit.who, visit.now)
    visit.deps.live.changed("alerts")
    return RedirectResponse(f"/alerts/{alert_id}", 303)


@router.get("/alerts/{alert_id}")
def alert_page(visit: Looking, alert_id: int) -> Response:
    return _alert_page(visit, alert_id)


def _alert_page(
    visit: Visit, alert_id: int, *, status: int = 200, problem: str | None = None
) -> Response:
    with transaction(visit.deps.engine) as session:
        alert, asset, site = _alert(session, alert_id)
        events = session.exec(_events_of(alert)).all()
        similar = session.exec(_similar_to(alert)).all()
        forecast = forecast_of_alert(visit, alert, asset.code, site.timezone)
        orders = _orders(session, [row.work_order_id for row in (alert, *similar)])
    return page(
        visit,
        "alert.html",
        status_code=status,
        problem=problem,
        alert=alert,
        asset=asset,
        rule=rule_of(visit, alert.rule),
        title=title_of(visit, alert),
        why=why(visit, alert, site.timezone),
        forecast=said(visit, forecast) if forecast else None,
        events=events,
        similar=similar,
        orders=orders,
        is_shelved=alert.shelved_until is not None and alert.shelved_until > visit.now,
        chart=_chart(visit, alert, asset),
        zone=site.timezone,
    )


def _alert(session: Session, alert_id: int) -> Row:
    query = (
        select(Alert, Asset, Site)
        .join(Asset, col(Alert.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(Alert.id == alert_id)
    )
    found = session.exec(query).first()
    if found is None:
        raise NotFoundError("alert", alert_id)
    return found


def _events_of(alert: Alert):
    steps = select(AlertEvent).where(AlertEvent.alert_id == alert.id)
    return steps.order_by(col(AlertEvent.at), col(AlertEvent.id))


def _similar_to(alert: Alert):
    same = select(Alert).where(Alert.key == alert.key, col(Alert.id) != alert.id)
    return same.order_by(col(Alert.opened_at).desc()).limit(10)


@dataclass(frozen=True, slots=True)
class ChartView:
    """What the chart of an alarm shows: the measured point, around the marked interval (Unix ms)."""

    point: str
    start: int
    end: int
    mark_from: int
    mark_to: int
    limit: float | None


def _chart(visit: Visit, alert: Alert, asset: Asset) -> ChartView | None:
    """A score is shown by the point it judges, with the expected band instead of the limit."""
    key = str(alert.why.get("point", ""))
    base = key.split(".", maxsplit=1)[0]
    shown = base if f"{base}.lo" in visit.deps.catalog.of_asset(asset.code) else key
    if visit.deps.catalog.lookup(asset.code, shown) is None:
        return None
    until = alert.resolved_at or visit.now
    margin = max((until - alert.since) * 0.5, timedelta(minutes=15))
    discrete = alert.why.get("template") in ("equals", "not_equals", "in")
    return ChartView(
        point=shown,
        start=_ms(alert.since - margin),
        end=_ms(min(until + margin * 0.3, visit.now)),
        mark_from=_ms(alert.since),
        mark_to=_ms(until),
        limit=None if shown != key or discrete else alert.limit,
    )


def _ms(at: datetime) -> int:
    return to_ns(at) // 1_000_000
