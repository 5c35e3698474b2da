"""Opens maintenance when it is due, follows the orders to their end, and looks ahead.

The due dates live in the database: a look (`tick`) opens everything that is due by then, so an
engine that was down drops nothing. Every date that was due gets a row. One order per plan is open
at a time: when several dates have passed, the newest has the order and the earlier ones are
`missed`, with the reason. A unique key per plan and date makes a second look, a second engine or a
restart harmless. No plan is ever switched off by what happens here.

A look only reads; what it finds is done in short transactions, each of which looks again at the few
plans that it is about, with a pause in between for whoever else wants to write.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import insert_new, reading, transaction
from pms_iot.maintenance import due
from pms_iot.maintenance.endings import complete, ended_orders, follow_order, overdue, skip
from pms_iot.maintenance.forecast import CalendarEntry, calendar
from pms_iot.maintenance.look import Meters, Readings, due_by_calendar, due_by_meter
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.plans import PlanSync, schedule, sync_plans
from pms_iot.maintenance.subject import OpenedOccurrence, Subject, out_of_service
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
AT_ONCE = 2  # plans in one transaction: opening an order with its checklist takes some milliseconds

T = TypeVar("T")
Tell = Callable[[Session, OpenedOccurrence], None]


def tick(
    engine: Engine,
    templates: Iterable[PlanTemplate],
    now: datetime,
    meters: Meters,
    tell: Tell = lambda _session, _opened: None,
) -> list[OpenedOccurrence]:
    """One look at the calendar and the meters: ends what has ended, opens what is due.

    `tell` is called for each order in the transaction that opens it. Safe to run at any time, any
    number of times, from several processes.
    """
    by_id = {template.id: template for template in templates}
    opened: list[OpenedOccurrence] = []
    with reading(engine) as session:
        ended = ended_orders(session)
    for endings in _pieces(ended):
        with transaction(engine) as session:
            for ending in endings:
                follow_order(session, ending, by_id.values())
    with reading(engine) as session:
        plans = due_by_calendar(session, by_id, now)
    for ids in _pieces(plans):
        with transaction(engine) as session:
            opened += _opened_by_calendar(session, ids, by_id, now, tell)
    with reading(engine) as session:
        readings = due_by_meter(session, by_id, now, meters)
    for ids in _pieces(list(readings)):
        with transaction(engine) as session:
            opened += _opened_by_meter(session, ids, by_id, now, readings, tell)
    return opened


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few at a time; in between, others may write for as long as it took."""
    for start in range(0, len(items), AT_ONCE):
        began = time.monotonic()
        yield items[start : start + AT_ONCE]
        if start + AT_ONCE < len(items):
            time.sleep(time.monotonic() - began)


def _opened_by_calendar(
    session: Session,
    ids: Sequence[int],
    by_id: Mapping[str, PlanTemplate],
    now: datetime,
    tell: Tell,
) -> Iterator[OpenedOccurrence]:
    for subject in _subjects(session, ids, by_id, now):
        if subject.plan.opens_on is None or subject.plan.opens_on > subject.today:
            continue  # somebody else was faster
        opened = _open_by_calendar(session, subject)
        if opened is not None:
            tell(session, opened)
            yield opened


def _opened_by_meter(
    session: Session,
    ids: Sequence[int],
    by_id: Mapping[str, PlanTemplate],
    now: datetime,
    readings: Mapping[int, Readings],
    tell: Tell,
) -> Iterator[OpenedOccurrence]:
    for subject in _subjects(session, ids, by_id, now):
        opened = _open_by_meter(session, subject, readings[subject.plan_id])
        if opened is not None:
            tell(session, opened)
            yield opened


def _subjects(
    session: Session, ids: Sequence[int], by_id: Mapping[str, PlanTemplate], now: datetime
) -> list[Subject]:
    """The active ones of these plans, locked; those that another process holds are its business."""
    query = (
        select(MaintenancePlan, Asset, Site.timezone)
        .join(Asset, col(MaintenancePlan.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(col(MaintenancePlan.id).in_(ids), col(MaintenancePlan.active).is_(True))
        .order_by(col(MaintenancePlan.id))
        .with_for_update(of=MaintenancePlan, skip_locked=True)
    )
    rows = session.exec(query, execution_options={"populate_existing": True}).all()
    return [Subject(plan, by_id[plan.template], asset, zone, now) for plan, asset, zone in rows]


# -- by calendar ---------------------------------------------------------------------------


def _open_by_calendar(session: Session, it: Subject) -> OpenedOccurrence | None:
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
    session: Session, it: Subject, due_on: date, trigger: str, reading: float | None = None
) -> OpenedOccurrence | None:
    """The occurrence with its order; None if its row exists, or the asset is out of service."""
    if reason := out_of_service(it.asset.in_service, it.asset.retired_on, due_on):
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


def _row(it: Subject, due_on: date, trigger: str, reading: float | None = None) -> Occurrence:
    return Occurrence(
        plan_id=it.plan_id,
        due_on=due_on,
        late_on=due_on + timedelta(days=it.template.late_days),
        trigger=trigger,
        meter_value=reading,
        opened_at=it.now,
    )


def _end_at_once(
    session: Session, it: Subject, due_on: date, trigger: str, state: str, reason: str
) -> None:
    row = _row(it, due_on, trigger)
    row.state, row.reason, row.ended_at = state, reason, it.now
    insert_new(session, row)


def _supersede(session: Session, it: Subject, newer: Occurrence) -> int | None:
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


def _order_for(session: Session, it: Subject, occurrence: Occurrence) -> int:
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


def _open_by_meter(session: Session, it: Subject, readings: Readings) -> OpenedOccurrence | None:
    """Opens an occurrence today if a meter has run far enough and none is open already."""
    meter = it.template.meter
    if meter is None:
        return None
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
    session: Session, it: Subject, point: str, old: float | None, reading: float
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
