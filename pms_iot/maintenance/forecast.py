"""The maintenance calendar: what was due, and what will be."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset
from pms_iot.maintenance import due
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.tables import MaintenancePlan, Occurrence


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """One date of one plan; state is open | done | skipped | missed, or forecast for one to come.
    (Pages add `predicted`: work that a drifting quantity will call for; it has no plan.)

    late_on, occurrence_id and work_order_id are None in a forecast.
    """

    due_on: date
    state: str
    plan_id: int
    template: str
    asset_id: int
    asset: str
    late_on: date | None = None
    occurrence_id: int | None = None
    work_order_id: int | None = None
    trigger: str = "calendar"
    reason: str = ""


def calendar(
    session: Session, start: date, end: date, templates: Iterable[PlanTemplate] = ()
) -> list[CalendarEntry]:
    """Everything with start <= due date < end, in order of date, then asset.

    `templates` let it look past the next due date of each plan. Meters are not forecast.
    """
    by_id = {template.id: template for template in templates}
    plans = (
        select(MaintenancePlan, Asset)
        .join(Asset, col(MaintenancePlan.asset_id) == col(Asset.id))
        .where(col(MaintenancePlan.active).is_(True), col(MaintenancePlan.next_due_on) < end)
    )
    entries = _recorded(session, start, end)
    for plan, asset in session.exec(plans):
        if asset.in_service and asset.retired_on is None:
            entries += _forecast(plan, asset, by_id.get(plan.template), start, end)
    return sorted(entries, key=lambda entry: (entry.due_on, entry.asset, entry.template))


def _recorded(session: Session, start: date, end: date) -> list[CalendarEntry]:
    query = (
        select(Occurrence, MaintenancePlan, Asset)
        .join(MaintenancePlan, col(Occurrence.plan_id) == col(MaintenancePlan.id))
        .join(Asset, col(MaintenancePlan.asset_id) == col(Asset.id))
        .where(col(Occurrence.due_on) >= start, col(Occurrence.due_on) < end)
    )
    return [
        CalendarEntry(
            due_on=row.due_on,
            state=row.state,
            plan_id=row.plan_id,
            template=plan.template,
            asset_id=plan.asset_id,
            asset=asset.code,
            late_on=row.late_on,
            occurrence_id=row.id,
            work_order_id=row.work_order_id,
            trigger=row.trigger,
            reason=row.reason,
        )
        for row, plan, asset in session.exec(query)
    ]


def _forecast(
    plan: MaintenancePlan, asset: Asset, template: PlanTemplate | None, start: date, end: date
) -> list[CalendarEntry]:
    first = plan.next_due_on
    if first is None or plan.id is None:
        return []
    dates = [first] if first >= start else []
    if template is not None and template.every is not None:
        later = due.dates_between(plan.anchor_on, template.every, max(start, first), end)
        dates += [day for day in later if day != first]
    return [
        CalendarEntry(day, "forecast", plan.id, plan.template, plan.asset_id, asset.code)
        for day in dates
    ]
