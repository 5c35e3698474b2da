"""The watch over the disk on a small file system of its own: people are told once for each entry."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pms_iot.kernel.clock import ManualClock
from pms_iot.kernel.db import open_engine
from pms_iot.kernel.migrations import upgrade
from pms_iot.operations.disk import DiskTick
from tests.chaos.disk import disk_in

MB = 10**6
RESERVE = 4 * MB


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with disk_in(tmp_path / "small", megabytes=16) as disk:
        if not disk.mounted:
            pytest.skip("a file system of its own cannot be mounted here")
        yield disk.folder


@pytest.fixture
def engine(core_url: str) -> Iterator[Engine]:
    engine = open_engine(core_url)
    upgrade(engine)
    yield engine
    engine.dispose()


def tick_of(folder: Path, engine: Engine) -> DiskTick:
    clock = ManualClock(datetime(2026, 11, 23, tzinfo=UTC))
    return DiskTick(folder, RESERVE, engine, ["webhook", "email"], clock)


def told(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        query = "select event, key from outbox_message where channel = 'email' order by id"
        return [(event, key.split(":")[2]) for event, key in connection.execute(text(query))]


def fill(folder: Path, leave: int) -> None:
    (folder / "ballast").write_bytes(bytes(16 * 2**20 - leave))


def test_a_disk_that_fills_up_stops_samples_and_is_told_once(small: Path, engine: Engine):
    tick = tick_of(small, engine)
    tick(0.0)
    assert not tick.watch.is_full() and told(engine) == []
    fill(small, 6 * MB)
    tick(10.0)
    tick(20.0)
    assert not tick.watch.is_full() and told(engine) == [("disk.low", "low")]
    fill(small, 3 * MB)
    tick(30.0)
    tick(40.0)
    assert tick.watch.is_full() and told(engine) == [("disk.low", "low"), ("disk.low", "full")]
    (small / "ballast").unlink()
    tick(50.0)
    assert not tick.watch.is_full() and len(told(engine)) == 2


def test_a_restart_neither_forgets_nor_repeats(small: Path, engine: Engine):
    fill(small, 3 * MB)
    tick_of(small, engine)(0.0)
    again = tick_of(small, engine)
    assert again.watch.is_full(), "before the first look"
    again(0.0)
    assert told(engine) == [("disk.low", "full")]


def test_what_the_core_store_could_not_take_is_told_later(small: Path, tmp_path: Path):
    core = open_engine(f"sqlite:///{tmp_path / 'core.db'}")
    upgrade(core)
    tick = tick_of(small, core)
    fill(small, 3 * MB)
    with core.begin() as connection:
        connection.execute(text("alter table outbox_message rename to away"))
    with pytest.raises(Exception, match="outbox_message"):
        tick(0.0)
    assert tick.watch.is_full()
    with core.begin() as connection:
        connection.execute(text("alter table away rename to outbox_message"))
    tick(10.0)
    assert told(core) == [("disk.low", "full")]
    core.dispose()
