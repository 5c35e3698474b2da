"""The spool's SQLite file: rows of batches, packed blocks and gap records, and a check at opening."""

import contextlib
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pms_edge.batch import Batch
from pms_edge.spool.gap import Gap, parse_gap
from pms_edge.spool.lane import Entry
from pms_edge.spool.packing import pack, unpack

LANES = ("data", "event")
PAGE_BYTES = 4096
ROW_OVERHEAD_BYTES = 64
VERSION = 2  # 1: as 2, without `first` and `kind`; it did not say so in user_version
PLAIN, PACKED, GAP = 0, 1, 2  # kind of a row
READ_AHEAD_ROWS = 64
UNPACKED_BLOCKS = 4  # kept, so that a block is unpacked once however it is read
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (epoch TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS lane (name TEXT PRIMARY KEY, last INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS batch ("
    " lane TEXT NOT NULL, seq INTEGER NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL,"
    " n INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (lane, seq))",
)
# `seq` is the last of a packed row's numbers, `first` the first.
_TO_VERSION_2 = (
    "ALTER TABLE batch ADD COLUMN first INTEGER",
    f"ALTER TABLE batch ADD COLUMN kind INTEGER NOT NULL DEFAULT {PLAIN}",
)
_COLUMNS = "lane, seq, t0, t1, n, blob, first, kind"


class SpoolUnreadableError(Exception):
    """The file is not, or no longer, a spool that can be read."""


class Row(NamedTuple):
    """A batch with its number. `gap` when it is a record of what is missing."""

    seq: int
    batch: Batch
    gap: Gap | None = None

    @property
    def entry(self) -> Entry:
        size = stored_bytes(len(self.batch.body))
        _, _, samples, first_ns, last_ns = self.batch
        return Entry(self.seq, self.seq, size, samples, first_ns, last_ns, gap=self.gap)


def stored_bytes(body: int) -> int:
    """What a row takes of the file; of rows over half a page only one fits into a page."""
    size = body + ROW_OVERHEAD_BYTES
    return size if size > PAGE_BYTES else PAGE_BYTES // (PAGE_BYTES // size)


def gap_row(seq: int, gap: Gap) -> Row:
    """A gap as a batch without samples, which is how it travels."""
    return Row(seq, Batch(gap.lane, gap.line(), 0, gap.first_ns or 0, gap.last_ns or 0), gap)


class SpoolFile:
    """One open spool database; one thread writes, any may read.

    Raises SpoolUnreadableError when the file is corrupt, sqlite3.Error for a full disk and the like.
    """

    def __init__(self, path: Path, *, sync: str, hard_bytes: int, gap: Gap | None = None) -> None:
        self._lock, self._read_lock = threading.Lock(), threading.Lock()
        self._unpacked: dict[tuple[str, int], list[Row]] = {}
        self._db = _connect(path)
        try:
            self._prepare(sync, max(hard_bytes // PAGE_BYTES, 16), gap)
            self._reader = _connect(path)  # a read does not wait for a commit
        except sqlite3.Error as error:
            self._db.close()
            raise _sorted_out(error) from error
        except SpoolUnreadableError:
            self._db.close()
            raise

    def _prepare(self, sync: str, max_pages: int, gap: Gap | None) -> None:
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
        with self._transaction():
            self._migrate()
            self._db.execute(
                "INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT * FROM meta)",
                (secrets.token_hex(4),),
            )
            self._db.executemany("INSERT OR IGNORE INTO lane VALUES (?, 0)", [(n,) for n in LANES])
            if gap is not None:
                self._insert([gap_row(1, gap)])
        self.epoch = str(self._db.execute("SELECT epoch FROM meta").fetchone()[0])

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise SpoolUnreadableError(f"written by a newer version ({version})")
        if version < VERSION:
            for statement in (*_SCHEMA, *_TO_VERSION_2):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={VERSION}")

    def entries(self, lane: str) -> list[Entry]:
        """What there is of `lane`, in order."""
        query = (
            "SELECT coalesce(first, seq), seq, length(blob), n, t0, t1, kind,"
            f" CASE kind WHEN {GAP} THEN blob END FROM batch WHERE lane = ? ORDER BY seq"
        )
        with self._lock:
            rows = self._db.execute(query, (lane,)).fetchall()
        return [_entry(*row) for row in rows]

    def last(self, lane: str) -> int:
        with self._lock:
            row = self._db.execute("SELECT last FROM lane WHERE name = ?", (lane,)).fetchone()
        return int(row[0])

    def insert(self, rows: Sequence[Row]) -> None:
        with self._lock, self._transaction():
            self._insert(rows)

    def delete(self, lane: str, to: int) -> None:
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM batch WHERE lane = ? AND seq <= ?", (lane, to))

    def put_gap(self, gap: Gap, *, since: int) -> Row:
        """Puts the record of a gap in the place of the rows from `since` to its last."""
        assert gap.last is not None
        row = gap_row(gap.last, gap)
        with self._lock, self._transaction():
            self._remove(gap.lane, since, gap.last)
            self._insert_one(row)
        with self._read_lock:
            self._unpacked.clear()  # the record may stand where a block was
        return row

    def pack(self, lane: str, first: int, last: int) -> Entry:
        """Packs the rows first..last, all of them plain, into one."""
        rows = self.read(lane, first, last + 1)
        block = pack([row.batch for row in rows])
        samples = sum(row.batch.samples for row in rows)
        t0, t1 = min(r.batch.first_ns for r in rows), max(r.batch.last_ns for r in rows)
        values = (lane, last, t0, t1, samples, block, first, PACKED)
        with self._lock, self._transaction():
            self._remove(lane, first, last)
            self._db.execute(f"INSERT INTO batch ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", values)
        return Entry(first, last, stored_bytes(len(block)), samples, t0, t1, packed=True)

    def read(self, lane: str, first: int, end: int) -> list[Row]:
        """Batches of `lane` with first <= seq < end, in order, those of packed rows unpacked."""
        found: list[Row] = []
        try:
            with self._read_lock:
                while first < end:
                    rows = self._known(lane, first) or self._fetch(lane, first, end)
                    if not rows:
                        break
                    found += rows
                    first = rows[-1].seq + 1
        except sqlite3.Error as error:
            raise _sorted_out(error) from error
        return [row for row in found if row.seq < end]

    def _known(self, lane: str, first: int) -> list[Row]:
        """The rest of a block unpacked before, if `first` is in it."""
        for (name, start), rows in self._unpacked.items():
            if name == lane and start <= first <= rows[-1].seq:
                return rows[first - start :]
        return []

    def _fetch(self, lane: str, first: int, end: int) -> list[Row]:
        """The rows from `first` on up to and including the first packed one, or as many as read ahead."""
        query = (
            f"SELECT {_COLUMNS} FROM batch WHERE lane = ? AND seq >= ? AND coalesce(first, seq) < ?"
            " ORDER BY seq LIMIT ?"
        )
        rows: list[Row] = []
        cursor = self._reader.execute(query, (lane, first, end, READ_AHEAD_ROWS))
        for _, seq, t0, t1, n, blob, block_first, kind in cursor:
            if kind == PACKED:
                block = self._unpack(lane, int(block_first), blob)
                rows += [row for row in block if row.seq >= first]
                break
            rows.append(Row(seq, Batch(lane, blob, n, t0, t1), _gap(blob if kind == GAP else None)))
        cursor.close()
        return rows

    def _unpack(self, lane: str, first: int, block: bytes) -> list[Row]:
        try:
            rows = [Row(seq, batch) for seq, batch in enumerate(unpack(lane, block), first)]
        except (ValueError, zlib.error) as error:
            raise SpoolUnreadableError(f"packed row from {first} on: {error}") from error
        if len(self._unpacked) >= UNPACKED_BLOCKS:
            del self._unpacked[next(iter(self._unpacked))]
        self._unpacked[lane, first] = rows
        return rows

    def renew_epoch(self) -> None:
        """A new epoch; what is spooled is numbered again from 1."""
        with self._lock, self._transaction():
            for lane in LANES:
                self._number_again(lane)
            self._db.execute("UPDATE meta SET epoch = ?", (secrets.token_hex(4),))

    def _number_again(self, lane: str) -> None:
        query = "SELECT seq, first, kind, blob FROM batch WHERE lane = ? ORDER BY seq"
        last = 0
        for seq, first, kind, blob in self._db.execute(query, (lane,)).fetchall():
            new_first = last + 1
            last = new_first + (seq - first if kind == PACKED else 0)
            if kind == GAP:  # the old numbers mean nothing any more
                blob = parse_gap(blob)._replace(first=None, last=None).line()
            self._db.execute(
                "UPDATE batch SET seq = ?, first = ?, blob = ? WHERE lane = ? AND seq = ?",
                (-last, new_first if kind == PACKED else None, blob, lane, seq),
            )
        self._db.execute("UPDATE batch SET seq = -seq WHERE lane = ?", (lane,))
        self._db.execute("UPDATE lane SET last = ? WHERE name = ?", (last, lane))

    def fold_log(self) -> None:
        """Moves the write-ahead log into the file, which gives the log's disk space back."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        with self._lock, self._read_lock:
            self._reader.close()
            self._db.close()

    def _insert(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._insert_one(row)
            values = (row.seq, row.batch.lane)
            self._db.execute("UPDATE lane SET last = ? WHERE name = ?", values)

    def _insert_one(self, row: Row) -> None:
        b, kind = row.batch, PLAIN if row.gap is None else GAP
        values = (b.lane, row.seq, b.first_ns, b.last_ns, b.samples, b.body, None, kind)
        self._db.execute(f"INSERT INTO batch ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", values)

    def _remove(self, lane: str, first: int, last: int) -> None:
        query = "DELETE FROM batch WHERE lane = ? AND seq >= ? AND seq <= ?"
        self._db.execute(query, (lane, first, last))

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, SpoolUnreadableError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _sorted_out(error) from error


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)


def _entry(
    first: int, last: int, size: int, n: int, t0: int, t1: int, kind: int, blob: bytes | None
) -> Entry:
    return Entry(first, last, stored_bytes(size), n, t0, t1, packed=kind == PACKED, gap=_gap(blob))


def _gap(blob: bytes | None) -> Gap | None:
    return None if blob is None else parse_gap(blob)


def _sorted_out(error: Exception) -> Exception:
    return SpoolUnreadableError(str(error)) if _is_corrupt(error) else error


def _is_corrupt(error: Exception) -> bool:
    code: Any = getattr(error, "sqlite_errorcode", None)
    corrupt = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return (code is not None and code & 0xFF in corrupt) or "malformed" in str(error)
