"""What technicians do: their list, and the steps of an order. Plain forms; htmx only saves the reload."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response, UploadFile
from sqlmodel import Session, col, select
from starlette.concurrency import run_in_threadpool

from pms_iot.kernel.db import transaction
from pms_iot.web.orders_view import OrderRow, order_rows, technician_of
from pms_iot.web.render import page
from pms_iot.web.routes.orders import change, own
from pms_iot.web.visit import ForbiddenError, Visit, Working
from pms_iot.workorders import service
from pms_iot.workorders.evidence import ItemResult
from pms_iot.workorders.tables import ChecklistItem, WorkOrder, WorkOrderEvent

router = APIRouter()
MINE = ("assigned", "in_progress", "waiting_parts", "waiting_access", "done")
RESULTS: tuple[ItemResult, ...] = ("open", "pass", "fail", "not_applicable")


@router.get("/m")
def my_work(visit: Working) -> Response:
    """Own orders, then free ones that need a skill the technician has."""
    with transaction(visit.deps.engine) as session:
        me = technician_of(session, visit)
        mine: list[OrderRow] = []
        free: list[OrderRow] = []
        if me is not None:
            own_orders = col(WorkOrder.technician_id) == me.id
            mine = order_rows(session, own_orders, col(WorkOrder.status).in_(MINE))
            free = order_rows(
                session, WorkOrder.status == "new", col(WorkOrder.skill).in_(["", *me.skills])
            )
    return page(
        visit,
        "technician.html",
        me=me,
        mine=mine,
        free=free,
        zone=next((row.site.timezone for row in [*mine, *free]), None),
    )


@router.post("/wo/{order_id}/take")
def take(visit: Working, order_id: int) -> Response:
    def act(session: Session) -> object:
        me = technician_of(session, visit)
        if me is None or me.id is None:
            raise ForbiddenError
        return service.take(session, order_id, visit.who, visit.now, technician_id=me.id)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/start")
def start(visit: Working, order_id: int) -> Response:
    def act(session: Session) -> object:
        own(session, visit, order_id)
        return service.start(session, order_id, visit.who, visit.now)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/wait")
def wait(
    visit: Working,
    order_id: int,
    reason: Annotated[Literal["parts", "access"], Form()],
    note: Annotated[str, Form()] = "",
) -> Response:
    def act(session: Session) -> object:
        own(session, visit, order_id)
        if not note.strip():
            raise service.EvidenceRefusedError(order_id, "reason_missing")
        return service.wait(session, order_id, visit.who, visit.now, reason=reason, note=note)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/resume")
def resume(visit: Working, order_id: int) -> Response:
    def act(session: Session) -> object:
        own(session, visit, order_id)
        return service.resume(session, order_id, visit.who, visit.now)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/finish")
def finish(
    visit: Working,
    order_id: int,
    outcome: Annotated[str, Form()] = "",
    note: Annotated[str, Form()] = "",
) -> Response:
    def act(session: Session) -> object:
        own(session, visit, order_id)
        return service.finish(session, order_id, visit.who, visit.now, outcome=outcome, note=note)

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/note")
def note(
    visit: Working,
    order_id: int,
    note: Annotated[str, Form()] = "",
    seen: Annotated[int, Form()] = 0,
) -> Response:
    """`seen` is the newest step of the order when the form was shown: the same words by the same
    person after it are the same form sent twice."""

    def act(session: Session) -> object:
        if _is_repeat(session, visit, order_id, note.strip(), seen):
            return None
        return service.add_note(session, order_id, visit.who, visit.now, note=note)

    return change(visit, order_id, act)


def _is_repeat(session: Session, visit: Visit, order_id: int, note: str, seen: int) -> bool:
    # The order's lock first: a double click sends both requests at once.
    session.exec(select(WorkOrder).where(WorkOrder.id == order_id).with_for_update()).first()
    query = select(WorkOrderEvent.id).where(
        WorkOrderEvent.work_order_id == order_id,
        WorkOrderEvent.kind == "note",
        WorkOrderEvent.actor == visit.who,
        WorkOrderEvent.note == note,
        col(WorkOrderEvent.id) > seen,
    )
    return seen > 0 and session.exec(query).first() is not None


@router.post("/wo/{order_id}/photo")
def photo(
    visit: Working,
    order_id: int,
    photo: UploadFile,
    item_id: Annotated[int | None, Form()] = None,
) -> Response:
    """The same picture sent twice is kept once."""
    content = photo.file.read()

    def act(session: Session) -> object:
        own(session, visit, order_id)
        return service.add_photo(
            session, order_id, visit.who, visit.now, content=content, item_id=item_id
        )

    return change(visit, order_id, act)


@router.post("/wo/{order_id}/checklist")
async def checklist(visit: Working, request: Request, order_id: int) -> Response:
    """Fields `result-<item>`, `reading-<item>` and `was-<item>`, the state that the form showed.

    Only lines that differ from what was shown are written, so that two people can tick the same
    list; a form sent twice writes nothing the second time.
    """
    form = {name: str(value) for name, value in (await request.form()).items()}
    return await run_in_threadpool(_tick, visit, order_id, form)


def _tick(visit: Visit, order_id: int, form: Mapping[str, str]) -> Response:
    def act(session: Session) -> None:
        own(session, visit, order_id)
        items = select(ChecklistItem).where(ChecklistItem.work_order_id == order_id)
        for item in session.exec(items.order_by(col(ChecklistItem.position))).all():
            _tick_one(session, visit, item, form)

    return change(visit, order_id, act)


def _tick_one(session: Session, visit: Visit, item: ChecklistItem, form: Mapping[str, str]) -> None:
    reading = form.get(f"reading-{item.id}", "").strip()
    result: ItemResult | None = next(
        (known for known in RESULTS if known == form.get(f"result-{item.id}")), None
    )
    wanted = f"{result}|{reading}"
    is_known = wanted in (form.get(f"was-{item.id}"), f"{item.result}|{item.reading}")
    if result is None or is_known or item.id is None:
        return
    service.check_item(session, item.id, visit.who, visit.now, result=result, reading=reading)
