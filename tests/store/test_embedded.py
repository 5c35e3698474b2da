"""What only the embedded store promises: damaged files, pruning, other processes."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.blocks import WINDOW_NS
from pms_iot.telemetry.embedded.keeper import LOG_SAMPLES
from tests.store.test_sample_store import same, same_buckets

S = 10**9
T0 = 1_700_000_000_000_000_000 // WINDOW_NS * WINDOW_NS  # a window begins


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


@pytest.mark.parametrize(("series", "left"), [(None, 0), ([0, 3], 3000), ([], 5000)])
def test_pruning_deletes_windows_that_are_older(
    tmp_path: Path, series: list[int] | None, left: int
) -> None:
    path = tmp_path / "samples.db"
    filled(path)
    store = EmbeddedStore(path, housekeeping=False)
    store.keeper.compact()
    assert store.prune(T0, series) == 0  # their window has not ended
    assert store.prune(T0 + WINDOW_NS, series) == 5000 - left
    assert len(store.read_many(range(5), 0, 2**62)) == left
    store.close()


def test_a_file_of_rows_becomes_one_of_blocks(tmp_path: Path) -> None:
    path = tmp_path / "samples.db"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE samples (series INTEGER, at INTEGER, value REAL, quality INTEGER,"
            " PRIMARY KEY (series, at)) WITHOUT ROWID"
        )
        rows = [
            (i % 3, T0 + i * S, None if i == 7 else i / 10, 192 if i % 2 else 0) for i in range(90)
        ]
        db.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)
    store = EmbeddedStore(path)
    found = store.read_many([0, 1, 2], 0, 2**62)
    assert found.at.tolist() == [row[1] for row in rows]
    assert [None if np.isnan(v) else v for v in found.value.tolist()] == [row[2] for row in rows]
    assert found.quality.tolist() == [row[3] for row in rows]
    store.close()
    with sqlite3.connect(path) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'samples'").fetchone()


def test_space_is_returned(tmp_path: Path) -> None:
    path = tmp_path / "samples.db"
    store = EmbeddedStore(path, synchronous="NORMAL", housekeeping=False)
    noise = np.random.default_rng(1)
    for start in range(0, 8_000_000, 400_000):  # 68 MB that do not compress
        at = T0 + (start + np.arange(400_000)) * 10**6
        store.write(Batch.of(np.full(400_000, 1), at, noise.normal(size=400_000)))
    store.keeper.compact()
    before = store.stats()["bytes"]
    assert store.prune(T0 + 2 * WINDOW_NS) == 8_000_000
    store.close()  # the journal is written back
    assert path.stat().st_size < before / 1.5


def test_packed_it_takes_a_few_bytes_a_sample(tmp_path: Path) -> None:
    """100 points every 10 s for a day, two decimals, stamped to the ns as gateways do."""
    path = tmp_path / "samples.db"
    store = EmbeddedStore(path, now_ns=lambda: T0 + 10 * WINDOW_NS, housekeeping=False)
    rng = np.random.default_rng(1)
    n = 8640
    for number in range(100):
        at = T0 + np.arange(n) * 10 * S + rng.integers(0, 3_000_000, n)
        value = np.round(50 + np.cumsum(rng.normal(0, 0.3, n)), 2)
        store.write(Batch.of(np.full(n, number), at, value))
    store.keeper.compact()
    store.keeper.finish()
    store.close()
    with sqlite3.connect(path) as db:
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    assert (pages - free) * size / (100 * n) < 7


def test_a_long_log_is_moved_before_windows_are_finished(tmp_path: Path) -> None:
    """Otherwise the log grows for as long as finishing takes."""
    path = tmp_path / "samples.db"
    store = EmbeddedStore(path, now_ns=lambda: T0 + 10 * WINDOW_NS, housekeeping=False)
    store.write(Batch.of(np.arange(60), np.full(60, T0), np.zeros(60)))
    store.keeper.compact()
    n = LOG_SAMPLES // 2 + 1
    store.write(Batch.of(np.full(n, 1), T0 + 10 * WINDOW_NS + np.arange(n), np.zeros(n)))
    assert (store.keeper.finish(), store.keeper.has_finished) == (0, False)
    store.keeper.compact()
    assert (store.keeper.finish(), store.keeper.has_finished) == (60, True)
    store.close()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_housekeeping_between_any_writes_changes_no_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A dictionary is the model; the clock passes windows, so late samples come for finished ones."""
    path, now = tmp_path_factory.mktemp("store") / "samples.db", [T0]
    store = EmbeddedStore(path, synchronous="NORMAL", now_ns=lambda: now[0], housekeeping=False)
    other = EmbeddedStore(path, synchronous="NORMAL", housekeeping=False)  # as another process
    held: dict[tuple[int, int], tuple[float, int]] = {}
    for _ in range(data.draw(st.integers(1, 12), "steps")):
        match data.draw(st.sampled_from(["write", "write", "write", "compact", "finish", "time"])):
            case "write":
                rows = data.draw(st.lists(_SAMPLES, min_size=1, max_size=30))
                series, minutes, value, quality = zip(*rows, strict=True)
                at = T0 + np.array(minutes, np.int64) * 60 * S
                data.draw(st.sampled_from([store, other])).write(
                    Batch.of(series, at, value, quality)
                )
                held |= {
                    (s, t): (v, q)
                    for s, t, v, q in zip(series, at.tolist(), value, quality, strict=True)
                }
            case "compact":
                store.keeper.compact()
            case "finish":
                store.keeper.finish()
            case _:
                now[0] += WINDOW_NS
    keys = sorted(held, key=lambda key: (key[1], key[0]))
    expected = Batch.of(
        [s for s, _ in keys],
        [t for _, t in keys],
        [held[k][0] for k in keys],
        [held[k][1] for k in keys],
    )
    for one in (store, other):
        same(one.read_many([1, 2], 0, 2**62), expected)
        newest = [expected.take(expected.series == s).take(slice(-1, None)) for s in (1, 2)]
        same(one.latest([2, 1]), Batch.concat(newest))
        start = T0 + data.draw(st.integers(-400, 800), "start") * 60 * S
        end = start + data.draw(st.integers(1, 3000), "length") * 60 * S
        buckets = data.draw(st.integers(1, 40), "buckets")
        for number in (1, 2):
            got = one.downsample(number, start, end, buckets)
            same_buckets(got, expected.take(expected.series == number), start, end, buckets)
    store.close()
    other.close()


_SAMPLES = st.tuples(
    st.sampled_from([1, 2]),
    st.integers(-400, 1600),
    st.one_of(st.just(np.nan), st.integers(-500, 500).map(lambda n: n / 10), st.floats(-1e6, 1e6)),
    st.sampled_from([192, 64, 0]),
)


@pytest.mark.parametrize("method", ["insert", "apply", "rolled_up"])
def test_cut_off_housekeeping_loses_and_doubles_nothing(tmp_path: Path, method: str) -> None:
    """`kill -9` as the keeper is about to write, in a process of its own."""
    script = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from pms_iot.telemetry.batch import Batch\n"
        "from pms_iot.telemetry.embedded import EmbeddedStore, blocks\n"
        "store = EmbeddedStore(Path(sys.argv[1]), housekeeping=False)\n"
        "for i in range(40):\n"
        "    store.write(Batch.of(np.arange(3000) % 1500, np.full(3000, 1000 + i), np.full(3000, i)))\n"
        "    if i < 39: store.keeper.compact()\n"
        "times = []\n"
        "done = getattr(blocks, sys.argv[2])\n"
        "def die(*a, **k):\n"
        "    times.append(1)\n"
        "    if len(times) == 2: os._exit(9)\n"
        "    return done(*a, **k)\n"
        "setattr(blocks, sys.argv[2], die)\n"
        "store.keeper.compact(); store.keeper.finish()"
    )
    path = tmp_path / "samples.db"
    command = [sys.executable, "-c", script, str(path), method]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    store = EmbeddedStore(path, housekeeping=False)
    for _ in range(2):
        for number in (0, 700, 1499):
            assert store.read(number, 0, 2**62).value.tolist() == list(range(40))
            assert store.downsample(number, 0, 3600 * S, 1).count.tolist() == [40]
        store.keeper.compact()
        store.keeper.finish()
    store.close()
