"""What people and the engine do with work orders. Each call is part of the caller's transaction.

A call that raises has changed nothing. Every change grows the order's `version` and leaves a row in
its history with who did it. Pass the `version` that was shown to a person to have a change refused
(StaleVersionError) if somebody else was faster.

A preventive order closes when it is finished or cancelled; the maintenance plan behind it follows
(`maintenance.service.tick` asks `endings`), so callers need not know which kind an order is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from pms_iot.kernel.db import insert_new
from pms_iot.kernel.errors import IllegalMoveError, NotFoundError
from pms_iot.kernel.text import Text
from pms_iot.workorders import verdicts
from pms_iot.workorders.evidence import (
    EvidenceRefusedError,
    PhotoRefusedError,
    add_note,
    add_photo,
    check_item,
    undecided,
    without_photo,
    without_reading,
)
from pms_iot.workorders.faults import (
    FaultOutcome,
    Verification,
    awaits_verdict,
    raise_fault,
    telemetry_recovered,
    verify,
)
from pms_iot.workorders.journal import (
    SYSTEM,
    StaleVersionError,
    make_move,
    note_event,
    order_for_change,
)
from pms_iot.workorders.order import ENDED, OUTCOMES, Status, move
from pms_iot.workorders.tables import ChecklistItem, Technician, WorkOrder, WorkOrderEvent

__all__ = [
    "ChecklistEntry",
    "Ending",
    "EvidenceRefusedError",
    "FaultOutcome",
    "PhotoRefusedError",
    "StaleVersionError",
    "Verification",
    "add_note",
    "add_photo",
    "assign",
    "awaits_verdict",
    "cancel",
    "carry",
    "check_item",
    "close",
    "correct",
    "endings",
    "finish",
    "open_preventive",
    "raise_fault",
    "reopen",
    "resume",
    "start",
    "take",
    "telemetry_recovered",
    "verify",
    "wait",
]


@dataclass(frozen=True, slots=True)
class ChecklistEntry:
    """One line that a new order asks for; evidence is none | photo | reading."""

    code: str
    text: Text
    evidence: str = "none"


@dataclass(frozen=True, slots=True)
class Ending:
    """How and by whom an order was ended; status is closed or cancelled."""

    order_id: int
    status: Status
    at: datetime
    actor: str
    note: str


def open_preventive(
    session: Session,
    *,
    origin: str,
    asset_id: int,
    title: Text,
    priority: str,
    skill: str,
    people: int,
    statutory: bool,
    due_at: datetime,
    checklist: Sequence[ChecklistEntry],
    at: datetime,
) -> int:
    """Opens a maintenance order with its checklist; returns the live one if the origin has one."""
    fresh = WorkOrder(
        origin=origin,
        kind="preventive",
        asset_id=asset_id,
        title_zh=title.zh,
        title_en=title.en,
        priority=priority,
        status=Status.NEW,
        skill=skill,
        people=people,
        statutory=statutory,
        opened_at=at,
        due_at=due_at,
    )
    order_id = insert_new(session, fresh)
    if order_id is None:
        return (
            session.exec(
                select(WorkOrder.id).where(
                    WorkOrder.origin == origin, col(WorkOrder.status).not_in(ENDED)
                )
            ).one()
            or 0
        )
    for position, line in enumerate(checklist):
        session.add(_item(order_id, position, line))
    order = order_for_change(session, order_id)
    note_event(session, order, "open", SYSTEM, at, detail={"priority": priority})
    session.flush()
    return order_id


def _item(order_id: int, position: int, line: ChecklistEntry) -> ChecklistItem:
    return ChecklistItem(
        work_order_id=order_id,
        position=position,
        code=line.code,
        text_zh=line.text.zh,
        text_en=line.text.en,
        evidence=line.evidence,
    )


def assign(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    technician_id: int,
    version: int | None = None,
) -> WorkOrder:
    """Gives the order to a technician, also one that is in work (a hand-over)."""
    order = order_for_change(session, order_id, version)
    _require_technician(session, technician_id)
    make_move(session, order, "assign", actor, at, detail={"technician": technician_id})
    order.technician_id = technician_id
    return _kept(session, order)


def take(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    technician_id: int,
    version: int | None = None,
) -> WorkOrder:
    """A technician takes an order that nobody has. IllegalMoveError if somebody was faster."""
    order = order_for_change(session, order_id, version)
    _require_technician(session, technician_id)
    make_move(session, order, "take", actor, at, detail={"technician": technician_id})
    order.technician_id = technician_id
    return _kept(session, order)


def _require_technician(session: Session, technician_id: int) -> None:
    technician = session.get(Technician, technician_id)
    if technician is None or not technician.active:
        raise NotFoundError("technician", technician_id)


def start(
    session: Session, order_id: int, actor: str, at: datetime, *, version: int | None = None
) -> WorkOrder:
    """Work begins; the first start is the arrival."""
    order = order_for_change(session, order_id, version)
    make_move(session, order, "start", actor, at)
    order.started_at = order.started_at or at
    return _kept(session, order)


def wait(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    reason: Literal["parts", "access"],
    note: str = "",
    version: int | None = None,
) -> WorkOrder:
    """Work stops until parts are there, or until somebody lets the technician in."""
    order = order_for_change(session, order_id, version)
    verb = "wait_parts" if reason == "parts" else "wait_access"
    make_move(session, order, verb, actor, at, note=note)
    return _kept(session, order)


def resume(
    session: Session, order_id: int, actor: str, at: datetime, *, version: int | None = None
) -> WorkOrder:
    """Work goes on after a wait."""
    order = order_for_change(session, order_id, version)
    make_move(session, order, "resume", actor, at)
    return _kept(session, order)


def finish(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    outcome: str,
    note: str = "",
    version: int | None = None,
) -> WorkOrder:
    """The work is done. A corrective order then waits for telemetry; a preventive one closes.

    Raises EvidenceRefusedError: `outcome_missing` (see order.OUTCOMES for each kind),
    `items_undecided`, `readings_missing` or `photos_missing` with the codes of the checklist lines.
    """
    order = order_for_change(session, order_id, version)
    move(order.status, "finish")  # says so first if the order is not in work
    if outcome not in OUTCOMES[order.kind]:
        raise EvidenceRefusedError(order_id, "outcome_missing")
    _require_evidence(session, order_id)
    make_move(session, order, "finish", actor, at, note=note, detail={"outcome": outcome})
    order.outcome, order.finished_at = outcome, at
    if order.kind == "corrective":
        verdicts.judge(session, order_id, outcome, actor, at)
    if order.kind == "preventive":
        make_move(session, order, "close", actor, at, note=note)
        order.closed_at = at
    return _kept(session, order)


def _require_evidence(session: Session, order_id: int) -> None:
    if codes := undecided(session, order_id):
        raise EvidenceRefusedError(order_id, "items_undecided", codes)
    if codes := without_reading(session, order_id):
        raise EvidenceRefusedError(order_id, "readings_missing", codes)
    if codes := without_photo(session, order_id):
        raise EvidenceRefusedError(order_id, "photos_missing", codes)


def close(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    note: str,
    version: int | None = None,
) -> WorkOrder:
    """A manager accepts a finished order without waiting for telemetry, and says why."""
    order = order_for_change(session, order_id, version)
    _require_words(order_id, note)
    make_move(session, order, "close", actor, at, note=note)
    order.closed_at = at
    return _kept(session, order)


def reopen(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    note: str,
    version: int | None = None,
) -> WorkOrder:
    """A manager sends a finished order back, and says why."""
    order = order_for_change(session, order_id, version)
    _require_words(order_id, note)
    make_move(session, order, "reopen", actor, at, note=note, detail={"outcome": order.outcome})
    order.outcome, order.finished_at = None, None
    order.reopened += 1
    verdicts.withdraw(session, order_id, actor, at)
    return _kept(session, order)


def correct(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    outcome: str,
    note: str,
    version: int | None = None,
) -> WorkOrder:
    """A manager corrects the outcome of a repair that is done or closed, and says why.

    Raises IllegalMoveError for any other order, EvidenceRefusedError `outcome_missing` or `reason_missing`.
    """
    order = order_for_change(session, order_id, version)
    if order.kind != "corrective" or order.status not in (Status.DONE, Status.CLOSED):
        raise IllegalMoveError("work order", order.status, "correct")
    if outcome not in OUTCOMES[order.kind]:
        raise EvidenceRefusedError(order_id, "outcome_missing")
    _require_words(order_id, note)
    detail = {"from": order.outcome, "to": outcome}
    note_event(session, order, "corrected", actor, at, note=note, detail=detail)
    order.outcome = outcome
    verdicts.judge(session, order_id, outcome, actor, at)
    return _kept(session, order)


def cancel(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    reason: str,
    version: int | None = None,
) -> WorkOrder:
    """Ends an order without work, with a reason. A cancelled maintenance counts as skipped, not as done."""
    order = order_for_change(session, order_id, version)
    _require_words(order_id, reason)
    make_move(session, order, "cancel", actor, at, note=reason)
    order.closed_at = at
    return _kept(session, order)


def _require_words(order_id: int, words: str) -> None:
    if not words.strip():
        raise EvidenceRefusedError(order_id, "reason_missing")


def _kept(session: Session, order: WorkOrder) -> WorkOrder:
    session.add(order)
    session.flush()
    return order


def carry(session: Session, order_id: int, at: datetime, *, due_on: str) -> None:
    """Notes that an order which is still open now also stands for a later due date."""
    order = order_for_change(session, order_id)
    note_event(session, order, "carried", SYSTEM, at, detail={"due_on": due_on})
    session.flush()


def endings(session: Session, order_ids: Sequence[int] | SelectOfScalar[Any]) -> list[Ending]:
    """Those of the orders that have ended, with who ended them; ids, or a query for them."""
    query = (
        select(WorkOrder, WorkOrderEvent)
        .join(WorkOrderEvent, col(WorkOrderEvent.work_order_id) == col(WorkOrder.id))
        .where(
            col(WorkOrder.id).in_(order_ids),
            col(WorkOrder.status).in_(ENDED),
            col(WorkOrderEvent.kind).in_(("close", "cancel")),
        )
        .order_by(col(WorkOrder.id))
    )
    return [
        Ending(order.id or 0, Status(order.status), event.at, event.actor, event.note)
        for order, event in session.exec(query)
    ]
