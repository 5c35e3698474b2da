"""The file of the embedded store: its tables, its connections, and what is done about damage."""

import fcntl
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.counters import Counters

_log = structlog.get_logger(__name__)

# log: samples as they came, a batch a row. block: n samples of one series in one window of 6 h; `level` 0 as
# they came from the log, more when merged, FINAL when the window is closed. Of equal instants the highest id
# counts. summary: roll-ups of a closed window. finished: windows that others are to be told of. made: when the
# file began.
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, columns BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS block (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL, window INTEGER NOT NULL, level INTEGER NOT NULL,
    n INTEGER NOT NULL, last_at INTEGER NOT NULL, columns BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS block_of ON block (series, window, last_at, id);
CREATE INDEX IF NOT EXISTS block_open ON block (series, window, level) WHERE level < 9;
CREATE TABLE IF NOT EXISTS summary (
    series INTEGER NOT NULL, step INTEGER NOT NULL, window INTEGER NOT NULL, columns BLOB NOT NULL,
    PRIMARY KEY (series, step, window)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS summary_age ON summary (step, window);
CREATE TABLE IF NOT EXISTS finished (
    id INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, window INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS made (at INTEGER NOT NULL);
"""
FINAL = 9
_CHECKED_BYTES = 64 * 2**20  # a full check of more would hold up the start by seconds
DAMAGED = 10  # a level: kept, and left out
_JOURNAL_BYTES = 16 * 2**20  # after a large write it shrinks to this
_INCREMENTAL = 2  # of auto_vacuum: freed pages go back to the file system when we say so


class StoreFile:
    """One SQLite file in WAL mode: a writer, guarded by `write_lock`, and a reader for each thread.

    A file that is damaged is set aside and a new one begun; `generation` then grows. Errors of SQLite become
    StoreUnavailableError, naming the file. Counts `store_files_set_aside`.
    """

    def __init__(
        self, path: Path, counters: Counters, synchronous: Literal["FULL", "NORMAL"]
    ) -> None:
        self.path = path
        self.write_lock = threading.Lock()
        self.generation = 0
        self._counters = counters
        self._synchronous = synchronous
        self._local = threading.local()
        self._readers_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._open_checked()

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A transaction of the writer; a damaged file is replaced, and StoreUnavailableError raised once."""
        with self.write_lock, self._named():
            try:
                with self._writer:  # commits, or rolls back
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._writer.close()
                    self._set_aside(str(error))
                    self._writer = self._open_checked()
                raise

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A transaction that sees one state of the file; readers never wait, nor are waited for."""
        with self._named():
            reader = self._reader()
            reader.execute("BEGIN")
            try:
                yield reader
            finally:
                reader.execute("COMMIT")

    @contextmanager
    def housekeeping(self, *, wait: bool) -> Generator[bool]:
        """True while this process may rearrange the file: one at a time does, whichever process it is in."""
        with self.path.with_name(self.path.name + ".keeper").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def give_back(self, pages: int) -> None:
        """Returns up to `pages` unused pages at the end of the file to the file system."""
        with self.write_lock, self._named():
            self._writer.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def close(self) -> None:
        with self.write_lock, self._readers_lock:
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    def _reader(self) -> sqlite3.Connection:
        if getattr(self._local, "generation", None) != self.generation:
            self._local.connection = self._connect()
            self._local.generation = self.generation
            with self._readers_lock:
                self._readers.append(self._local.connection)
        return self._local.connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        if not self.path.stat().st_size:  # saying it again would write to an old one
            connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    @contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path}: {error}") from error

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
            connection.executescript(SCHEMA)
            _check_complete(connection, self.path)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _set_aside(self, problem: str) -> None:
        """Renames the damaged file and its journals; nothing is deleted."""
        taken = len(list(self.path.parent.glob(f"{self.path.name}.damaged-*")))
        kept = self.path.with_name(f"{self.path.name}.damaged-{taken + 1}")
        for suffix in ("-wal", "-shm", ""):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        self.generation += 1
        self._counters.add("store_files_set_aside")
        _log.error("store file damaged", file=str(self.path), kept_as=str(kept), problem=problem)


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
