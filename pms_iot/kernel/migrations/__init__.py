"""The schema of the core store, step by step. A change of a table comes with a revision here."""

from functools import cache
from pathlib import Path

from sqlalchemy import Engine, inspect, text


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Brings the schema to `revision`; nothing to do is fine. Raises MigrationError for a schema that
    this program does not know."""
    if revision == "head" and _revision(engine) == newest():
        return
    # Alembic brings 20 MB along, which a process that has nothing to do need not carry for ever.
    from pms_iot.kernel.migrations import steps

    steps.upgrade(engine, revision)


@cache
def newest() -> str:
    """The revision that this program brings a schema to."""
    return max(file.name for file in Path(__file__).parent.glob("versions/*.py")).partition("_")[0]


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
