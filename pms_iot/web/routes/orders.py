"""The board of work orders and the page of one order."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.web.orders_view import (
    REFUSALS,
    OrderRow,
    order_detail,
    order_rows,
    refusal,
    technician_of,
)
from pms_iot.web.render import page
from pms_iot.web.status import is_overdue
from pms_iot.web.visit import ForbiddenError, Looking, Managing, Visit
from pms_iot.web.why import why
from pms_iot.workorders import service
from pms_iot.workorders.order import OUTCOMES
from pms_iot.workorders.tables import Photo, Technician, WorkOrder

router = APIRouter()
COLUMNS = (
    ("new", ("new",)),
    ("assigned", ("assigned",)),
    ("in_progress", ("in_progress",)),
    ("waiting", ("waiting_parts", "waiting_access")),
    ("done", ("done",)),
    ("ended", ("closed", "cancelled")),
)
ENDED_FOR = timedelta(days=7)
View = Literal["board", "list"]


@router.get("/wo")
def board(
    visit: Looking,
    view: View = "board",
    priority: str = "",
    asset: str = "",
    technician: str = "",
    kind: str = "",
    overdue: bool = False,
) -> Response:
    with transaction(visit.deps.engine) as session:
        rows = order_rows(session, *_conditions(visit, priority, asset, technician, kind))
        assets = session.exec(select(Asset.code).order_by(Asset.code)).all()
        people = session.exec(select(Technician).order_by(Technician.name)).all()
    rows = [row for row in rows if not overdue or is_overdue(row.order, visit.now)]
    return page(
        visit,
        "orders.html",
        columns=[(name, _in_state(rows, states)) for name, states in COLUMNS],
        rows=rows,
        view=view,
        priority=priority,
        asset=asset,
        technician=technician,
        kind=kind,
        overdue=overdue,
        assets=assets,
        people=people,
        is_filtered=bool(priority or asset or technician or kind or overdue),
        zone=rows[0].site.timezone if rows else None,
    )


def _conditions(
    visit: Visit, priority: str, asset: str, technician: str, kind: str
) -> list[ColumnElement[bool]]:
    ended = col(WorkOrder.status).in_(("closed", "cancelled"))
    conditions: list[ColumnElement[bool]] = [
        ~ended | (col(WorkOrder.closed_at) > visit.now - ENDED_FOR)
    ]
    if priority:
        conditions.append(col(WorkOrder.priority) == priority)
    if asset:
        conditions.append(col(Asset.code) == asset)
    if technician.isdigit():
        conditions.append(col(WorkOrder.technician_id) == int(technician))
    if kind:
        conditions.append(col(WorkOrder.kind) == kind)
    return conditions


def _in_state(rows: Sequence[OrderRow], states: Sequence[str]) -> list[OrderRow]:
    return [row for row in rows if row.order.status in states]


@router.get("/wo/{order_id}")
def order_page(visit: Looking, order_id: int) -> Response:
    return show_order(visit, order_id)


def show_order(
    visit: Visit, order_id: int, *, status: int = 200, problem: str | None = None
) -> Response:
    """The page of one order; `problem` says what was refused."""
    with transaction(visit.deps.engine) as session:
        detail = order_detail(session, order_id)
        me = technician_of(session, visit)
    order = detail.row.order
    is_mine = me is not None and order.technician_id == me.id
    return page(
        visit,
        "order.html",
        status_code=status,
        problem=problem,
        detail=detail,
        order=order,
        asset=detail.row.asset,
        site=detail.row.site,
        me=me,
        may_work=visit.may("technician") and (is_mine or visit.may("manager")),
        is_late=is_overdue(order, visit.now),
        outcomes=OUTCOMES[order.kind],
        newest_event=max((event.id or 0 for event in detail.events), default=0),
        title_of=visit.reader.title,
        why=partial(why, visit.reader),
        zone=detail.row.site.timezone,
    )


def change(visit: Visit, order_id: int, act: Callable[[Session], object]) -> Response:
    """Runs `act` in one transaction and leads back to the order; a refusal is said on the page."""
    try:
        with transaction(visit.deps.engine) as session:
            act(session)
    except REFUSALS as error:
        with transaction(visit.deps.engine) as session:
            items = order_detail(session, order_id).items
        return show_order(visit, order_id, status=422, problem=refusal(visit, error, items))
    visit.deps.live.changed("orders")
    return RedirectResponse(f"/wo/{order_id}", 303)


def own(session: Session, visit: Visit, order_id: int) -> None:
    """Raises ForbiddenError unless the order is the technician's own; managers may work on all."""
    if visit.may("manager"):
        return
    order, me = session.get(WorkOrder, order_id), technician_of(session, visit)
    if order is None:
        raise NotFoundError("work order", order_id)
    if me is None or order.technician_id != me.id:
        raise ForbiddenError


@router.post("/wo/{order_id}/assign")
def assign(visit: Managing, order_id: int, technician_id: Annotated[int, Form()]) -> Response:
    def act(session: Session) -> object:
        return service.assign(session, order_id, visit.who, visit.now, technician_id=technician_id)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/close")
def close(visit: Managing, order_id: int, note: Annotated[str, Form()] = "") -> Response:
    return change(visit, order_id, lambda session: service.close(session, order_id, visit.who, visit.now, note=note))  # fmt: skip


@router.post("/wo/{order_id}/reopen")
def reopen(visit: Managing, order_id: int, note: Annotated[str, Form()] = "") -> Response:
    return change(visit, order_id, lambda session: service.reopen(session, order_id, visit.who, visit.now, note=note))  # fmt: skip


@router.post("/wo/{order_id}/outcome")
def correct(
    visit: Managing,
    order_id: int,
    outcome: Annotated[str, Form()] = "",
    note: Annotated[str, Form()] = "",
) -> Response:
    return change(visit, order_id, lambda session: service.correct(session, order_id, visit.who, visit.now, outcome=outcome, note=note))  # fmt: skip


@router.post("/wo/{order_id}/cancel")
def cancel(visit: Managing, order_id: int, reason: Annotated[str, Form()] = "") -> Response:
    return change(visit, order_id, lambda session: service.cancel(session, order_id, visit.who, visit.now, reason=reason))  # fmt: skip


@router.get("/photos/{photo_id}")
def photo(visit: Looking, photo_id: int) -> Response:
    with transaction(visit.deps.engine) as session:
        found = session.get(Photo, photo_id)
    if found is None:
        raise NotFoundError("photo", photo_id)
    kept = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(found.content, media_type=found.media_type, headers=kept)
