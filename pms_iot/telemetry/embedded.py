"""The embedded time series: one SQLite file, WAL, key (series, at). Several processes may read it."""

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import structlog

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.store import Buckets, bucket_width

_log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    series INTEGER NOT NULL, at INTEGER NOT NULL, value REAL, quality INTEGER NOT NULL,
    PRIMARY KEY (series, at)
) WITHOUT ROWID
"""
_READ = "SELECT series, at, value, quality FROM samples WHERE series = ? AND at >= ? AND at < ? ORDER BY at"
_READ_MANY = """
SELECT series, at, value, quality FROM samples
WHERE series IN (SELECT value FROM json_each(?)) AND at >= ? AND at < ? ORDER BY at, series
"""
_DOWNSAMPLE = """
SELECT (at - :start) / :width AS bucket, min(value), max(value), avg(value), count(value)
FROM samples WHERE series = :series AND at >= :start AND at < :end AND value IS NOT NULL
GROUP BY bucket ORDER BY bucket
"""
_LATEST = """
SELECT series, at, value, quality
FROM (SELECT DISTINCT value AS asked FROM json_each(?))
JOIN samples ON series = asked AND at = (SELECT max(at) FROM samples WHERE series = asked)
ORDER BY series
"""
_NEXT_SERIES = "SELECT min(series) FROM samples WHERE series > ?"
_CHECKED_BYTES = 64 * 2**20  # a full check of more would hold up the start by seconds


class EmbeddedStore:
    """SampleStore in one file. A file that is damaged is set aside, and a new one begun.

    `synchronous`: FULL survives a power cut, NORMAL only the end of the process, at a little less time
    per write. The counters `store_files_set_aside` and `store_samples_written` are kept here.
    """

    def __init__(
        self,
        path: Path,
        counters: Counters | None = None,
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        self._path = path
        self._counters = counters or Counters()
        self._synchronous = synchronous
        self._write_lock = threading.Lock()
        self._local = threading.local()
        self._readers_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._generation = 0  # grows when a new file is begun; older readers are then dropped
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._open_checked()

    def write(self, batch: Batch) -> None:
        if not len(batch):
            return
        with self._write_lock, self._named():
            try:
                self._insert(batch)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._writer.close()
                self._set_aside(str(error))
                self._writer = self._open_checked()
                self._insert(batch)
        self._counters.add("store_samples_written", len(batch))

    def _insert(self, batch: Batch) -> None:
        order = np.lexsort((batch.at, batch.series))  # stable: of equal keys the last written wins
        finite = np.where(np.isfinite(batch.value), batch.value, np.nan)
        columns = (batch.series, batch.at, finite, batch.quality)
        rows = zip(*(column[order].tolist() for column in columns), strict=True)
        with self._writer:  # commits, or rolls back
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", rows)

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        return self._batch(_READ, (series, start_ns, end_ns))

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        return self._batch(_READ_MANY, (orjson.dumps(list(series)).decode(), start_ns, end_ns))

    def latest(self, series: Sequence[int]) -> Batch:
        return self._batch(_LATEST, (orjson.dumps(list(series)).decode(),))

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        width = bucket_width(start_ns, end_ns, buckets)
        window = {"series": series, "start": start_ns, "end": end_ns, "width": width}
        with self._named():
            rows = self._reader().execute(_DOWNSAMPLE, window).fetchall()
        bucket, low, high, mean, count = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return Buckets(
            start_ns + np.array(bucket, np.int64) * width,
            np.array(low, np.float64),
            np.array(high, np.float64),
            np.array(mean, np.float64),
            np.array(count, np.int64),
        )

    def prune(self, before_ns: int, series: Sequence[int] | None = None) -> int:
        """Deletes samples older than `before_ns`, of these series or of all; returns how many.

        One transaction per series, so that writers wait for one series at most. The file keeps its size;
        the space is used again.
        """
        deleted = 0
        for number in self._all_series() if series is None else series:
            with self._write_lock, self._named(), self._writer:
                deleted += self._writer.execute(
                    "DELETE FROM samples WHERE series = ? AND at < ?", (number, before_ns)
                ).rowcount
        return deleted

    def close(self) -> None:
        with self._write_lock, self._readers_lock:
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    def _all_series(self) -> list[int]:
        found: list[int] = []
        with self._named():
            while (
                row := self._reader()
                .execute(_NEXT_SERIES, (found[-1] if found else -1,))
                .fetchone()
            )[0] is not None:
                found.append(row[0])
        return found

    def _batch(self, query: str, parameters: tuple[int | str, ...]) -> Batch:
        with self._named():
            rows = self._reader().execute(query, parameters).fetchall()
        if not rows:
            return Batch.empty()
        series, at, value, quality = zip(*rows, strict=True)
        return Batch.of(series, at, np.array(value, np.float64), quality)  # None becomes NaN

    def _reader(self) -> sqlite3.Connection:
        """The connection of this thread: readers never wait for each other nor for the writer."""
        if getattr(self._local, "generation", None) != self._generation:
            self._local.connection = self._connect()
            self._local.generation = self._generation
            with self._readers_lock:
                self._readers.append(self._local.connection)
        return self._local.connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    @contextmanager
    def _named(self) -> Generator[None]:
        """Errors of SQLite become ours, naming the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self._path}: {error}") from error

    def _open_checked(self) -> sqlite3.Connection:
        with self._named():
            try:
                return self._opened()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(str(error))
                return self._opened()

    def _opened(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            connection.execute(_SCHEMA)
            _check_complete(connection, self._path)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _set_aside(self, problem: str) -> None:
        """Renames the damaged file and its journals; nothing is deleted."""
        taken = len(list(self._path.parent.glob(f"{self._path.name}.damaged-*")))
        kept = self._path.with_name(f"{self._path.name}.damaged-{taken + 1}")
        for suffix in ("-wal", "-shm", ""):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        self._generation += 1
        self._counters.add("store_files_set_aside")
        _log.error("store file damaged", file=str(self._path), kept_as=str(kept), problem=problem)


def _check_complete(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite notices a cut file only when it meets a missing page; we look at once."""
    _, waiting, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    pages, page_size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    size = path.stat().st_size
    if waiting == done and size < pages * page_size:  # else the rest is still in the journal
        raise _damaged(f"file is cut: {size} of {pages * page_size} bytes")
    if path.stat().st_size > _CHECKED_BYTES:
        return
    if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _damaged(found)


def _is_damage(error: sqlite3.Error) -> bool:
    """Errors of the module itself, such as use after close, have no code."""
    return getattr(error, "sqlite_errorcode", None) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def _damaged(problem: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(problem)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
