"""The spool's SQLite file: rows of (lane, seq, batch), a random epoch, and a check at opening."""

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from pms_edge.batch import Batch

LANES = ("data", "event")
PAGE_BYTES = 4096
ROW_OVERHEAD_BYTES = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (epoch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lane (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batch (
    lane TEXT NOT NULL, seq INTEGER NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL,
    n INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (lane, seq)
);
"""


class SpoolUnreadableError(Exception):
    """The file is not, or no longer, a spool that SQLite can read."""


class Row(NamedTuple):
    seq: int
    batch: Batch

    @property
    def size(self) -> int:
        return len(self.batch.body) + ROW_OVERHEAD_BYTES


class Reserve:
    """Disk space kept beside the spool: on a full disk even a delete needs room in the log."""

    SIZE = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}.reserve")

    def hold(self) -> None:
        """Takes the space; on a full disk what there is of it."""
        with contextlib.suppress(OSError):
            if not self._path.exists() or self._path.stat().st_size < self.SIZE:
                self._path.write_bytes(bytes(self.SIZE))

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class SpoolFile:
    """One open spool database; its methods may be called from different threads.

    Raises SpoolUnreadableError when the file is corrupt, sqlite3.Error for a full disk and the like.
    """

    def __init__(self, path: Path, *, sync: str, hard_bytes: int) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
        try:
            self._prepare(sync, max(hard_bytes // PAGE_BYTES, 16))
        except sqlite3.Error as error:
            self._db.close()
            raise SpoolUnreadableError(str(error)) if _is_corrupt(error) else error from error

    def _prepare(self, sync: str, max_pages: int) -> None:
        pragmas = (
            "journal_mode=WAL",
            f"synchronous={sync.upper()}",
            f"max_page_count={max_pages}",
            # A short log: on a full disk it has to fit into the reserve.
            "wal_autocheckpoint=64",
            "journal_size_limit=1048576",
        )
        for pragma in pragmas:
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"malformed: {verdict}")
        self._db.executescript(_SCHEMA)
        with self._transaction():
            self._db.execute(
                "INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT * FROM meta)",
                (secrets.token_hex(4),),
            )
            self._db.executemany("INSERT OR IGNORE INTO lane VALUES (?, 0)", [(n,) for n in LANES])
        self.epoch = str(self._db.execute("SELECT epoch FROM meta").fetchone()[0])

    def entries(self, lane: str) -> list[tuple[int, int, int]]:
        """(seq, bytes, first instant) of each batch of `lane`, in order."""
        query = "SELECT seq, length(blob) + ?, t0 FROM batch WHERE lane = ? ORDER BY seq"
        with self._lock:
            return self._db.execute(query, (ROW_OVERHEAD_BYTES, lane)).fetchall()

    def last(self, lane: str) -> int:
        with self._lock:
            row = self._db.execute("SELECT last FROM lane WHERE name = ?", (lane,)).fetchone()
        return int(row[0])

    def insert(self, rows: Sequence[Row]) -> None:
        with self._lock, self._transaction():
            for seq, batch in rows:
                values = (batch.lane, seq, batch.first_ns, batch.last_ns, batch.samples, batch.body)
                self._db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)", values)
                self._db.execute("UPDATE lane SET last = ? WHERE name = ?", (seq, batch.lane))

    def delete(self, lane: str, to: int) -> None:
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM batch WHERE lane = ? AND seq <= ?", (lane, to))

    def read(self, lane: str, first: int, end: int) -> list[Row]:
        query = (
            "SELECT seq, lane, blob, n, t0, t1 FROM batch"
            " WHERE lane = ? AND seq >= ? AND seq < ? ORDER BY seq"
        )
        with self._lock:
            rows = self._db.execute(query, (lane, first, end)).fetchall()
        return [Row(int(row[0]), Batch(*row[1:])) for row in rows]

    def renew_epoch(self) -> None:
        """A new epoch; what is spooled is numbered again from 1."""
        rank = "(SELECT count(*) FROM batch b WHERE b.lane = batch.lane AND b.seq <= batch.seq)"
        with self._lock, self._transaction():
            self._db.execute(
                f"CREATE TEMP TABLE ranks AS SELECT rowid AS id, {rank} AS r FROM batch"
            )
            self._db.execute("UPDATE batch SET seq = -seq")
            self._db.execute("UPDATE batch SET seq = (SELECT r FROM ranks WHERE id = batch.rowid)")
            self._db.execute(
                "UPDATE lane SET last = (SELECT count(*) FROM batch WHERE batch.lane = lane.name)"
            )
            self._db.execute("UPDATE meta SET epoch = ?", (secrets.token_hex(4),))
            self._db.execute("DROP TABLE ranks")

    def fold_log(self) -> None:
        """Moves the write-ahead log into the file, which gives the log's disk space back."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SpoolUnreadableError(str(error)) if _is_corrupt(error) else error from error


def open_or_replace(path: Path, *, sync: str, hard_bytes: int) -> tuple[SpoolFile, str]:
    """The spool at `path`. An unreadable file is renamed and a new one begun: second value."""
    quarantined = ""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size == 0:
        quarantined = _put_aside(path)  # truncated to nothing: we never leave an empty file
    try:
        return SpoolFile(path, sync=sync, hard_bytes=hard_bytes), quarantined
    except SpoolUnreadableError:
        quarantined = _put_aside(path)
        return SpoolFile(path, sync=sync, hard_bytes=hard_bytes), quarantined


def _put_aside(path: Path) -> str:
    aside = f"{path}.corrupt-{time.time_ns() // 1_000_000}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def _is_corrupt(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    corrupt = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return (code is not None and code & 0xFF in corrupt) or "malformed" in str(error)
