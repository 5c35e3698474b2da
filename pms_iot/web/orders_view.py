"""Work orders as the pages show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.errors import IllegalMoveError, NotFoundError, PmsError
from pms_iot.web.i18n import N_
from pms_iot.web.visit import Visit
from pms_iot.web.words import ORDER_STATUS
from pms_iot.workorders import order as life
from pms_iot.workorders.service import EvidenceRefusedError, PhotoRefusedError, StaleVersionError
from pms_iot.workorders.tables import (
    ChecklistItem,
    OrderAlert,
    Photo,
    Technician,
    WorkOrder,
    WorkOrderEvent,
)

REFUSALS = (IllegalMoveError, EvidenceRefusedError, PhotoRefusedError, StaleVersionError)
_REASONS = {
    "outcome_missing": N_("Choose the outcome."),
    "items_undecided": N_("These checklist items are not decided yet:"),
    "photos_missing": N_("These checklist items need a photo:"),
    "readings_missing": N_("These checklist items need a reading:"),
    "reason_missing": N_("Give a reason."),
    "note_missing": N_("The note is empty."),
    "not_in_work": N_("The order must be taken and not finished for this."),
    "too_large": N_("The photo is larger than 15 MB."),
    "not_an_image": N_("The file is not a picture that can be read."),
    "too_many_pixels": N_("The picture has too many pixels."),
}
_MOVED = N_("This is not possible in state “{state}”. Somebody may have been faster.")
_STALE = N_("Somebody else has changed this order meanwhile. Look again.")


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order with what it is about."""

    order: WorkOrder
    asset: Asset
    site: Site
    technician: Technician | None


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """A photo without its content."""

    id: int
    item_id: int | None
    taken_by: str


@dataclass(frozen=True, slots=True)
class OrderDetail:
    """Everything about one order."""

    row: OrderRow
    items: Sequence[ChecklistItem]
    events: Sequence[WorkOrderEvent]
    photos: Mapping[int | None, Sequence[PhotoInfo]]  # by checklist item; None: of the order
    alerts: Sequence[Alert]
    technicians: Sequence[Technician]
    verbs: Sequence[str]


def order_rows(session: Session, *conditions: ColumnElement[bool] | bool) -> list[OrderRow]:
    """Orders that meet the SQL conditions, the most urgent first."""
    query = (
        select(WorkOrder, Asset, Site, Technician)
        .join(Asset, col(WorkOrder.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .join(Technician, col(WorkOrder.technician_id) == col(Technician.id), isouter=True)
        .where(*conditions)
        .order_by(col(WorkOrder.priority), col(WorkOrder.due_at), col(WorkOrder.id))
    )
    return [OrderRow(*found) for found in session.exec(query)]


def order_detail(session: Session, order_id: int) -> OrderDetail:
    """Raises NotFoundError."""
    rows = order_rows(session, WorkOrder.id == order_id)
    if not rows:
        raise NotFoundError("work order", order_id)
    items = select(ChecklistItem).where(ChecklistItem.work_order_id == order_id)
    events = select(WorkOrderEvent).where(WorkOrderEvent.work_order_id == order_id)
    alerts = select(Alert).join(OrderAlert).where(OrderAlert.work_order_id == order_id)
    people = select(Technician).where(col(Technician.active).is_(True))
    return OrderDetail(
        row=rows[0],
        items=session.exec(items.order_by(col(ChecklistItem.position))).all(),
        events=session.exec(events.order_by(col(WorkOrderEvent.id))).all(),
        photos=_photos(session, order_id),
        alerts=session.exec(alerts.order_by(col(Alert.opened_at))).all(),
        technicians=session.exec(people.order_by(Technician.name)).all(),
        verbs=life.verbs(rows[0].order.status),
    )


def _photos(session: Session, order_id: int) -> dict[int | None, list[PhotoInfo]]:
    query = select(Photo.id, Photo.item_id, Photo.taken_by).where(Photo.work_order_id == order_id)
    grouped: dict[int | None, list[PhotoInfo]] = {}
    for number, item_id, taken_by in session.exec(query.order_by(col(Photo.id))):
        grouped.setdefault(item_id, []).append(PhotoInfo(number or 0, item_id, taken_by))
    return grouped


def technician_of(session: Session, visit: Visit) -> Technician | None:
    """The technician whose account this is."""
    if visit.account is None:
        return None
    query = select(Technician).where(Technician.user_id == visit.account.id)
    return session.exec(query).first()


def refusal(visit: Visit, error: PmsError, items: Sequence[ChecklistItem]) -> str:
    """Why the change was refused, with the checklist lines it is about, in words."""
    if isinstance(error, StaleVersionError):
        return visit.say(_STALE)
    if isinstance(error, IllegalMoveError):
        from_words = ORDER_STATUS.get(error.state, error.state)
        return visit.say(_MOVED, state=visit.say(from_words))
    assert isinstance(error, EvidenceRefusedError | PhotoRefusedError)
    said = visit.say(_REASONS[error.reason])
    codes = error.codes if isinstance(error, EvidenceRefusedError) else ()
    names = [visit.label(item, "text") for item in items if item.code in codes]
    return f"{said} {'；'.join(names) if visit.language == 'zh' else '; '.join(names)}".strip()
