"""From alerts to corrective work orders: one live order per fault, closed by telemetry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlmodel import Session, col, select

from pms_iot.kernel.db import insert_new
from pms_iot.kernel.text import Text
from pms_iot.workorders import order as life
from pms_iot.workorders.journal import SYSTEM, make_move, note_event, order_for_change
from pms_iot.workorders.order import Status
from pms_iot.workorders.tables import OrderAlert, WorkOrder

FaultVerdict = Literal["opened", "folded", "escalated", "reopened"]


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """Which order an alert belongs to, and what it did to that order."""

    order_id: int
    verdict: FaultVerdict


@dataclass(frozen=True, slots=True)
class Verification:
    """An order that telemetry has closed, or sent back because the fault is still there."""

    order_id: int
    asset_id: int
    verdict: Literal["closed", "reopened"]


FIRST_OUT = timedelta(minutes=10)  # alerts this close together are signs of one fault


def fault_origin(asset_code: str, *, safety: bool, link: bool) -> str:
    """What makes two alerts the same piece of work: the asset, and whether safety or data is lost."""
    kind = "link" if link else "safety" if safety else "fault"
    return f"{kind}:{asset_code}"


def raise_fault(
    session: Session,
    *,
    alert_id: int,
    asset_id: int,
    asset_code: str,
    rule_id: str,
    label: Text,
    severity: str,
    safety: bool,
    link: bool,
    skill: str,
    at: datetime,
    series: int | None = None,
) -> FaultOutcome:
    """Opens the one live order of this fault, or adds the alert to the one that is live.

    `opened`: a new order. `folded`: the live order now lists this alert too. `escalated`: so it
    does, and the alert is more severe, which raises the priority and may bring the due time
    forward. `reopened`: the order was done and the fault is back. The same alert raised again is
    `folded` and changes nothing. series: what the alert's rule looked at.
    """
    seen = session.exec(select(OrderAlert).where(OrderAlert.alert_id == alert_id)).one_or_none()
    if seen is not None:
        return FaultOutcome(seen.work_order_id, "folded")
    fresh = WorkOrder(
        origin=fault_origin(asset_code, safety=safety, link=link),
        kind="corrective",
        asset_id=asset_id,
        title_zh=label.zh,
        title_en=label.en,
        priority=severity,
        status=Status.NEW,
        skill=skill,
        opened_at=at,
        arrive_by=life.arrive_by(severity, at),
        due_at=life.due_at(severity, at),
    )
    joined = None if link else _joined(session, asset_code, safety=safety, at=at)
    order, is_new = (joined, False) if joined else _live_order(session, fresh)
    verdict = _opened(session, order, at) if is_new else _fold(session, order, severity, at)
    assert order.id is not None
    link_row = OrderAlert(
        work_order_id=order.id, alert_id=alert_id, rule=rule_id, series=series, fired_at=at
    )
    session.add(link_row)
    note_event(session, order, "alert", SYSTEM, at, detail={"alert": alert_id, "rule": rule_id})
    session.flush()
    return FaultOutcome(order.id, verdict)


def _joined(session: Session, asset_code: str, *, safety: bool, at: datetime) -> WorkOrder | None:
    """The live order of the asset that the alert joins, be it of safety or not.

    An order of safety takes in whatever else goes wrong. A safety alert turns an ordinary order
    into one of safety only while that is fresh and nobody works on it: it must not disappear in an
    order that waits for parts.
    """
    by_safety = fault_origin(asset_code, safety=True, link=False)
    by_fault = fault_origin(asset_code, safety=False, link=False)
    query = (
        select(WorkOrder)
        .where(col(WorkOrder.origin).in_((by_safety, by_fault)))
        .where(col(WorkOrder.status).not_in(life.ENDED))
        .order_by(col(WorkOrder.origin).desc())  # safety before fault
        .with_for_update()
    )
    order = session.exec(query, execution_options={"populate_existing": True}).first()
    if order is None or order.origin == by_safety or not safety:
        return order
    if abs(at - order.opened_at) > FIRST_OUT or order.status not in (Status.NEW, Status.ASSIGNED):
        return None
    order.origin = by_safety
    return order


def _live_order(session: Session, fresh: WorkOrder) -> tuple[WorkOrder, bool]:
    """The live order of this origin, locked; `fresh` becomes it if there is none."""
    live = (
        select(WorkOrder)
        .where(WorkOrder.origin == fresh.origin, col(WorkOrder.status).not_in(life.ENDED))
        .with_for_update()
    )
    while True:  # another process may close the order between the two statements
        order_id = insert_new(session, fresh)
        if order_id is not None:
            return order_for_change(session, order_id), True
        found = session.exec(live, execution_options={"populate_existing": True}).one_or_none()
        if found is not None:
            return found, False


def _opened(session: Session, order: WorkOrder, at: datetime) -> FaultVerdict:
    note_event(session, order, "open", SYSTEM, at, detail={"priority": order.priority})
    return "opened"


def _fold(session: Session, order: WorkOrder, severity: str, at: datetime) -> FaultVerdict:
    escalated = life.more_severe(severity, order.priority)
    if escalated:
        _escalate(session, order, severity, at)
    if order.status == Status.DONE:
        _reopen(session, order, at, reason="fault is back")
        return "reopened"
    return "escalated" if escalated else "folded"


def _escalate(session: Session, order: WorkOrder, severity: str, at: datetime) -> None:
    change = {"from": order.priority, "to": severity}
    arrive_by, due_at = life.arrive_by(severity, at), life.due_at(severity, at)
    order.priority = severity
    order.arrive_by = min(order.arrive_by or arrive_by, arrive_by)
    order.due_at = min(order.due_at or due_at, due_at)
    note_event(session, order, "escalated", SYSTEM, at, detail=change)


def _reopen(session: Session, order: WorkOrder, at: datetime, *, reason: str) -> None:
    """Telemetry doubts the repair, not what people found: the verdict on the alarm stays until they say more."""
    detail = {"reason": reason, "outcome": order.outcome}
    make_move(session, order, "reopen", SYSTEM, at, detail=detail)
    order.outcome, order.finished_at = None, None
    order.reopened += 1


def telemetry_recovered(session: Session, *, alert_id: int, at: datetime) -> int | None:
    """Notes that an alert's condition has gone; returns its order, None if it has none.

    Call it for every alert that resolves: `verify` closes an order only when all have recovered.
    """
    link = session.exec(select(OrderAlert).where(OrderAlert.alert_id == alert_id)).one_or_none()
    if link is None:
        return None
    if link.recovered_at is None:
        link.recovered_at = at
        session.add(link)
        order = order_for_change(session, link.work_order_id)
        detail = {"alert": alert_id, "rule": link.rule}
        note_event(session, order, "recovered", SYSTEM, at, detail=detail)
        session.flush()
    return link.work_order_id


def awaits_verdict(session: Session, at: datetime, verify_after_s: float) -> bool:
    """Whether `verify` would judge any order now; only reads."""
    settled = at - timedelta(seconds=verify_after_s)
    done = (
        select(WorkOrder.id, OrderAlert.id, OrderAlert.recovered_at)
        .join(OrderAlert, col(OrderAlert.work_order_id) == col(WorkOrder.id), isouter=True)
        .where(
            WorkOrder.status == Status.DONE,
            WorkOrder.kind == "corrective",
            col(WorkOrder.finished_at) <= settled,
        )
    )
    firing, unsettled, all_done = set[int | None](), set[int | None](), set[int | None]()
    for order_id, alert_id, recovered_at in session.exec(done):
        all_done.add(order_id)
        if alert_id is not None and recovered_at is None:
            firing.add(order_id)
        elif recovered_at is not None and recovered_at > settled:
            unsettled.add(order_id)
    return bool(firing or all_done - unsettled)


def verify(session: Session, at: datetime, verify_after_s: float) -> list[Verification]:
    """Judges the finished corrective orders by telemetry, `verify_after_s` after their finish.

    Closed when none of the order's alerts is firing and none was in the last `verify_after_s`;
    sent back to `in_progress` when one is firing still. Until then an order stays done.
    """
    settled = at - timedelta(seconds=verify_after_s)
    done = (
        select(WorkOrder)
        .where(
            WorkOrder.status == Status.DONE,
            WorkOrder.kind == "corrective",
            col(WorkOrder.finished_at) <= settled,
        )
        .order_by(col(WorkOrder.id))
        .with_for_update(skip_locked=True)
    )
    found = session.exec(done, execution_options={"populate_existing": True}).all()
    judged = [_judge(session, order, at, settled) for order in found]
    session.flush()
    return [verdict for verdict in judged if verdict is not None]


def _judge(
    session: Session, order: WorkOrder, at: datetime, settled: datetime
) -> Verification | None:
    assert order.id is not None
    recovered = _recovery_times(session, order.id)
    if None in recovered:
        _reopen(session, order, at, reason="fault is still there")
        return Verification(order.id, order.asset_id, "reopened")
    if any(moment > settled for moment in recovered if moment is not None):
        return None
    make_move(session, order, "close", SYSTEM, at, detail={"verified_by": "telemetry"})
    order.closed_at = at
    return Verification(order.id, order.asset_id, "closed")


def _recovery_times(session: Session, order_id: int) -> Sequence[datetime | None]:
    query = select(OrderAlert.recovered_at).where(OrderAlert.work_order_id == order_id)
    return session.exec(query).all()
