"""What arrived and could not be used, kept where people can see it: bad messages and unknown points."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.tables import QuarantinedMessage, UnknownPoint

KEPT_MESSAGES = 1000
KEPT_BYTES = 64 * 1024  # of one payload; enough to see what is wrong with it


def quarantine(
    session: Session, topic: str, payload: bytes, error: BadPayloadError, at: datetime
) -> None:
    """Keeps a bad message with its reason, and of all of them the newest 1,000."""
    row = QuarantinedMessage(
        received_at=at,
        topic=topic,
        reason=error.reason,
        detail=f"{error.detail} ({len(payload)} bytes)",
        payload=payload[:KEPT_BYTES],
    )
    session.add(row)
    session.flush()
    assert row.id is not None
    session.exec(
        delete(QuarantinedMessage).where(col(QuarantinedMessage.id) <= row.id - KEPT_MESSAGES)
    )


def quarantined(session: Session, limit: int = 100) -> Sequence[QuarantinedMessage]:
    """The newest bad messages, newest first."""
    return session.exec(
        select(QuarantinedMessage).order_by(col(QuarantinedMessage.id).desc()).limit(limit)
    ).all()


def quarantined_ever(session: Session) -> int:
    """How many messages were bad so far. Ids count up and the newest row always stays."""
    return session.exec(select(func.max(QuarantinedMessage.id))).one() or 0


def record_unknown(
    session: Session, site: str, unknown: Sequence[Unresolved], at: datetime
) -> None:
    """Adds up the fields of a message that the register does not know."""
    if not unknown:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    rows = [
        {
            "site": site,
            "asset": field.asset,
            "field": field.field,
            "count": field.count,
            "last_value": field.last_value,
            "first_seen_at": at,
            "last_seen_at": at,
        }
        for field in unknown
    ]
    new = insert(UnknownPoint).values(rows)
    session.exec(
        new.on_conflict_do_update(
            index_elements=["site", "asset", "field"],
            set_={
                "count": col(UnknownPoint.count) + new.excluded.count,
                "last_value": new.excluded.last_value,
                "last_seen_at": new.excluded.last_seen_at,
            },
        )
    )


def unknown_points(session: Session, limit: int = 1000) -> Sequence[UnknownPoint]:
    """Fields that arrive but are not in the register, the most recent first."""
    return session.exec(
        select(UnknownPoint).order_by(col(UnknownPoint.last_seen_at).desc()).limit(limit)
    ).all()
