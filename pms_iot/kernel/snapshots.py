"""Snapshots of in-memory state, kept in the core store beside what they produced."""

from datetime import datetime

from sqlmodel import Field, Session

from pms_iot.kernel.db import Table, UtcDateTime


class StateSnapshot(Table, table=True):
    """The last saved state of one stateful part (`alerts`, `detector.seasonal`, …)."""

    name: str = Field(primary_key=True)
    config_hash: str  # a snapshot of other rules or another version is not restored
    at: datetime = Field(sa_type=UtcDateTime)
    state: bytes


def save_snapshot(
    session: Session, name: str, config_hash: str, at: datetime, state: bytes
) -> None:
    """Replaces the snapshot `name` in this transaction."""
    session.merge(StateSnapshot(name=name, config_hash=config_hash, at=at, state=state))


def load_snapshot(session: Session, name: str, config_hash: str) -> bytes | None:
    """The snapshot `name`, or None if there is none for this configuration."""
    row = session.get(StateSnapshot, name)
    return row.state if row is not None and row.config_hash == config_hash else None
