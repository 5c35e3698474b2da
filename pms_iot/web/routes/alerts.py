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
from pms_iot.alerts.budget import HELD, is_held, may_be_held
from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import transaction
from pms_iot.web.alert_view import alert_with_place, charts_of, similar_to
from pms_iot.web.forecasts import forecast_of_alert
from pms_iot.web.forecasts import said as forecast_words
from pms_iot.web.i18n import N_
from pms_iot.web.paths import local_path
from pms_iot.web.render import page
from pms_iot.web.said import held_words, said_of
from pms_iot.web.visit import Looking, Managing, Visit, Working
from pms_iot.web.why import explanation, why
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
ACCEPTED = {
    "safety": N_("A safety alarm is never taken for normal."),
    "measured": N_("Only the alarm of a detector's score can be taken for normal."),
    "not_live": N_("This alarm has cleared."),
    "reason_missing": N_("Say why the present level is normal."),
}
Tab = Literal["open", "shelved", "held", "cleared"]


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
        counts = {
            tab: len(_rows(session, visit, tab, "", "")) for tab in ("open", "shelved", "held")
        }
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
        title_of=visit.reader.title,
        why=partial(why, visit.reader),
        is_held=is_held,
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
    elif state == "held":
        query = query.where(Alert.state == "firing", col(Alert.suppressed_by).in_(HELD))
    else:
        query = query.where(
            Alert.state == "firing",
            ~on_shelf | col(Alert.shelved_until).is_(None),
            col(Alert.suppressed_by).is_(None),
        )
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


@router.post("/alerts/{alert_id}/accept")
def accept(visit: Managing, alert_id: int, reason: Annotated[str, Form()] = "") -> Response:
    """A manager takes the present level for normal; the detector hears it from the main path."""
    try:
        with transaction(visit.deps.engine) as session:
            service.accept(session, alert_id, visit.who, reason, visit.now)
    except service.AcceptanceRefusedError as refused:
        return _alert_page(visit, alert_id, status=422, problem=visit.say(ACCEPTED[refused.reason]))
    visit.deps.live.changed("alerts")
    return RedirectResponse(f"/alerts/{alert_id}", 303)


@router.get("/alerts/{alert_id}")
def alert_page(visit: Looking, alert_id: int) -> Response:
    return _alert_page(visit, alert_id)


def _alert_page(
    visit: Visit, alert_id: int, *, status: int = 200, problem: str | None = None
) -> Response:
    with transaction(visit.deps.engine) as session:
        alert, asset, site = alert_with_place(session, alert_id)
        events = session.exec(_events_of(alert)).all()
        before = similar_to(session, visit, alert, asset)
        pasts = [past.order for similar in before for past in similar.newest]
        orders = _orders(session, [alert.work_order_id]) | {o.id: o for o in pasts if o}
        said = said_of(visit, session, alert)
        forecast = forecast_of_alert(visit, alert, asset.code, site.timezone)
    return page(
        visit,
        "alert.html",
        said=said,
        held=held_words(visit, alert),
        may_accept=visit.may("manager") and may_be_held(alert) and alert.state == "firing",
        status_code=status,
        problem=problem,
        alert=alert,
        asset=asset,
        rule=visit.reader.rule(alert.rule),
        title=visit.reader.title(alert.rule),
        told=explanation(visit.reader, alert, site.timezone),
        forecast=forecast_words(visit, forecast) if forecast else None,
        events=events,
        before=before,
        orders=orders,
        is_shelved=alert.shelved_until is not None and alert.shelved_until > visit.now,
        charts=charts_of(visit, alert, asset),
        zone=site.timezone,
    )


def _events_of(alert: Alert):
    steps = select(AlertEvent).where(AlertEvent.alert_id == alert.id)
    return steps.order_by(col(AlertEvent.at), col(AlertEvent.id))
