"""The spool: every batch on disk until the engine has acknowledged it (SQLite, WAL)."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from pms_edge.batch import Batch
from pms_edge.counters import Counters
from pms_edge.logs import kv
from pms_edge.spool_file import (
    LANES,
    Reserve,
    Row,
    SpoolFile,
    SpoolUnreadableError,
    open_or_replace,
)

log = logging.getLogger(__name__)

RETRY_S = 0.5
PENDING_BATCHES = 512
COMMIT_BATCHES = 64


class Entry(NamedTuple):
    """What memory keeps of a spooled batch."""

    seq: int
    size: int
    first_ns: int


class Span(NamedTuple):
    """Sequence numbers of a lane: `base` is the lowest not yet acked, `last` the highest given."""

    base: int
    last: int


class SpoolStats(NamedTuple):
    rows: int
    bytes: int
    oldest_ns: int | None


class Lane:
    def __init__(self, last: int, entries: Iterable[Entry]) -> None:
        self.last = last
        self.entries = deque(entries)
        self.deleted_to = self.entries[0].seq - 1 if self.entries else last

    @property
    def base(self) -> int:
        return self.entries[0].seq if self.entries else self.last + 1

    def drop_to(self, seq: int) -> list[Entry]:
        dropped: list[Entry] = []
        while self.entries and self.entries[0].seq <= seq:
            dropped.append(self.entries.popleft())
        return dropped


class Spool:
    """Keeps batches in order per lane. Any thread may call; commits happen on its own thread.

    `on_change` is called after each commit. A full disk delays commits: batches wait in memory up
    to a bound, then the oldest data is given up and counted. A file that cannot be read is put
    aside and a new epoch begins.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        sync: str = "full",
        counters: Counters,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._sync, self._max_bytes = path, sync, max_bytes
        self._counters, self.on_change = counters, on_change
        self._changed = threading.Condition()
        self._pending: deque[Batch] = deque()
        self._closing = False
        self.failing = ""
        self._group = COMMIT_BATCHES
        self._file = self._open()
        self._reserve = Reserve(path)
        self._reserve.hold()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> str:
        return self._file.epoch

    def keep(self, batch: Batch) -> None:
        """Queues `batch` for the next commit."""
        with self._changed:
            self._pending.append(batch)
            if len(self._pending) > PENDING_BATCHES:
                self._give_up_oldest()
            self._changed.notify_all()

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
                for entry in self._lanes[lane].drop_to(seq):
                    self._bytes -= entry.size
            self._changed.notify_all()

    def settled(self) -> bool:
        """Whether all that was kept so far is on disk."""
        with self._changed:
            return not self._pending

    def span(self, lane: str) -> Span:
        with self._changed:
            return Span(self._lanes[lane].base, self._lanes[lane].last)

    def read(self, lane: str, first: int, end: int) -> list[Row]:
        """Spooled batches of `lane` with first <= seq < end, in order."""
        try:
            return self._file.read(lane, first, end)
        except sqlite3.Error as error:
            self._counters.complain(log, "spool_read_failures", place=lane, error=error)
            return []

    def stats(self) -> SpoolStats:
        with self._changed:
            rows = sum(len(lane.entries) for lane in self._lanes.values())
            oldest = [lane.entries[0].first_ns for lane in self._lanes.values() if lane.entries]
            return SpoolStats(rows, self._bytes, min(oldest, default=None))

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

    def _open(self) -> SpoolFile:
        file, quarantined = open_or_replace(
            self._path, sync=self._sync, hard_bytes=2 * self._max_bytes
        )
        if quarantined:
            self._counters.add("spools_quarantined")
            log.error(
                "spool unreadable, new one begun", extra=kv(kept=quarantined, epoch=file.epoch)
            )
        self._lanes: dict[str, Lane] = {}
        for lane in LANES:
            entries = [Entry(*row) for row in file.entries(lane)]
            self._lanes[lane] = Lane(file.last(lane), entries)
        self._bytes = sum(e.size for lane in self._lanes.values() for e in lane.entries)
        self._renew = False
        return file

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._has_work())
                if self._closing and (self.failing or not self._has_work()):
                    return
            try:
                self._commit()
                self._recovered()
            except SpoolUnreadableError as error:
                log.error("spool became unreadable", extra=kv(error=error))
                self._file.close()
                with self._changed:
                    self._file = self._open()
            except sqlite3.Error as error:
                self._failed(error)
            self.on_change()

    def _has_work(self) -> bool:
        behind = any(lane.base - 1 > lane.deleted_to for lane in self._lanes.values())
        return bool(self._pending) or behind or self._renew

    def _commit(self) -> None:
        self._evict()
        self._delete_acked()
        if self._renew:
            self._new_epoch()
        with self._changed:
            batches = [self._pending[i] for i in range(min(self._group, len(self._pending)))]
        if not batches:
            return
        last = {name: lane.last for name, lane in self._lanes.items()}
        rows: list[Row] = []
        for batch in batches:
            last[batch.lane] += 1
            rows.append(Row(last[batch.lane], batch))
        self._file.insert(rows)
        with self._changed:
            for row in rows:
                self._added(row)
        self._group = min(2 * self._group, COMMIT_BATCHES)
        self._counters.add("batches_spooled", len(rows))

    def _added(self, row: Row) -> None:
        # keep() may have given up some of these meanwhile; they are on disk, so no loss.
        if self._pending and self._pending[0] is row.batch:
            self._pending.popleft()
        lane = self._lanes[row.batch.lane]
        lane.last = row.seq
        lane.entries.append(Entry(row.seq, row.size, row.batch.first_ns))
        self._bytes += row.size

    def _delete_acked(self) -> None:
        for name, lane in self._lanes.items():
            seq = lane.base - 1
            if seq > lane.deleted_to:
                self._file.delete(name, seq)
                lane.deleted_to = seq

    def _evict(self) -> None:
        """Over the cap the oldest data goes, never events; the jump of `base` tells the engine."""
        with self._changed:
            data, evicted = self._lanes["data"], 0
            coming = sum(len(batch.body) for batch in self._pending)
            while data.entries and self._bytes + coming > self._max_bytes:
                self._bytes -= data.entries.popleft().size
                evicted += 1
        if evicted:
            self._counters.complain(log, "spool_evictions", place=str(self._path))
            self._counters.add("batches_evicted", evicted)

    def _new_epoch(self) -> None:
        self._file.renew_epoch()
        old = self._file
        with self._changed:
            self._file = self._open()
        old.close()
        log.warning("new epoch: the engine knew more than this spool", extra=kv(epoch=self.epoch))

    def _failed(self, error: sqlite3.Error) -> None:
        self._counters.add("spool_write_failures")
        if not self.failing:
            log.error("spool cannot be written", extra=kv(error=error, path=self._path))
        self.failing = str(error)
        self._group = 1  # one batch may still fit where many do not
        self._free_on_full_disk()
        end = time.monotonic() + RETRY_S
        with self._changed:
            self._changed.wait_for(lambda: self._closing, max(0.0, end - time.monotonic()))

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

    def _give_up_oldest(self) -> None:
        oldest = next((b for b in self._pending if b.lane == "data"), self._pending[0])
        self._pending.remove(oldest)
        self._counters.add("batches_lost_before_spool")
        self._counters.add("samples_lost_before_spool", oldest.samples)
