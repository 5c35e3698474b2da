"""What only the embedded store promises: damaged files, pruning, other processes."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore

T0 = 1_700_000_000_000_000_000


def filled(path: Path, n: int = 5000) -> None:
    store = EmbeddedStore(path, synchronous="NORMAL")
    store.write(Batch.of(np.arange(n) % 5, T0 + np.arange(n), np.arange(n)))
    store.close()


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def scrawl_over_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xee" * 8192)


def replace(path: Path) -> None:
    path.write_bytes(b"this is not a database, it is a text of some length\n" * 200)


@pytest.mark.parametrize("damage", [cut, scrawl_over_the_middle, replace])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path, counters = tmp_path / "samples.db", Counters()
    filled(path)
    assert callable(damage)
    damage(path)
    before = path.read_bytes()
    store = EmbeddedStore(path, counters)
    store.write(Batch.of([1], [T0], [42.0]))
    assert store.latest([1]).value.tolist() == [42.0]
    store.close()
    assert (tmp_path / "samples.db.damaged-1").read_bytes() == before
    assert counters["store_files_set_aside"] == 1
    assert "samples.db" in "".join(capsys.readouterr())


def test_damage_while_open_is_met_at_the_next_write(tmp_path: Path) -> None:
    path, counters = tmp_path / "samples.db", Counters()
    filled(path)
    store = EmbeddedStore(path, counters)
    assert len(store.read(1, 0, 2**62)) == 1000
    replace(path)
    for i in range(3):
        store.write(Batch.of([1], [T0 + 10**9 + i], [float(i)]))
    assert store.latest([1]).value.tolist() == [2.0]
    store.close()
    assert counters["store_files_set_aside"] == 1


def test_a_whole_file_is_not_set_aside(tmp_path: Path) -> None:
    path, counters = tmp_path / "samples.db", Counters()
    filled(path)
    store = EmbeddedStore(path, counters)
    assert len(store.read_many(range(5), 0, 2**62)) == 5000
    store.close()
    assert counters["store_files_set_aside"] == 0


def test_samples_of_a_killed_process_are_there(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from pms_iot.telemetry.batch import Batch\n"
        "from pms_iot.telemetry.embedded import EmbeddedStore\n"
        "store = EmbeddedStore(Path(sys.argv[1]))\n"
        "for i in range(20): store.write(Batch.of([1], [1000 + i], [i]))\n"
        "os._exit(9)"
    )
    path = tmp_path / "samples.db"
    subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=False)
    store, counters = EmbeddedStore(path, counters := Counters()), counters
    assert store.read(1, 0, 2**62).value.tolist() == list(range(20))
    store.close()
    assert counters["store_files_set_aside"] == 0


def test_another_process_may_read_meanwhile(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "samples.db")
    other = EmbeddedStore(tmp_path / "samples.db")
    store.write(Batch.of([1], [T0], [1.5]))
    assert other.latest([1]).value.tolist() == [1.5]
    other.write(Batch.of([1], [T0 + 1], [2.5]))
    assert store.latest([1]).value.tolist() == [2.5]
    store.close()
    other.close()


@pytest.mark.parametrize(("series", "left"), [(None, 2500), ([0, 3], 4000), ([], 5000)])
def test_pruning_deletes_what_is_older(tmp_path: Path, series: list[int] | None, left: int) -> None:
    path = tmp_path / "samples.db"
    filled(path)
    store = EmbeddedStore(path)
    assert store.prune(T0 + 2500, series) == 5000 - left
    assert len(store.read_many(range(5), 0, 2**62)) == left
    assert len(store.read_many(range(5), T0 + 2500, 2**62)) == 2500
    store.close()


def test_missing_values_are_null_in_the_file(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "samples.db")
    store.write(Batch.of([1], [T0], [np.nan], [0]))
    store.close()
    with sqlite3.connect(tmp_path / "samples.db") as connection:
        assert connection.execute("SELECT value, quality FROM samples").fetchall() == [(None, 0)]
