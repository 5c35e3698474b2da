"""What shows that work was done: checklist, notes, photos."""

import hashlib
import io
from datetime import datetime
from typing import Literal

from PIL import Image, ImageOps, UnidentifiedImageError
from sqlmodel import Session, col, select

from pms_iot.kernel.errors import NotFoundError, PmsError
from pms_iot.workorders.journal import note_event, order_for_change
from pms_iot.workorders.order import Status
from pms_iot.workorders.tables import ChecklistItem, Photo, WorkOrder

MAX_PHOTO_BYTES = 15 * 1024 * 1024
MAX_PHOTO_SIDE = 1600
MAX_PHOTO_PIXELS = 100_000_000  # a small file can unpack to gigabytes
ItemResult = Literal["open", "pass", "fail", "not_applicable"]
OPEN_FOR_EVIDENCE = frozenset(
    {Status.ASSIGNED, Status.IN_PROGRESS, Status.WAITING_PARTS, Status.WAITING_ACCESS}
)


class PhotoRefusedError(PmsError):
    """The upload is not a picture that can be kept; `reason` is too_large | not_an_image | too_many_pixels."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"photo refused: {reason}")
        self.reason = reason


class EvidenceRefusedError(PmsError):
    """Something is missing or comes at the wrong time; `reason` is a constant, `codes` the checklist lines."""

    def __init__(self, order_id: int, reason: str, codes: tuple[str, ...] = ()) -> None:
        super().__init__(f"work order {order_id}: {reason} {', '.join(codes)}".rstrip())
        self.order_id = order_id
        self.reason = reason
        self.codes = codes


def check_item(
    session: Session,
    item_id: int,
    actor: str,
    at: datetime,
    *,
    result: ItemResult,
    reading: str = "",
    version: int | None = None,
) -> ChecklistItem:
    """Decides one line of a checklist, or opens it again (`open`).

    A reading may come later than the result; finishing asks for it. Raises EvidenceRefusedError:
    `not_in_work` for an order that nobody has taken or that is finished.
    """
    item = _item(session, item_id)
    order = _order_in_work(session, item.work_order_id, version)
    decided = result != "open"
    item.result, item.reading = result, reading.strip()
    item.done_at, item.done_by = (at, actor) if decided else (None, None)
    session.add(item)
    detail = {"item": item.code, "result": result, "reading": item.reading}
    note_event(session, order, "check", actor, at, detail=detail)
    session.flush()
    return item


def _item(session: Session, item_id: int) -> ChecklistItem:
    item = session.get(ChecklistItem, item_id)
    if item is None:
        raise NotFoundError("checklist item", item_id)
    return item


def _order_in_work(session: Session, order_id: int, version: int | None) -> WorkOrder:
    order = order_for_change(session, order_id, version)
    if order.status not in OPEN_FOR_EVIDENCE:
        raise EvidenceRefusedError(order_id, "not_in_work")
    return order


def add_note(session: Session, order_id: int, actor: str, at: datetime, *, note: str) -> None:
    """Adds words to the history, in any state. Raises EvidenceRefusedError if there are none."""
    if not note.strip():
        raise EvidenceRefusedError(order_id, "note_missing")
    order = order_for_change(session, order_id)
    note_event(session, order, "note", actor, at, note=note.strip())
    session.flush()


def add_photo(
    session: Session,
    order_id: int,
    actor: str,
    at: datetime,
    *,
    content: bytes,
    item_id: int | None = None,
) -> Photo:
    """Keeps a picture as evidence of the order or of one of its checklist lines.

    It is stored as JPEG of at most 1600 pixels a side, upright, without the camera's metadata
    (place, time, device). The same picture sent again for the same line is kept once. Raises
    PhotoRefusedError, EvidenceRefusedError (`not_in_work`), NotFoundError for a line of another order.
    """
    order = _order_in_work(session, order_id, None)
    if item_id is not None and _item(session, item_id).work_order_id != order_id:
        raise NotFoundError("checklist item", item_id)
    jpeg = clean_photo(content)
    digest = hashlib.sha256(jpeg).hexdigest()
    same = select(Photo).where(
        Photo.work_order_id == order_id, Photo.item_id == item_id, Photo.sha256 == digest
    )
    known = session.exec(same).first()
    if known is not None:
        return known
    photo = Photo(
        work_order_id=order_id,
        item_id=item_id,
        taken_by=actor,
        added_at=at,
        media_type="image/jpeg",
        sha256=digest,
        content=jpeg,
    )
    session.add(photo)
    session.flush()
    note_event(session, order, "photo", actor, at, detail={"photo": photo.id, "item": item_id})
    session.flush()
    return photo


def clean_photo(content: bytes) -> bytes:
    """The picture as plain JPEG, at most 1600 pixels a side. Raises PhotoRefusedError."""
    if len(content) > MAX_PHOTO_BYTES:
        raise PhotoRefusedError("too_large")
    try:
        with Image.open(io.BytesIO(content)) as probe:
            if probe.width * probe.height > MAX_PHOTO_PIXELS:
                raise PhotoRefusedError("too_many_pixels")
            probe.verify()
        with Image.open(io.BytesIO(content)) as image:  # verify() leaves the first one unusable
            image.draft("RGB", (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise PhotoRefusedError("too_many_pixels") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        raise PhotoRefusedError("not_an_image") from problem
    upright.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE))
    bare = Image.frombytes("RGB", upright.size, upright.tobytes())  # no metadata comes along
    kept = io.BytesIO()
    bare.save(kept, "JPEG", quality=85)
    return kept.getvalue()


def undecided(session: Session, order_id: int) -> tuple[str, ...]:
    """Codes of the lines that nobody has decided yet."""
    query = select(ChecklistItem.code).where(
        ChecklistItem.work_order_id == order_id, ChecklistItem.result == "open"
    )
    return tuple(session.exec(query.order_by(col(ChecklistItem.position))))


def without_reading(session: Session, order_id: int) -> tuple[str, ...]:
    """Codes of the lines that need a reading and have none, those that do not apply left out."""
    query = select(ChecklistItem.code).where(
        ChecklistItem.work_order_id == order_id,
        ChecklistItem.evidence == "reading",
        ChecklistItem.result != "not_applicable",
        ChecklistItem.reading == "",
    )
    return tuple(session.exec(query.order_by(col(ChecklistItem.position))))


def without_photo(session: Session, order_id: int) -> tuple[str, ...]:
    """Codes of the lines that need a photo and have none, those that do not apply left out."""
    pictured = select(Photo.item_id).where(
        Photo.work_order_id == order_id, col(Photo.item_id).is_not(None)
    )
    query = select(ChecklistItem.code).where(
        ChecklistItem.work_order_id == order_id,
        ChecklistItem.evidence == "photo",
        ChecklistItem.result != "not_applicable",
        col(ChecklistItem.id).not_in(pictured),
    )
    return tuple(session.exec(query.order_by(col(ChecklistItem.position))))
