"""The core store for tests: migrated, on both databases."""

from collections.abc import Generator

import pytest
from sqlalchemy import Engine

from pms_iot.kernel import migrations
from pms_iot.kernel.db import open_engine


@pytest.fixture
def core(core_url: str) -> Generator[Engine]:
    """An empty core store at the newest revision; the test runs on SQLite and on PostgreSQL."""
    engine = open_engine(core_url)
    migrations.upgrade(engine)
    yield engine
    engine.dispose()
