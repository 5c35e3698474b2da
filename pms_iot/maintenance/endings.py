"""How occurrences end: done or skipped, as their work orders do."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.errors import IllegalMoveError, NotFoundError
from pms_iot.maintenance import due
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.plans import newest_occurrence, schedule
from pms_iot.maintenance.tables import MaintenancePlan, Occurrence
from pms_iot.workorders import service as workorders
from pms_iot.workorders.order import Status


def ended_orders(session: Session) -> list[workorders.Ending]:
    """How the orders of open occurrences have ended, if they have; only reads."""
    return workorders.endings(
        session,
        select(Occurrence.work_order_id).where(
            Occurrence.state == "open", col(Occurrence.work_order_id).is_not(None)
        ),
    )


def follow_order(
    session: Session, ending: workorders.Ending, templates: Iterable[PlanTemplate]
) -> None:
    """An occurrence ends as its order ended: done when closed, skipped when cancelled."""
    if ending.status == Status.CLOSED:
        complete(session, ending.order_id, ending.actor, ending.at, templates=templates)
    else:
        _end(session, ending.order_id, "skipped", ending.actor, ending.at, ending.note)


def complete(
    session: Session,
    work_order_id: int,
    actor: str,
    at: datetime,
    *,
    templates: Iterable[PlanTemplate],
) -> Occurrence | None:
    """Ends the occurrence of this order as done, and moves the plan (see due.py for the choice made).

    None if the order belongs to no open occurrence. `tick` calls it for every order that has
    closed; call it yourself only to have the calendar follow at once.
    """
    ended = _end(session, work_order_id, "done", actor, at, "")
    if ended is None:
        return None
    plan, occurrence = ended
    template = next((it for it in templates if it.id == plan.template), None)
    plan.last_done_on = due.today_in(_zone_of(session, plan), at)
    plan.meter_bases = {}  # the next look takes the reading to count from
    if template is not None and template.every is not None and not template.statutory:
        plan.anchor_on = plan.last_done_on
        after = max(plan.anchor_on, newest_occurrence(session, plan) or plan.anchor_on)
        schedule(plan, template, due.next_after(plan.anchor_on, template.every, after))
    session.add(plan)
    session.flush()
    return occurrence


def skip(
    session: Session, occurrence_id: int, actor: str, reason: str, *, at: datetime
) -> Occurrence:
    """Decides that an open occurrence is not done, with a reason; its order is cancelled.

    Raises NotFoundError, IllegalMoveError if the occurrence has ended or its order is in work, and
    EvidenceRefusedError without a reason.
    """
    occurrence = session.get(Occurrence, occurrence_id)
    if occurrence is None:
        raise NotFoundError("occurrence", occurrence_id)
    if occurrence.state != "open" or occurrence.work_order_id is None:
        raise IllegalMoveError("occurrence", occurrence.state, "skip")
    ended = _end(session, occurrence.work_order_id, "skipped", actor, at, reason)
    if ended is None:  # somebody else has just ended it
        raise IllegalMoveError("occurrence", "ended", "skip")
    workorders.cancel(session, occurrence.work_order_id, actor, at, reason=reason)
    return ended[1]


def _end(
    session: Session, work_order_id: int, state: str, actor: str, at: datetime, reason: str
) -> tuple[MaintenancePlan, Occurrence] | None:
    """Ends the open occurrence of the order, if there is one. Locks the plan first, as `tick` does."""
    of_order = select(Occurrence).where(
        Occurrence.work_order_id == work_order_id, Occurrence.state == "open"
    )
    found = session.exec(of_order).one_or_none()
    if found is None:
        return None
    plan = session.get_one(
        MaintenancePlan, found.plan_id, with_for_update=True, populate_existing=True
    )
    fresh = {"populate_existing": True}
    occurrence = session.exec(of_order.with_for_update(), execution_options=fresh).one_or_none()
    if occurrence is None:
        return None
    occurrence.state, occurrence.ended_at = state, at
    occurrence.decided_by, occurrence.reason = actor, reason
    if occurrence.trigger == "meter":
        plan.meter_bases = {}  # else a skipped service would be asked for again tomorrow
    session.add_all([plan, occurrence])
    session.flush()
    return plan, occurrence


def _zone_of(session: Session, plan: MaintenancePlan) -> str:
    query = select(Site.timezone).join(Asset, col(Asset.site_id) == col(Site.id))
    return session.exec(query.where(Asset.id == plan.asset_id)).one()


def overdue(session: Session, today: date) -> Sequence[Occurrence]:
    """Open occurrences whose window is over, the oldest first."""
    query = select(Occurrence).where(Occurrence.state == "open", col(Occurrence.late_on) < today)
    return session.exec(query.order_by(col(Occurrence.due_on))).all()
