"""The maintenance calendar."""

import calendar as months
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse
from sqlmodel import col, select

from pms_iot.assets.register import zones_of
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import IllegalMoveError, StoreUnavailableError
from pms_iot.maintenance import service
from pms_iot.maintenance.forecast import CalendarEntry, calendar
from pms_iot.telemetry.ledger.asset import Sources, point_ratio
from pms_iot.web.forecasts import forecasts_of, on_calendar, said
from pms_iot.web.formats import local_date
from pms_iot.web.i18n import N_
from pms_iot.web.paths import local_path
from pms_iot.web.plans import plan_labels, templates
from pms_iot.web.render import page
from pms_iot.web.visit import Looking, Managing, Visit
from pms_iot.workorders.service import EvidenceRefusedError

router = APIRouter()
LOOK_BACK = timedelta(days=366)
METER_DAYS = timedelta(days=7)
_IN_WORK = N_("Its work order is already in work or has ended; cancel or finish it there.")
_NO_REASON = N_("Give a reason.")


@router.get("/pm")
def month_page(visit: Looking, month: str = "", asset: str = "") -> Response:
    return _month_page(visit, month, asset)


def _month_page(
    visit: Visit, month: str, asset: str, *, status: int = 200, problem: str | None = None
) -> Response:
    with transaction(visit.deps.engine) as session:
        zone = session.exec(select(Site.timezone).order_by(col(Site.id))).first()
        today = local_date(visit.now, zone or "Asia/Shanghai")
        first = _first_of(month, today)
        weeks = months.Calendar().monthdatescalendar(first.year, first.month)
        start, end = weeks[0][0], weeks[-1][-1] + timedelta(days=1)
        plans = templates(visit.deps)
        shown = _of(calendar(session, start, end, plans), asset)
        earlier = _of(calendar(session, today - LOOK_BACK, today + timedelta(days=1)), asset)
        assets = session.exec(select(Asset).order_by(Asset.code)).all()
        zones = zones_of(session)
    predicted = forecasts_of(visit, zones, asset=asset)
    shown += [e for e in on_calendar(visit, predicted) if start <= e.due_on < end]
    return page(
        visit,
        "maintenance.html",
        status_code=status,
        problem=problem,
        weeks=weeks,
        by_day=_by_day(shown),
        first=first,
        before=(first - timedelta(days=1)).replace(day=1),
        after=(first + timedelta(days=32)).replace(day=1),
        today=today,
        open_now=[entry for entry in earlier if entry.state == "open"],
        complete=_complete(visit, earlier),
        predicted=predicted,
        said=partial(said, visit),
        assets={row.code: row for row in assets},
        asset=asset,
        plan_labels=plan_labels(visit),
        zone=zone,
    )


def _complete(visit: Visit, entries: Sequence[CalendarEntry]) -> Mapping[int | None, float]:
    """Occurrence that is due by a meter -> how complete its readings are, the poorest of them, METER_DAYS back."""
    points = {plan.id: plan.meter.points for plan in templates(visit.deps) if plan.meter}
    sources = Sources(visit.deps.engine, visit.deps.store, visit.deps.catalog)
    window = to_ns(visit.now - METER_DAYS), to_ns(visit.now)
    found: dict[int | None, float] = {}
    for entry in entries:
        if entry.state != "open" or entry.trigger != "meter":
            continue
        known = [
            visit.deps.catalog.lookup(entry.asset, key) for key in points.get(entry.template, ())
        ]
        series = [number for number in known if number is not None]
        try:
            ratios = [point_ratio(sources, number, *window, visit.now) for number in series]
        except StoreUnavailableError:  # the calendar does not wait for the sample store
            return {}
        if shares := [ratio for ratio in ratios if ratio is not None]:
            found[entry.occurrence_id] = min(shares)
    return found


def _of(entries: Sequence[CalendarEntry], asset: str) -> list[CalendarEntry]:
    return [entry for entry in entries if asset in ("", entry.asset)]


def _first_of(month: str, today: date) -> date:
    """`2026-11` as a date; this month for anything else."""
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        return today.replace(day=1)


def _by_day(entries: Sequence[CalendarEntry]) -> Mapping[date, list[CalendarEntry]]:
    days: dict[date, list[CalendarEntry]] = defaultdict(list)
    for entry in entries:
        days[entry.due_on].append(entry)
    return days


@router.post("/pm/{occurrence_id}/skip")
def skip(
    visit: Managing,
    occurrence_id: int,
    reason: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/pm",
) -> Response:
    try:
        with transaction(visit.deps.engine) as session:
            service.skip(session, occurrence_id, visit.who, reason, at=visit.now)
    except IllegalMoveError:
        return _month_page(visit, "", "", status=409, problem=visit.say(_IN_WORK))
    except EvidenceRefusedError:
        return _month_page(visit, "", "", status=422, problem=visit.say(_NO_REASON))
    visit.deps.live.changed("orders")
    return RedirectResponse(local_path(next), 303)
