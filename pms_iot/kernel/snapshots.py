"""Snapshots of in-memory state, kept in the core store beside what they produced.

A large state is kept in pieces that are named by their content: what has not changed is not written
again, and no transaction is longer than a few pieces. A row that lists the pieces takes their place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from sqlalchemy import Engine, delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, col, select

from pms_iot.kernel.db import Table, UtcDateTime, reading, transaction

PIECE = 256 * 1024  # bytes
AT_ONCE = 4  # pieces that one transaction writes
_LIST = b"pieces\n"  # what the row of a state in pieces begins with; no other state does
_MARK = "#"  # between the name of a state and the digest of its piece
_FORM = "2"  # of the bytes that `kernel.arrays` makes; those of another form are not restored
T = TypeVar("T")


class StateSnapshot(Table, table=True):
    """The last saved state of one stateful part (`alerts`, `detectors`, …), or a piece of one."""

    name: str = Field(primary_key=True)
    config_hash: str  # a snapshot of other rules or another version is not restored
    at: datetime = Field(sa_type=UtcDateTime)
    state: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What a stateful part looks like, and under which configuration."""

    config_hash: str
    content: bytes


def save_snapshot(
    session: Session, name: str, config_hash: str, at: datetime, state: bytes
) -> None:
    """Replaces the small snapshot `name` in this transaction."""
    _put(session, [_row(name, config_hash, at, state)])


def load_snapshot(session: Session, name: str, config_hash: str) -> bytes | None:
    """The snapshot `name`, or None if there is none for this configuration."""
    row = session.get(StateSnapshot, name)
    if row is None or row.config_hash != _formed(config_hash):
        return None
    return _joined(session, row.state) if row.state.startswith(_LIST) else row.state


def save_snapshots(engine: Engine, at: datetime, states: Mapping[str, State]) -> None:
    """Replaces these snapshots, all of them in one step: a crash leaves the ones before.

    Other processes may save the same names at the same time; the last one is kept whole.
    """
    pieces: dict[str, dict[str, Any]] = {}
    heads: dict[str, dict[str, Any]] = {}
    for name, state in states.items():
        if len(state.content) <= PIECE:
            heads[name] = _row(name, state.config_hash, at, state.content)
            continue
        cut = list(_cut(name, state, at))
        pieces |= {piece["name"]: piece for piece in cut}
        names = _LIST + "\n".join(piece["name"] for piece in cut).encode()
        heads[name] = _row(name, state.config_hash, at, names)
    with reading(engine) as session:
        known = _names(session)
        if all(_is_saved(session, row) for row in heads.values()) and known >= pieces.keys():
            return
    for group in _groups([piece for name, piece in pieces.items() if name not in known]):
        with transaction(engine) as session:
            _put(session, group)
    with transaction(engine) as session:
        _put(session, [heads[name] for name in sorted(heads)])  # locked from here on
        known = _names(session)  # another process may have cleaned up
        _put(session, [piece for name, piece in pieces.items() if name not in known])
    stale = {name for name in known if name.partition(_MARK)[0] in states and _MARK in name}
    for group in _groups(sorted(stale - pieces.keys())):
        with transaction(engine) as session:
            _drop(session, set(group) - _listed(session, sorted(heads)))


def _cut(name: str, state: State, at: datetime) -> Iterator[dict[str, Any]]:
    content = memoryview(state.content)  # cut, not copied
    for start in range(0, len(content), PIECE):
        piece = content[start : start + PIECE]
        digest = blake2b(piece, digest_size=16).hexdigest()
        yield _row(f"{name}{_MARK}{digest}", state.config_hash, at, piece)


def _row(name: str, config_hash: str, at: datetime, state: bytes | memoryview) -> dict[str, Any]:
    return {"name": name, "config_hash": _formed(config_hash), "at": at, "state": state}


def _formed(config_hash: str) -> str:
    return f"{config_hash}/{_FORM}"


def _joined(session: Session, names: bytes) -> bytes | None:
    """None if a piece is missing, which only hands other than ours can bring about."""
    wanted = _pieces_of(names)
    query = select(StateSnapshot.name, StateSnapshot.state).where(
        col(StateSnapshot.name).in_(set(wanted))
    )
    found = dict(session.exec(query).all())
    return b"".join(found[name] for name in wanted) if found.keys() >= set(wanted) else None


def _names(session: Session) -> set[str]:
    return set(session.exec(select(StateSnapshot.name)))


def _listed(session: Session, heads: Sequence[str]) -> set[str]:
    """The pieces that the states at hand consist of, which stay so until the transaction ends."""
    query = select(StateSnapshot).where(col(StateSnapshot.name).in_(heads))
    rows = session.exec(query.order_by(col(StateSnapshot.name)).with_for_update())
    lists = [row.state for row in rows if row.state.startswith(_LIST)]
    return {name for names in lists for name in _pieces_of(names)}


def _drop(session: Session, names: set[str]) -> None:
    session.connection().execute(delete(StateSnapshot).where(col(StateSnapshot.name).in_(names)))


def _pieces_of(names: bytes) -> list[str]:
    return names.removeprefix(_LIST).decode().split()


def _is_saved(session: Session, row: Mapping[str, Any]) -> bool:
    query = select(StateSnapshot.config_hash, StateSnapshot.state)
    found = session.exec(query.where(StateSnapshot.name == row["name"])).first()
    return found is not None and tuple(found) == (row["config_hash"], row["state"])


def _groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def _put(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts or replaces."""
    if not rows:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(StateSnapshot)
    given = {name: insert.excluded[name] for name in ("config_hash", "at", "state")}
    statement = insert.on_conflict_do_update(index_elements=["name"], set_=given)
    session.connection().execute(statement, list(rows))
