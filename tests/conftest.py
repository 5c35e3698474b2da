"""Fixtures that every test may use: real servers, private to the test process."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from pms_iot.settings import InfluxSettings
from tests import servers

pytest.register_assert_rewrite("tests.unit.detection.checks")  # so that a failure shows both sides
# How long an example takes says nothing on a shared machine.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def broker(tmp_path: Path) -> Generator[servers.Server]:
    """A Mosquitto of the test's own, so that no retained message or session of another test is there."""
    with servers.mosquitto(tmp_path / "mosquitto") as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Generator[servers.Postgres]:
    with servers.postgres() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres: servers.Postgres) -> Generator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def core_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLAlchemy URL of an empty core store; the test runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'core.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[servers.Influx]:
    with servers.influx(tmp_path_factory.mktemp("influx")) as server:
        yield server


@pytest.fixture
def influx(influx_server: servers.Influx) -> Generator[InfluxSettings]:
    """Settings that lead to an empty bucket."""
    with influx_server.bucket() as bucket:
        yield influx_server.settings(bucket)
