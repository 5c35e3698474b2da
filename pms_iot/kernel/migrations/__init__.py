"""The schema of the core store, step by step. A change of a table comes with a revision here."""

from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

ONE_AT_A_TIME = 7_664_001  # advisory lock: engines that start together upgrade one after another


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Brings the schema to `revision` in one transaction; nothing to do is fine."""
    with engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # Batch mode rebuilds tables, which foreign keys would forbid. Only outside a transaction.
            _driver(connection).execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not sqlite:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})"))
                command.upgrade(_config(connection), revision)
        finally:
            if sqlite:
                _driver(connection).execute("PRAGMA foreign_keys=ON")


@cache
def newest() -> str | None:
    """The revision that this program brings a schema to."""
    return ScriptDirectory(_location()).get_current_head()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", _location().replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _location() -> str:
    return str(Path(__file__).parent)
