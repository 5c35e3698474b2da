"""The embedded store with 26 million samples: 100 series, every 10 s, 30 days, two decimals, stamped to the ns.

Beside it a SQLite table with a row for each sample, key (series, at), with three of these days.
"""

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from benchmarks import Row
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.blocks import WINDOW_NS

S = 10**9
DAY = 86_400 * S
T0 = 1_700_000_000 * S // WINDOW_NS * WINDOW_NS
SERIES, DAYS, PEER_DAYS = 100, 30, 3
WHO, PEER = "EmbeddedStore", "SQLite, a row a sample"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        return [*_ours(Path(name) / "samples.db"), *_plain(Path(name) / "rows.db")]


def _days(count: int) -> Iterator[Batch]:
    rng = np.random.default_rng(1)
    level, n = np.full(SERIES, 50.0), 8640
    numbers = np.tile(np.arange(SERIES, dtype=np.int32), n)
    for day in range(count):
        at = (T0 + day * DAY + np.arange(n) * 10 * S)[:, None] + rng.integers(
            0, 3_000_000, (n, SERIES)
        )
        value = np.round(level + np.cumsum(rng.normal(0, 0.3, (n, SERIES)), 0), 2)
        level = value[-1]
        yield Batch.of(numbers, at.ravel(), value.ravel())


def _pieces(count: int) -> Iterator[Batch]:
    for day in _days(count):
        for start in range(0, len(day), 50_000):
            yield day.take(np.arange(start, min(start + 50_000, len(day))))


def _ours(path: Path) -> list[Row]:
    store = EmbeddedStore(path, now_ns=lambda: T0 + (DAYS + 1) * DAY, housekeeping=False)
    written_s, total = _writing(store.write, DAYS)
    began = time.process_time()
    store.keeper.compact()
    store.keeper.finish()
    packed_s = time.process_time() - began
    store.close()
    rows = [
        Row("write, 50,000 at a time", WHO, total / written_s, "samples/CPU s"),
        Row("pack and roll up", WHO, total / packed_s, "samples/CPU s"),
        Row(
            "30 days on disk, roll-ups included",
            WHO,
            1000 * path.stat().st_size / total,
            "B per 1,000 samples",
        ),
    ]
    store = EmbeddedStore(path, now_ns=lambda: T0 + (DAYS + 1) * DAY)
    end = T0 + DAYS * DAY
    with _Ingest(store, end) as ingest:
        rows += _reading(store, end, DAYS, "while 10,000 samples/s come")
    for what, ms in (("p50", median(ingest.took)), ("p99", quantiles(ingest.took, n=100)[98])):
        rows.append(Row(f"write of 1,000 meanwhile, {what}", WHO, 1e6 * ms, "µs"))
    store.close()
    return rows


def _writing(write: Callable[[Batch], None], days: int) -> tuple[float, int]:
    """CPU seconds, without making the samples, and how many there were."""
    spent, total = 0.0, 0
    for piece in _pieces(days):
        began = time.process_time()
        write(piece)
        spent += time.process_time() - began
        total += len(piece)
    return spent, total


def _reading(store: EmbeddedStore, end: int, days: int, when: str) -> list[Row]:
    asked: dict[str, Callable[[int], object]] = {
        "last 24 h of a series": lambda i: store.read(i, end - DAY, end),
        f"{days} days in 500 buckets": lambda i: store.downsample(i, end - days * DAY, end, 500),
        f"{days} days of samples": lambda i: store.read(i, end - days * DAY, end),
    }
    return [Row(f"{what}, {when}", WHO, _median_us(call), "µs") for what, call in asked.items()]


def _median_us(call: Callable[[int], object]) -> float:
    took: list[float] = []
    for series in range(SERIES):
        began = time.perf_counter()
        call(series)
        took.append(time.perf_counter() - began)
    return 1e6 * median(took)


class _Ingest:
    """10,000 samples a second, in a thread."""

    def __init__(self, store: EmbeddedStore, start_ns: int) -> None:
        self._store, self._start_ns = store, start_ns
        self._stop = threading.Event()
        self.took: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Ingest":
        self._thread.start()
        self._stop.wait(3)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        rng, number, began = np.random.default_rng(2), 0, time.monotonic()
        numbers = np.tile(np.arange(SERIES, dtype=np.int32), 10)
        while not self._stop.wait(max(0.0, began + number / 10 - time.monotonic())):
            at = self._start_ns + (number * 10 + np.repeat(np.arange(10), SERIES)) * S
            batch = Batch.of(numbers, at, rng.normal(50, 1, len(at)).round(2))
            start = time.perf_counter()
            self._store.write(batch)
            self.took.append(time.perf_counter() - start)
            number += 1


def _plain(path: Path) -> list[Row]:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(
        "CREATE TABLE samples (series INTEGER, at INTEGER, value REAL, quality INTEGER,"
        " PRIMARY KEY (series, at)) WITHOUT ROWID"
    )

    def write(batch: Batch) -> None:
        order = np.lexsort((batch.at, batch.series))
        columns = (batch.series, batch.at, batch.value, batch.quality)
        rows = zip(*(column[order].tolist() for column in columns), strict=True)
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", rows)
        db.execute("COMMIT")

    def last_day(series: int) -> object:
        end = T0 + PEER_DAYS * DAY
        query = "SELECT at, value, quality FROM samples WHERE series = ? AND at >= ? AND at < ?"
        return db.execute(query, (series, end - DAY, end)).fetchall()

    def buckets(series: int) -> object:
        query = (
            "SELECT at / ?, min(value), max(value), avg(value), count(value) FROM samples"
            " WHERE series = ? AND at >= ? GROUP BY 1"
        )
        return db.execute(query, (PEER_DAYS * DAY // 500, series, T0)).fetchall()

    spent, total = _writing(write, PEER_DAYS)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = [
        Row("write, 50,000 at a time", PEER, total / spent, "samples/CPU s"),
        Row(
            f"{PEER_DAYS} days on disk",
            PEER,
            1000 * path.stat().st_size / total,
            "B per 1,000 samples",
        ),
        Row("last 24 h of a series, idle", PEER, _median_us(last_day), "µs"),
        Row(f"{PEER_DAYS} days in 500 buckets, idle", PEER, _median_us(buckets), "µs"),
    ]
    db.close()
    return rows
