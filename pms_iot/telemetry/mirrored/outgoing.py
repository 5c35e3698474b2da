"""What the server does not have yet: batches in one SQLite file, oldest first, up to a number of bytes."""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import zstandard

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded.tail import as_row, from_row

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outgoing (
    id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL NOT NULL, n INTEGER NOT NULL, columns BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (
    id INTEGER PRIMARY KEY, n INTEGER NOT NULL, problem TEXT NOT NULL, columns BLOB NOT NULL
);
"""
_KEPT_REJECTED = 1000  # batches, for who wants to know what a server refuses
_SUMS = "SELECT count(*), coalesce(sum(n), 0), coalesce(sum(length(columns)), 0) FROM outgoing"


class Waiting(NamedTuple):
    """Batches, samples and bytes that wait."""

    batches: int
    samples: int
    bytes: int


class Outgoing:
    """Appended to by the pipeline, emptied by the forwarder. All methods raise StoreUnavailableError."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._claim = path.with_name(path.name + ".forwarder").open("wb")
        self._mine = False
        with self._named():
            self._db = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            for pragma in ("auto_vacuum=2", "journal_mode=WAL", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)
            self._waiting = Waiting(*self._db.execute(_SUMS).fetchone())

    @property
    def waiting(self) -> Waiting:
        return self._waiting

    def oldest_age_s(self) -> float:
        """How long the oldest batch has waited, in real seconds; 0 if none does."""
        with self._lock, self._named():
            since = self._db.execute("SELECT since FROM outgoing ORDER BY id LIMIT 1").fetchone()
        return max(0.0, time.time() - since[0]) if since else 0.0

    @property
    def is_full(self) -> bool:
        return self._waiting.bytes >= self._max_bytes

    def append(self, batch: Batch) -> None:
        """Durable on return. Raises StoreUnavailableError when full: gateways then keep what they have."""
        if self.is_full:
            mb = self._max_bytes // 2**20
            raise StoreUnavailableError(
                f"{self._path}: {mb} MB wait for InfluxDB, no more are taken"
            )
        with self._lock, self._named():
            columns = self._compressor.compress(as_row(batch))
            self._db.execute(
                "INSERT INTO outgoing (since, n, columns) VALUES (?, ?, ?)",
                (time.time(), len(batch), columns),
            )
            batches, samples, size = self._waiting
            self._waiting = Waiting(batches + 1, samples + len(batch), size + len(columns))

    def oldest(self, samples: int) -> list[tuple[int, Batch]]:
        """The oldest batches, about so many samples, by number."""
        found: list[tuple[int, Batch]] = []
        total = 0
        with self._lock, self._named():
            for number, n, columns in self._db.execute(
                "SELECT id, n, columns FROM outgoing ORDER BY id"
            ):
                if found and total + n > samples:
                    break
                found.append((number, from_row(self._decompressor.decompress(columns))))
                total += n
        return found

    def done(self, numbers: Sequence[int]) -> None:
        """The server has these."""
        with self._lock, self._named():
            self._db.executemany("DELETE FROM outgoing WHERE id = ?", [(n,) for n in numbers])
            self._waiting = Waiting(*self._db.execute(_SUMS).fetchone())
            if not self._waiting.batches:
                self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def reject(self, number: int, problem: str) -> None:
        """The server will never take this one: it is set aside with the reason."""
        with self._lock, self._named():
            self._db.execute(
                "INSERT OR REPLACE INTO rejected SELECT id, n, ?, columns FROM outgoing WHERE id = ?",
                (problem, number),
            )
            self._db.execute(
                "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?",
                (_KEPT_REJECTED,),
            )
        self.done([number])

    def is_mine(self) -> bool:
        """Whether this process is the one that forwards: the first to ask is, until it ends."""
        if not self._mine:
            try:
                fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._mine = True
        return True

    def close(self) -> None:
        with self._lock:
            self._claim.close()
            self._db.close()

    @contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self._path}: {error}") from error
