"""What arrived and could not be used, kept where people can see it: bad messages and unknown points."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.tables import QuarantinedMessage, UnknownPoint

KEPT_MESSAGES = 1000
KEPT_BYTES = 64 * 1024  # of one payload; enough to see what is wrong with it
NAME_LETTERS = 200  # of an unknown asset or field; PostgreSQL indexes no row above 2.7 kB
ROWS_PER_INSERT = 1000  # databases limit the values of one statement


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
    rows = list(_by_short_name(site, unknown, at).values())
    for start in range(0, len(rows), ROWS_PER_INSERT):
        new = insert(UnknownPoint).values(rows[start : start + ROWS_PER_INSERT])
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


def _by_short_name(
    site: str, unknown: Sequence[Unresolved], at: datetime
) -> dict[tuple[str, str], dict[str, Any]]:
    """A row for each name; those that differ only beyond NAME_LETTERS share one."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for item in unknown:
        asset, field = item.asset[:NAME_LETTERS], item.field[:NAME_LETTERS]
        row = rows.setdefault(
            (asset, field),
            {
                "site": site,
                "asset": asset,
                "field": field,
                "count": 0,
                "first_seen_at": at,
                "last_seen_at": at,
            },
        )
        row["count"] += item.count
        row["last_value"] = item.last_value
    return rows


def unknown_points(session: Session, limit: int = 1000) -> Sequence[UnknownPoint]:
    """Fields that arrive but are not in the register, the most recent first."""
    return session.exec(
        select(UnknownPoint).order_by(col(UnknownPoint.last_seen_at).desc()).limit(limit)
    ).all()
