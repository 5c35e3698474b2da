"""The steps themselves, by alembic."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from pms_iot.kernel.errors import MigrationError

ONE_AT_A_TIME = 7_664_001  # advisory lock: engines that start together upgrade one after another


def upgrade(engine: Engine, revision: str) -> None:
    """Brings the schema to `revision` in one transaction. Raises MigrationError."""
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
        except CommandError as problem:
            raise MigrationError(str(problem)) from problem
        finally:
            if sqlite:
                _driver(connection).execute("PRAGMA foreign_keys=ON")


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _config(connection: Connection) -> Config:
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
