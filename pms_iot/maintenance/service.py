"""Opens maintenance when it is due, follows the orders to their end, and looks ahead.

The due dates live in the database: a look (`tick`) opens everything that is due by then, so an
engine that was down drops nothing. Every date that was due gets a row. One order per plan is open
at a time: when several dates have passed, the newest has the order and the earlier ones are
`missed`, with the reason. A unique key per plan and date makes a second look, a second engine or a
restart harmless. No plan is ever switched off by what happens here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import insert_new
from pms_iot.maintenance import due
from pms_iot.maintenance.endings import complete, follow_orders, overdue, skip
from pms_iot.maintenance.forecast import CalendarEntry, calendar
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.plans import PlanSync, schedule, sync_plans
from pms_iot.maintenance.tables import MaintenancePlan, MeterRebase, Occurrence
from pms_iot.workorders import service as workorders

__all__ = [
    "CalendarEntry",
    "OpenedOccurrence",
    "PlanSync",
    "calendar",
    "complete",
    "overdue",
    "skip",
    "sync_plans",
    "tick",
]
ENGINE_DOWN = "engine down"
NOT_DONE = "not done before the next was due"
NOT_IN_SERVICE = "asset not in service"
RETIRED = "asset retired"
EASTERNMOST = timedelta(hours=14)  # where the day begins first

Meters = Callable[[str, str], float | None]


@dataclass(frozen=True, slots=True)
class OpenedOccurrence:
    """An occurrence for which a work order was opened just now."""

    occurrence_id: int
    plan_id: int
    asset_id: int
    asset: str
    template: str
    due_on: date
    trigger: str
    work_order_id: int


@dataclass(frozen=True, slots=True)
class _Subject:
    """A plan with what it is about, as of one look."""

    plan: MaintenancePlan
    template: PlanTemplate
    asset: Asset
    zone: str
    now: datetime

    @property
    def today(self) -> date:
        return due.today_in(self.zone, self.now)

    @property
    def plan_id(self) -> int:
        assert self.plan.id is not None
        return self.plan.id


def tick(
    session: Session, templates: Iterable[PlanTemplate], now: datetime, meters: Meters
) -> list[OpenedOccurrence]:
    """One look at the calendar and the meters: ends what has ended, opens what is due.

    meters(asset code, point) is the newest good reading, or None. Safe to run at any time, any
    number of times, from several processes.
    """
    by_id = {template.id: template for template in templates}
    follow_orders(session, by_id)
    opened = [_open_by_calendar(session, subject) for subject in _due(session, by_id, now)]
    opened += [_open_by_meter(session, it, meters) for it in _metered(session, by_id, now)]
    session.flush()
    return [occurrence for occurrence in opened if occurrence is not None]


def _due(session: Session, by_id: dict[str, PlanTemplate], now: datetime) -> list[_Subject]:
    somewhere = (now + EASTERNMOST).date()
    subjects = _subjects(session, col(MaintenancePlan.opens_on) <= somewhere, by_id, now)
    return [it for it in subjects if it.plan.opens_on and it.plan.opens_on <= it.today]


def _metered(session: Session, by_id: dict[str, PlanTemplate], now: datetime) -> list[_Subject]:
    return _subjects(session, col(MaintenancePlan.by_meter).is_(True), by_id, now)


def _subjects(
    session: Session, which: ColumnElement[bool], by_id: dict[str, PlanTemplate], now: datetime
) -> list[_Subject]:
    """The active plans that `which` selects, locked; those that another process holds are its business."""
    query = (
        select(MaintenancePlan, Asset, Site.timezone)
        .join(Asset, col(MaintenancePlan.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(which, col(MaintenancePlan.active).is_(True))
        .order_by(col(MaintenancePlan.id))
        .with_for_update(of=MaintenancePlan, skip_locked=True)
    )
    rows = session.exec(query, execution_options={"populate_existing": True}).all()
    return [
        _Subject(plan, by_id[plan.template], asset, zone, now)
        for plan, asset, zone in rows
        if plan.template in by_id  # sync_plans reports the others
    ]


# -- by calendar ---------------------------------------------------------------------------


def _open_by_calendar(session: Session, it: _Subject) -> OpenedOccurrence | None:
    """Opens the newest date that is due; dates passed over get their rows too."""
    every, first = it.template.every, it.plan.next_due_on
    if every is None or first is None:
        return None
    horizon = it.today + timedelta(days=it.template.early_days)
    dates = [
        first,
        *due.dates_between(it.plan.anchor_on, every, _day_after(first), _day_after(horizon)),
    ]
    for passed in dates[:-1]:
        _end_at_once(session, it, passed, "calendar", "missed", ENGINE_DOWN)
    schedule(it.plan, it.template, due.next_after(it.plan.anchor_on, every, dates[-1]))
    session.add(it.plan)
    return _open(session, it, dates[-1], "calendar")


def _day_after(day: date) -> date:
    return day + timedelta(days=1)


def _open(
    session: Session, it: _Subject, due_on: date, trigger: str, reading: float | None = None
) -> OpenedOccurrence | None:
    """The occurrence with its order; None if its row exists, or the asset is out of service."""
    if reason := _out_of_service(it.asset, due_on):
        _end_at_once(session, it, due_on, trigger, "skipped", reason)
        return None
    occurrence_id = insert_new(session, _row(it, due_on, trigger, reading))
    if occurrence_id is None:
        return None
    occurrence = session.get_one(Occurrence, occurrence_id)
    live_order = _supersede(session, it, occurrence)
    if live_order is not None:
        occurrence.work_order_id = live_order
        workorders.carry(session, live_order, it.now, due_on=due_on.isoformat())
        return None
    occurrence.work_order_id = _order_for(session, it, occurrence)
    session.add(occurrence)
    return OpenedOccurrence(
        occurrence_id,
        it.plan_id,
        it.asset.id or 0,
        it.asset.code,
        it.template.id,
        due_on,
        trigger,
        occurrence.work_order_id,
    )


def _out_of_service(asset: Asset, due_on: date) -> str | None:
    if asset.retired_on is not None and asset.retired_on <= due_on:
        return RETIRED
    return None if asset.in_service else NOT_IN_SERVICE


def _row(it: _Subject, due_on: date, trigger: str, reading: float | None = None) -> Occurrence:
    return Occurrence(
        plan_id=it.plan_id,
        due_on=due_on,
        late_on=due_on + timedelta(days=it.template.late_days),
        trigger=trigger,
        meter_value=reading,
        opened_at=it.now,
    )


def _end_at_once(
    session: Session, it: _Subject, due_on: date, trigger: str, state: str, reason: str
) -> None:
    row = _row(it, due_on, trigger)
    row.state, row.reason, row.ended_at = state, reason, it.now
    insert_new(session, row)


def _supersede(session: Session, it: _Subject, newer: Occurrence) -> int | None:
    """Ends the plan's earlier open occurrence as missed; returns its order, which is still to be done."""
    query = select(Occurrence).where(
        Occurrence.plan_id == it.plan_id, Occurrence.state == "open", Occurrence.id != newer.id
    )
    live_order: int | None = None
    for earlier in session.exec(query):
        earlier.state, earlier.reason, earlier.ended_at = "missed", NOT_DONE, it.now
        live_order = earlier.work_order_id
        session.add(earlier)
    return live_order


def _order_for(session: Session, it: _Subject, occurrence: Occurrence) -> int:
    template = it.template
    name = template.id.partition(".")[2]
    return workorders.open_preventive(
        session,
        origin=f"pm:{it.asset.code}:{name}:{occurrence.due_on.isoformat()}",
        asset_id=it.plan.asset_id,
        title=template.label,
        priority=template.priority,
        skill=template.skill,
        people=template.people,
        statutory=template.statutory,
        due_at=due.end_of(occurrence.late_on, it.zone),
        checklist=[
            workorders.ChecklistEntry(line.id, line.text, line.evidence)
            for line in template.checklist
        ],
        at=it.now,
    )


# -- by meter ------------------------------------------------------------------------------


def _open_by_meter(session: Session, it: _Subject, meters: Meters) -> OpenedOccurrence | None:
    """Opens an occurrence today if a meter has run far enough and none is open already.

    A machine that is out of service does not run, so its meters are not asked.
    """
    meter = it.template.meter
    if meter is None or _out_of_service(it.asset, it.today):
        return None
    found = {point: meters(it.asset.code, point) for point in meter.points}
    readings = {
        point: at
        for point, at in found.items()
        if at is not None and at == at  # not NaN
    }
    state = due.read_meters(meter, it.plan.meter_bases, readings)
    for point, old in state.restarted.items():
        _note_restart(session, it, point, old, readings[point])
    if state.restarted:
        it.plan.meter_bases = dict(state.bases)
        session.add(it.plan)
    if state.due is None or _is_open(session, it.plan_id):
        return None
    opened = _open(session, it, it.today, "meter", state.due[1])
    if opened is not None and it.template.every is not None and not it.template.statutory:
        # Whichever is first: this service stands for the calendar date that was to come.
        it.plan.anchor_on = it.today
        schedule(it.plan, it.template, due.next_after(it.today, it.template.every, it.today))
    return opened


def _note_restart(
    session: Session, it: _Subject, point: str, old: float | None, reading: float
) -> None:
    reason = "start" if old is None else "went_back"
    session.add(
        MeterRebase(
            plan_id=it.plan_id,
            at=it.now,
            point=point,
            old_base=old,
            reading=reading,
            reason=reason,
        )
    )


def _is_open(session: Session, plan_id: int) -> bool:
    query = select(Occurrence.id).where(Occurrence.plan_id == plan_id, Occurrence.state == "open")
    return session.exec(query).first() is not None
