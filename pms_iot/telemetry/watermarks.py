"""Which batches of a gateway are committed: nothing twice, nothing out of order, gaps counted.

Per (site, gateway, lane, epoch) one number: everything up to and including it is committed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlmodel import Session, col, select

from pms_iot.telemetry.tables import Watermark
from pms_iot.telemetry.wire import Header

Verdict = Literal["accept", "duplicate", "ahead"]


def judge(session: Session, site: str, lane: str, header: Header) -> Verdict:
    """What to do with a batch. Changes nothing.

    accept: the next one, or the lowest that the gateway still has (it had to evict those before).
    duplicate: committed before; acknowledge it again. ahead: one is missing before it, which the gateway
    sends again; ignore it.
    """
    committed = _committed(session, site, lane, header)
    if header.seq <= committed:
        return "duplicate"
    next_one = header.first == committed + 1
    return "accept" if next_one or header.first == header.base > committed else "ahead"


def fresh(session: Session, site: str, lane: str, headers: Sequence[Header | None]) -> list[bool]:
    """Of batches in the order in which they came, those that neither the record nor the list has before."""
    newest: dict[str, int] = {}
    found: list[bool] = []
    for header in headers:
        if header is None:
            found.append(True)
            continue
        last = newest.get(header.epoch) or _committed(session, site, lane, header)
        found.append(header.seq > last)
        newest[header.epoch] = max(header.seq, last)
    return found


def advance(
    session: Session, site: str, lane: str, header: Header, at: datetime, *, lost: bool = False
) -> int:
    """Records an accepted batch as committed; call in the transaction that commits what follows from it.

    `lost`: it stands only for batches that the gateway evicted, the last of which had its number.
    Returns how many batches are lost for good, nearly always 0.
    """
    row = _row(session, site, lane, header, at)
    skipped = header.first - row.seq - (0 if lost else 1)
    row.seq = header.seq
    row.batches += header.batches
    row.samples += header.n
    row.skipped += skipped
    row.updated_at = at
    return skipped


def count_duplicate(session: Session, site: str, lane: str, header: Header, at: datetime) -> int:
    """Counts a batch that had come before; returns the watermark, to be acknowledged again."""
    row = _row(session, site, lane, header, at)
    row.duplicates += 1
    return row.seq


def of_gateway(session: Session, site: str, gateway: str) -> Sequence[Watermark]:
    """All watermarks of a gateway, newest first: what the engine advertises when the gateway is born."""
    chosen = select(Watermark).where(Watermark.site == site, Watermark.gateway == gateway)
    return session.exec(chosen.order_by(col(Watermark.updated_at).desc())).all()


def _key(site: str, lane: str, header: Header) -> tuple[str, str, str, str]:
    return site, header.gateway, lane, header.epoch


def _committed(session: Session, site: str, lane: str, header: Header) -> int:
    row = session.get(Watermark, _key(site, lane, header))
    return 0 if row is None else row.seq


def _row(session: Session, site: str, lane: str, header: Header, at: datetime) -> Watermark:
    row = session.get(Watermark, _key(site, lane, header), with_for_update=True)
    if row is None:
        row = Watermark(
            site=site, gateway=header.gateway, lane=lane, epoch=header.epoch, seq=0, updated_at=at
        )
        session.add(row)
    return row
