"""Keeps the file in order: the log into blocks, blocks into fewer, closed windows finished, old ones deleted.

Every step may be cut off anywhere. A sample may then stand in the log and in a block, or in two blocks, with
the same value: reading counts it once, the next run puts it right. One process at a time keeps a file.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice

import structlog

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import blocks
from pms_iot.telemetry.embedded.file import DAMAGED, FINAL, StoreFile
from pms_iot.telemetry.embedded.tail import Tail

LOG_SAMPLES = 800_000  # 17 MB of memory in each process that reads
LOG_AGE_S = 600.0
MERGED_AT_ONCE = (
    16  # blocks of a level that become one of the next: a sample is moved a few times in all
)
GRACE_NS = (
    1800 * 10**9
)  # after the end of a window, for what comes late; later still costs a second finish
_LOOK_S, _FINISH_S = 1.0, 30.0
_PAUSE_S = 0.002
_ROWS, _WINDOWS = 1000, 50  # in a transaction: writers wait for one at most
_FREE_PAGES = 8192  # kept for the log, which grows and shrinks by as much; the rest is given back
_log = structlog.get_logger(__name__)

_FULL_LEVELS = """
SELECT series, window, level FROM block INDEXED BY block_open WHERE level < 9
GROUP BY series, window, level HAVING count(*) >= ?
"""
_CLOSED = """
SELECT DISTINCT series, window FROM block INDEXED BY block_open WHERE level < 9 AND window < ?
"""
_MEMBERS = """
SELECT id, columns FROM block WHERE series = ? AND window = ? AND level BETWEEN ? AND ? ORDER BY id
"""
_PRUNE = "DELETE FROM block WHERE series = ? AND window < ? RETURNING n"


class Keeper:
    """Counts `store_samples_packed`, `store_windows_finished`, `store_blocks_damaged` and
    `store_housekeeping_failed`. `tell`: note which windows were finished."""

    def __init__(
        self,
        file: StoreFile,
        log: Callable[[], AbstractContextManager[tuple[StoreFile, Tail]]],
        now_ns: Callable[[], int],
        counters: Counters,
        *,
        tell: bool,
    ) -> None:
        self._file = file
        self._tell = tell
        self._log = log
        self._now_ns = now_ns
        self._counters = counters
        self._compacted = time.monotonic()
        self._finished = -_FINISH_S  # the first look finishes what an earlier run left
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self.has_finished = False  # the windows that were closed when this process began
        self._thread: threading.Thread | None = None
        self._unpacked = 0  # samples in the log, as far as this process knows

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()

    def make_room(self, samples: int) -> None:
        """Before a write: the log may not grow without end, so a writer faster than the keeper helps it."""
        self._unpacked += samples
        if self._unpacked > LOG_SAMPLES:
            self._hurry.set()
        if self._unpacked > 2 * LOG_SAMPLES:
            self._move()

    def compact(self) -> int:
        """The log into blocks of level 0, and full levels into the next; returns the samples moved."""
        moved = self._move()
        if moved:
            self._merge()
        return moved

    def _move(self) -> int:
        with self._file.housekeeping(wait=True):
            with self._log() as (_, tail):
                batch, last_row = tail.all(), tail.last_row
            self._unpacked = 0
            self._compacted = time.monotonic()
            if not len(batch):
                return 0
            new = blocks.cut(batch)
            while rows := list(islice(new, _ROWS)):
                with self._file.writing() as db:
                    blocks.insert(db, rows)
                self._let_others_write()
            with self._file.writing() as db:
                db.execute("DELETE FROM log WHERE id <= ?", (last_row,))
        self._counters.add("store_samples_packed", len(batch))
        return len(batch)

    def _merge(self) -> None:
        """As far as there is time for; what is full stays so until the next time."""
        with self._file.housekeeping(wait=True):
            with self._file.reading() as db:
                full = db.execute(_FULL_LEVELS, (MERGED_AT_ONCE,)).fetchall()
            self._unify(
                (series, window, (level, level), min(level + 1, FINAL - 1))
                for series, window, level in full
            )

    def finish(self) -> int:
        """Closed windows into one block each and its roll-ups, as many as there is time for; returns how many."""
        oldest_open = (self._now_ns() - GRACE_NS) // blocks.WINDOW_NS
        with self._file.housekeeping(wait=True):
            self._finished = time.monotonic()
            with self._file.reading() as db:
                closed = db.execute(_CLOSED, (oldest_open,)).fetchall()
            places = iter(closed)
            finished = self._unify((series, window, (0, FINAL), FINAL) for series, window in places)
        if next(places, None) is None:
            self.has_finished = True
        else:
            self._finished = -_FINISH_S  # goes on at the next look
        self._counters.add("store_windows_finished", finished)
        return finished

    def _unify(self, places: Iterable[tuple[int, int, tuple[int, int], int]]) -> int:
        """For each (series, window, first and last level, new level) its blocks as one; stops where the
        log has to be moved, so that it stays short and writers do not wait."""
        done, places = 0, iter(places)
        while self._has_time() and (some := list(islice(places, _WINDOWS))):
            # Reading and packing hold no lock: nobody else changes blocks.
            changes = [change for place in some if (change := self._unified(*place))]
            with self._file.writing() as db:
                for change in changes:
                    blocks.apply(db, change, tell=self._tell)
            done += len(changes)
            self._let_others_write()
        return done

    def _has_time(self) -> bool:
        if self._unpacked > LOG_SAMPLES // 2:
            self._hurry.set()  # the next look comes at once
            return False
        return not self._stopping.is_set()

    def _unified(
        self, series: int, window: int, levels: tuple[int, int], into: int
    ) -> blocks.Change | None:
        with self._file.reading() as db:
            members = db.execute(_MEMBERS, (series, window, *levels)).fetchall()
            parts = self._readable(members)
            if not parts:
                return None
            columns = blocks.merged(list(parts.values()))
            new = blocks.block(series, window, into, columns)
            rolled = blocks.rolled_up(db, new, columns) if into == FINAL else ()
            return blocks.Change(list(parts), new, rolled)

    def _readable(self, members: Iterable[tuple[int, bytes]]) -> dict[int, blocks.Columns]:
        """By id; a damaged block is kept, and left out from now on."""
        found: dict[int, blocks.Columns] = {}
        for number, packed in members:
            try:
                found[number] = blocks.unpack(packed)
            except ValueError as problem:
                self._counters.add("store_blocks_damaged")
                _log.error("block damaged", block=number, problem=str(problem))
                with self._file.writing() as writer:
                    writer.execute("UPDATE block SET level = ? WHERE id = ?", (DAMAGED, number))
        return found

    def _let_others_write(self) -> None:
        """A lock is not fair: whoever releases it and asks again at once mostly gets it again."""
        self._stopping.wait(_PAUSE_S)

    def prune(self, before_ns: int, series: Sequence[int] | None = None) -> int:
        """Deletes raw windows that end before an instant; returns how many samples."""
        window, deleted = before_ns // blocks.WINDOW_NS, 0
        for number in self._series() if series is None else series:
            with self._file.writing() as db:
                deleted += sum(n for (n,) in db.execute(_PRUNE, (number, window)))
        self._give_back()
        return deleted

    def prune_summaries(self, step_ns: int, before_ns: int) -> None:
        """Deletes roll-ups of one width of windows that end before an instant."""
        with self._file.writing() as db:
            db.execute(
                "DELETE FROM summary WHERE step = ? AND window < ?",
                (step_ns, before_ns // blocks.WINDOW_NS),
            )
        self._give_back()

    def _series(self) -> Iterable[int]:
        with self._file.reading() as db:
            rows = db.execute(
                "WITH RECURSIVE s(series) AS (SELECT min(series) FROM block UNION ALL"
                " SELECT (SELECT min(series) FROM block WHERE series > s.series) FROM s"
                " WHERE s.series IS NOT NULL) SELECT series FROM s WHERE series IS NOT NULL"
            ).fetchall()
        return [row[0] for row in rows]

    def _give_back(self) -> None:
        """Space that was deleted returns to the file system, a piece at a time."""
        while (free := self._free_pages()) > _FREE_PAGES and not self._stopping.is_set():
            self._file.give_back(min(free - _FREE_PAGES, _FREE_PAGES))

    def _free_pages(self) -> int:
        with self._file.reading() as db:
            return db.execute("PRAGMA freelist_count").fetchone()[0]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hurry.wait(_LOOK_S)
            self._hurry.clear()
            try:
                self._look()
            except (
                StoreUnavailableError,
                sqlite3.Error,
            ) as problem:  # tried again at the next look
                self._counters.add("store_housekeeping_failed")
                _log.warning("store cannot be kept in order", problem=str(problem))

    def _look(self) -> None:
        now = time.monotonic()
        if self._stopping.is_set():
            return
        with self._log() as (_, tail):
            waiting = self._unpacked = len(tail)
        if waiting > LOG_SAMPLES // 2 or (waiting and now - self._compacted > LOG_AGE_S):
            self.compact()
        if now - self._finished > _FINISH_S:
            self.finish()
