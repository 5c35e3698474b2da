"""The spool: every batch on disk until the engine has acknowledged it (SQLite, WAL)."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pms_edge.batch import Batch
from pms_edge.counters import Counters
from pms_edge.logs import kv
from pms_edge.spool.file import LANES, Row, SpoolFile, SpoolUnreadableError, gap_row
from pms_edge.spool.gap import Gap
from pms_edge.spool.lane import Entry, Lane, Span
from pms_edge.spool.open import Reserve, open_or_replace
from pms_edge.spool.outlook import Outlook
from pms_edge.spool.pending import Pending

log = logging.getLogger(__name__)

RETRY_S = 0.5
COMMIT_BATCHES = 64
PACK_FROM_ROWS = 64  # so many plain rows are a backlog: the oldest PACK_ROWS become one
PACK_ROWS = 32
PACK_BYTES = 4_000_000  # of one block before it is packed
PACK_RETRY_S = 10.0


class SpoolStats(NamedTuple):
    """`hours_left`: how long what came in during the last minutes can still be held; None = unknown."""

    rows: int
    bytes: int
    oldest_ns: int | None
    hours_left: float | None


class Spool:
    """Keeps batches in order per lane. Any thread may call; commits happen on its own thread.

    `on_change` is called after each commit. Over `max_bytes` the oldest data is evicted, never events.
    A full disk delays commits: batches wait in memory up to a bound, then the oldest data is given up.
    A file that cannot be read is put aside and a new epoch begins. Each leaves a gap record in its
    place. A backlog is packed: see packing.py.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        sync: str = "full",
        counters: Counters,
        on_change: Callable[[], None] = lambda: None,
        packing: bool = True,
    ) -> None:
        self._path, self._sync, self._max_bytes = path, sync, max_bytes
        self._counters, self.on_change = counters, on_change
        self._changed = threading.Condition()
        self._pending = Pending()
        self._pack_at = 0.0 if packing else float("inf")
        self._unreadable = ""  # what a reader met
        self._closing = False
        self.failing = ""
        self._group = COMMIT_BATCHES
        self._outlook = Outlook(time.monotonic())
        self._reserve = Reserve(path)
        self._file = self._open()
        self._reserve.hold()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> str:
        return self._file.epoch

    def keep(self, batch: Batch) -> None:
        """Queues `batch` for the next commit."""
        with self._changed:
            lost = self._pending.add(batch)
            self._outlook.came(batch.body, time.monotonic())
            self._changed.notify_all()
        if lost is not None:
            self._counters.add("batches_lost_before_spool")
            self._counters.add("samples_lost_before_spool", lost.samples)

    def ack(self, lane: str, epoch: str, seq: int) -> None:
        """Frees everything of `lane` up to and including `seq`, if `epoch` is ours."""
        with self._changed:
            if lane not in self._lanes or epoch != self.epoch:
                self._counters.add("acks_of_other_epoch")
            elif seq > self._lanes[lane].last:
                # The engine knows batches that this file has forgotten (restored from a copy).
                self._counters.add("acks_beyond_spool")
                self._renew = True
            else:
                self._bytes -= self._lanes[lane].ack(seq)
            self._changed.notify_all()

    def settled(self) -> bool:
        """Whether all that was kept so far is on disk."""
        with self._changed:
            return not self._pending

    def span(self, lane: str) -> Span:
        with self._changed:
            return self._lanes[lane].span()

    def read(self, lane: str, first: int, end: int) -> list[Row]:
        """Spooled batches of `lane` with first <= seq < end, in order."""
        file = self._file
        try:
            return file.read(lane, first, end)
        except sqlite3.Error as error:
            self._counters.complain(log, "spool_read_failures", place=lane, error=error)
        except SpoolUnreadableError as error:
            with self._changed:
                self._unreadable = str(error) if file is self._file else ""
                self._changed.notify_all()
        return []

    def stats(self) -> SpoolStats:
        with self._changed:
            waiting = sum(lane.waiting for lane in self._lanes.values())
            firsts = [e.first_ns for lane in self._lanes.values() for e in lane.entries[:1]]
            oldest = min((first for first in firsts if first), default=None)
            hours = self._outlook.hours(self._max_bytes - self._bytes, time.monotonic())
            return SpoolStats(waiting, self._bytes, oldest, hours)

    def close(self, timeout_s: float = 1.0) -> bool:
        """Commits what is pending and stops; False when batches were left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        done = not self._thread.is_alive()
        if done:
            self._file.close()
        left = len(self._pending)
        if left:
            log.error("spool closed before everything was on disk", extra=kv(batches=left))
        return done and not left

    def _open(self, *, unreadable: bool = False) -> SpoolFile:
        hard_bytes = 2 * self._max_bytes
        try:
            file, quarantined = open_or_replace(self._path, self._sync, hard_bytes, unreadable)
        except sqlite3.Error:
            self._reserve.release()  # the disk may be full
            file, quarantined = open_or_replace(self._path, self._sync, hard_bytes, unreadable)
        if quarantined:
            self._counters.add("spools_quarantined")
            log.error(
                "spool unreadable, new one begun", extra=kv(kept=quarantined, epoch=file.epoch)
            )
        self._lanes = {lane: Lane(file.last(lane), file.entries(lane)) for lane in LANES}
        self._bytes = sum(e.size for lane in self._lanes.values() for e in lane.entries)
        self._renew, self._unreadable = False, ""
        return file

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._has_work())
                if self._closing and (self.failing or not self._must_write()):
                    return
            try:
                self._commit()
                self._recovered()
                self._pack_oldest()
            except SpoolUnreadableError as error:
                self._stop_commit()
                log.error("spool became unreadable", extra=kv(error=error))
                self._begin_again()
            except sqlite3.Error as error:
                self._stop_commit()
                self._failed(error)
            self.on_change()

    def _stop_commit(self) -> None:
        with self._changed:
            self._pending.done(written=False)

    def _begin_again(self) -> None:
        self._file.close()
        try:
            with self._changed:
                self._file = self._open(unreadable=True)
        except (OSError, sqlite3.Error) as error:
            self._failed(error)

    def _must_write(self) -> bool:
        behind = any(lane.free_to > lane.freed for lane in self._lanes.values())
        return bool(self._pending) or behind or self._renew or bool(self._unreadable)

    def _has_work(self) -> bool:
        return self._must_write() or self._packable() is not None

    def _commit(self) -> None:
        if self._unreadable:
            raise SpoolUnreadableError(self._unreadable)
        self._delete_acked()
        self._evict()
        if self._renew:
            self._new_epoch()
        with self._changed:
            items = self._pending.begin(self._group)
        if not items:
            return
        rows = self._numbered(items)
        self._file.insert(rows)
        with self._changed:
            self._pending.done(written=True)
            for row in rows:
                self._lanes[row.batch.lane].add(row.entry)
                self._bytes += row.entry.size
        self._group = min(2 * self._group, COMMIT_BATCHES)
        self._counters.add("batches_spooled", sum(row.gap is None for row in rows))

    def _numbered(self, items: list[Batch | Gap]) -> list[Row]:
        last = {name: lane.last for name, lane in self._lanes.items()}
        rows: list[Row] = []
        for item in items:
            last[item.lane] += 1
            seq = last[item.lane]
            rows.append(Row(seq, item) if isinstance(item, Batch) else gap_row(seq, item))
        return rows

    def _delete_acked(self) -> None:
        for name, lane in self._lanes.items():
            seq = lane.free_to
            if seq > lane.freed:
                self._file.delete(name, seq)
                lane.freed = seq

    def _evict(self) -> None:
        """Over the cap the oldest data goes, never events."""
        while True:
            with self._changed:
                too_much = self._bytes + self._pending.bytes - self._max_bytes
                before, oldest = self._lanes["data"].oldest(too_much)
                acked = self._lanes["data"].acked
            if not oldest:
                return
            self._replace_by_gap(before, oldest, acked)

    def _replace_by_gap(self, before: Entry | None, oldest: list[Entry], acked: int) -> None:
        gap = self._gap_of(oldest, acked)
        since, known = gap.first or 0, before.gap if before else None
        if before and known and known.cause == "evicted" and before.last == since - 1:
            gap, since = known.and_then(gap), before.last
        row = self._file.put_gap(gap, since=min(since, oldest[0].first))
        with self._changed:
            self._bytes += self._lanes["data"].replace(since, row.entry)
        self._counters.complain(log, "spool_evictions", place=str(self._path))
        self._counters.add("batches_evicted", oldest[-1].last - max(oldest[0].first, acked + 1) + 1)
        self._counters.add("samples_evicted", sum(entry.samples for entry in oldest))

    def _gap_of(self, oldest: list[Entry], acked: int) -> Gap:
        """What is lost with these rows; of a packed one in part acknowledged, only the rest."""
        first, last = oldest[0].first, oldest[-1].last
        samples = sum(e.samples for e in oldest)
        if first <= acked:
            samples -= sum(row.batch.samples for row in self._file.read("data", first, acked + 1))
        t0, t1 = min(e.first_ns for e in oldest), max(e.last_ns for e in oldest)
        return Gap("data", "evicted", samples, t0, t1, max(first, acked + 1), last)

    def _packable(self) -> tuple[str, list[Entry]] | None:
        """The oldest plain rows of a backlog."""
        if time.monotonic() < self._pack_at:
            return None
        for name, lane in self._lanes.items():
            tail = lane.tail()
            if len(tail) >= PACK_FROM_ROWS:
                return name, _up_to(PACK_BYTES, tail[:PACK_ROWS])
        return None

    def _pack_oldest(self) -> None:
        with self._changed:
            found = self._packable()
        if found is None:
            return
        name, rows = found
        try:
            entry = self._file.pack(name, rows[0].first, rows[-1].last)
        except sqlite3.Error:  # nothing is lost by not packing, and new batches go first
            self._pack_at = time.monotonic() + PACK_RETRY_S
            self._counters.add("spool_pack_failures")
            return
        with self._changed:
            self._bytes += self._lanes[name].replace(entry.first, entry)
            self._outlook.packed(sum(row.size for row in rows), entry.size)
        self._counters.add("batches_packed", len(rows))

    def _new_epoch(self) -> None:
        self._file.renew_epoch()
        old = self._file
        with self._changed:
            self._file = self._open()
        old.close()
        log.warning("new epoch: the engine knew more than this spool", extra=kv(epoch=self.epoch))

    def _failed(self, error: Exception) -> None:
        self._counters.add("spool_write_failures")
        if not self.failing:
            log.error("spool cannot be written", extra=kv(error=error, path=self._path))
        self.failing = str(error)
        self._group = 1  # one batch may still fit where many do not
        self._free_on_full_disk()
        with self._changed:
            self._changed.wait_for(lambda: self._closing, RETRY_S)

    def _free_on_full_disk(self) -> None:
        """Deletes what is acked with the room of the reserve, which new batches may not take."""
        self._reserve.release()
        self._file.fold_log()
        with contextlib.suppress(sqlite3.Error, SpoolUnreadableError):
            self._delete_acked()
        self._file.fold_log()
        self._reserve.hold()

    def _recovered(self) -> None:
        if self.failing and not self._pending:
            log.info("spool can be written again", extra=kv(path=self._path))
            self.failing = ""


def _up_to(size: int, rows: list[Entry]) -> list[Entry]:
    """As many from the start as have `size` bytes, but two at least."""
    chosen: list[Entry] = []
    for row in rows:
        size -= row.size
        if size < 0 and len(chosen) >= 2:
            break
        chosen.append(row)
    return chosen
