"""The core store for tests: migrated once for all, then copied, on both databases."""

import shutil
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pms_iot.kernel import migrations
from pms_iot.kernel.db import open_engine
from tests.servers import Postgres


def _migrate(url: str) -> None:
    engine = open_engine(url)
    migrations.upgrade(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "core.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: Postgres) -> Generator[str]:
    with postgres.database() as url:
        _migrate(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def core(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Engine]:
    """An empty core store at the newest revision; the test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "core.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        engine = open_engine(f"sqlite:///{path}")
        yield engine
        engine.dispose()
        return
    template: str = request.getfixturevalue("migrated_database")
    cluster: Postgres = request.getfixturevalue("postgres")
    name = f"core_{time.monotonic_ns()}"
    server, _, template_name = template.rpartition("/")
    with cluster.admin() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_name}".encode())
    engine = open_engine(f"{server}/{name}")
    yield engine
    engine.dispose()
    with cluster.admin() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def store_url(core: Engine) -> str:
    """The URL of `core`, for processes of their own."""
    return core.url.render_as_string(hide_password=False)
