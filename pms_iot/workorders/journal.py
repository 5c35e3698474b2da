"""Reads a work order for a change, and writes down what was changed."""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session, col, select

from pms_iot.kernel.errors import NotFoundError, PmsError
from pms_iot.workorders.order import Status, Verb, move
from pms_iot.workorders.tables import WorkOrder, WorkOrderEvent

SYSTEM = "system"


class StaleVersionError(PmsError):
    """Somebody else changed the order since the caller read it."""

    def __init__(self, order_id: int, expected: int, actual: int) -> None:
        super().__init__(f"work order {order_id} is at version {actual}, not {expected}")
        self.order_id = order_id
        self.expected = expected
        self.actual = actual


def order_for_change(session: Session, order_id: int, version: int | None = None) -> WorkOrder:
    """The order as it is now, locked until the transaction ends.

    Raises NotFoundError, and StaleVersionError if `version` is given and is not the present one.
    """
    query = select(WorkOrder).where(col(WorkOrder.id) == order_id).with_for_update()
    order = session.exec(query, execution_options={"populate_existing": True}).one_or_none()
    if order is None:
        raise NotFoundError("work order", order_id)
    if version is not None and version != order.version:
        raise StaleVersionError(order_id, version, order.version)
    return order


def note_event(
    session: Session,
    order: WorkOrder,
    kind: str,
    actor: str,
    at: datetime,
    *,
    note: str = "",
    detail: Mapping[str, object] | None = None,
) -> None:
    """Adds a row to the order's history; the version grows with it."""
    assert order.id is not None
    order.version += 1
    session.add(order)
    event = WorkOrderEvent(
        work_order_id=order.id, at=at, kind=kind, actor=actor, note=note, detail=dict(detail or {})
    )
    session.add(event)


def make_move(
    session: Session,
    order: WorkOrder,
    verb: Verb,
    actor: str,
    at: datetime,
    *,
    note: str = "",
    detail: Mapping[str, object] | None = None,
) -> None:
    """Moves the order and records it. Raises IllegalMoveError and changes nothing if it may not."""
    before = Status(order.status)
    order.status = move(before, verb)
    change = {"from": before.value, "to": order.status, **(detail or {})}
    note_event(session, order, verb, actor, at, note=note, detail=change)
