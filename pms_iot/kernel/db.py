"""The core store: SQLModel tables on SQLite (default) or PostgreSQL, one transaction at a time.

SQLite needs `BEGIN IMMEDIATE`: with deferred transactions concurrent writers fail with
"database is locked" in spite of any busy timeout.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.orm import declared_attr
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel, create_engine


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; naive UTC in SQLite, `timestamptz` in PostgreSQL. Refuses naive values."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime for the core store")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(SQLModel):
    """Base of all tables; `WorkOrder` is stored as `work_order`."""

    # SQLModel declares the attribute in a way that no override can satisfy.
    @declared_attr.directive
    def __tablename__(cls) -> str:  # noqa: N805  # pyright: ignore[reportIncompatibleVariableOverride]
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def open_engine(url: str) -> Engine:
    """Opens the core store at an SQLAlchemy URL, `sqlite:///file.db` or `postgresql+psycopg://…`."""
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    return create_engine(url, pool_pre_ping=True)


def _open_sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        reads = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def transaction(engine: Engine) -> Generator[Session]:
    """One unit of work: commits at the end, rolls back if anything raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Generator[Session]:
    """For queries only: in SQLite it neither waits for a writer nor holds one up, and sees one moment."""
    with Session(engine.execution_options(reading=True)) as session:
        yield session


def insert_new(session: Session, row: Table) -> int | None:
    """Inserts the row unless a unique key is already taken; returns its id, or None if one was.

    The database decides, in one statement, so two processes cannot both insert. `row` itself stays
    outside the session: read what was stored with `session.get`.
    """
    mapper = inspect(type(row))
    values = {
        column.key: getattr(row, column.key)
        for column in mapper.columns
        if not (column.primary_key and getattr(row, column.key) is None)
    }
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(type(row)).values(values).on_conflict_do_nothing()
    session.flush()  # what the row refers to may still be waiting in the session
    return session.connection().execute(insert.returning(mapper.primary_key[0])).scalar()
