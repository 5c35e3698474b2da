"""SampleStore in one SQLite file. Several processes may read and write it.

A write appends one row to a log, whatever the number of series: that is all that stands between a sample
and its acknowledgement. Behind it the keeper moves the log into packed blocks of one series and six hours,
and rolls up the windows that are closed. Reading joins blocks and log.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from time import time_ns
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import blocks
from pms_iot.telemetry.embedded.blocks import Columns, columns_of, merged
from pms_iot.telemetry.embedded.file import StoreFile
from pms_iot.telemetry.embedded.keeper import Keeper
from pms_iot.telemetry.embedded.legacy import adopt_rows
from pms_iot.telemetry.embedded.summary import EMPTY, STEPS_NS, Summary
from pms_iot.telemetry.embedded.tail import Tail, as_row
from pms_iot.telemetry.store import Buckets, bucket_width

_AHEAD_NS = 300 * 10**9  # that a gateway's clock may be fast


class EmbeddedStore:
    """Counts `store_samples_written`, and what the file and the keeper count.

    `synchronous`: FULL survives a power cut, NORMAL only the end of the process, at a little less time
    per write. `now_ns` tells which windows are closed. `housekeeping`: a thread keeps the file in order;
    without it call `keeper.compact` and `keeper.finish`. `tell_finished`: `finished` names the windows that
    got new roll-ups.
    """

    def __init__(
        self,
        path: Path,
        counters: Counters | None = None,
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        now_ns: Callable[[], int] = time_ns,
        housekeeping: bool = True,
        tell_finished: bool = False,
    ) -> None:
        self._counters = counters or Counters()
        self._file = StoreFile(path, self._counters, synchronous)
        self._lock = threading.Lock()
        self._tail = Tail()
        self._tail_of = self._file.generation
        adopt_rows(self._file)
        self._made_ns = self._made(now_ns())
        self.keeper = Keeper(self._file, self.log, now_ns, self._counters, tell=tell_finished)
        if housekeeping:
            self.keeper.start()

    def write(self, batch: Batch) -> None:
        if not len(batch):
            return
        self.keeper.make_room(len(batch))
        finite = np.isfinite(batch.value)
        if not finite.all():
            value = np.where(finite, batch.value, np.nan)
            batch = Batch.of(batch.series, batch.at, value, batch.quality)
        generation = self._file.generation
        try:
            self._append(batch)
        except StoreUnavailableError:
            if self._file.generation == generation:
                raise
            self._append(batch)  # the file was damaged; this is a new one
        self._counters.add("store_samples_written", len(batch))

    def _append(self, batch: Batch) -> None:
        with self._file.writing() as db:
            db.execute("INSERT INTO log (columns) VALUES (?)", (as_row(batch),))

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        with self._file.reading() as db:
            with self._lock:
                newest = self._followed(db).of(series, start_ns, end_ns)
            columns = _read(db, series, start_ns, end_ns, newest)
        return _batch(series, columns)

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        asked = np.unique(np.asarray(series, np.int32))
        with self._file.reading() as db:
            with self._lock:
                newest = self._followed(db).of_many(asked, start_ns, end_ns)
            parts = [
                _batch(
                    number,
                    _read(db, number, start_ns, end_ns, newest.take(newest.series == number)),
                )
                for number in asked.tolist()
            ]
        return Batch.concat(parts).sorted_by_time()

    def latest(self, series: Sequence[int]) -> Batch:
        asked = np.unique(np.asarray(series, np.int32))
        with self._file.reading() as db:
            with self._lock:
                newest = self._followed(db).of_many(asked, -(2**63), 2**63 - 1)
            older = [_batch(number, blocks.newest(db, number)) for number in asked.tolist()]
        both = Batch.concat([*older, newest])
        order = np.lexsort(
            (both.at, both.series)
        )  # stable: of equal instants the last written is last
        both = both.take(order)
        return both.take(
            np.append(np.flatnonzero(np.diff(both.series)), len(both) - 1)[: len(both)]
        )

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        width = bucket_width(start_ns, end_ns, buckets)
        return self.in_buckets(series, start_ns, end_ns, width)

    def in_buckets(self, series: int, start_ns: int, end_ns: int, width_ns: int) -> Buckets:
        """As `downsample`, by the width of a bucket."""
        with self._file.reading() as db:
            with self._lock:
                newest = self._followed(db).of(series, start_ns, end_ns)
            step = next((step for step in reversed(STEPS_NS) if width_ns % step == 0), None)
            if step is None:
                summary = Summary.of(_read(db, series, start_ns, end_ns, newest))
            else:
                summary = _rolled_up(db, series, start_ns, end_ns, step, newest)
        return _buckets(summary.regrouped(width_ns), width_ns)

    def prune(self, before_ns: int, series: Sequence[int] | None = None) -> int:
        """Deletes raw samples of windows that end before `before_ns`, of these series or of all.

        Roll-ups stay. Returns how many samples.
        """
        return self.keeper.prune(before_ns, series)

    def prune_summaries(self, before_ns: int, steps_ns: Sequence[int] = STEPS_NS) -> None:
        """Deletes roll-ups of these widths of windows that end before `before_ns`."""
        for step_ns in steps_ns:
            self.keeper.prune_summaries(step_ns, before_ns)

    def since_ns(self) -> int:
        """From this instant on no sample can have been stored that is not, or was not, in this file."""
        return self._made_ns + _AHEAD_NS

    def finished(self, most: int) -> list[tuple[int, int, int]]:
        """Numbered notes of windows with new roll-ups, (number, series, window), oldest first."""
        with self._file.reading() as db:
            return db.execute("SELECT * FROM finished ORDER BY id LIMIT ?", (most,)).fetchall()

    def note_finished(self, series: NDArray[np.int32], windows: NDArray[np.int64]) -> None:
        """Notes windows whose roll-ups have to be made anew elsewhere."""
        places = np.unique(np.column_stack((series, windows)), axis=0).tolist()
        with self._file.writing() as db:
            db.executemany("INSERT INTO finished VALUES (NULL, ?, ?)", places)

    def forget_finished(self, numbers: Sequence[int]) -> None:
        """Deletes notes."""
        with self._file.writing() as db:
            db.executemany("DELETE FROM finished WHERE id = ?", [(n,) for n in numbers])

    def stats(self) -> dict[str, float]:
        """For who watches the store: samples not yet packed, bytes on disk."""
        with self.log() as (_, tail):
            waiting = len(tail)
        path = self._file.path
        files = (path, path.with_name(path.name + "-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return {"log_samples": waiting, "bytes": size}

    def local_since_ns(self) -> int:
        return 0

    def close(self) -> None:
        self.keeper.stop()
        self._file.close()

    def _made(self, now_ns: int) -> int:
        with self._file.writing() as db:
            made = db.execute("SELECT at FROM made").fetchone()
            if made is None:
                db.execute("INSERT INTO made VALUES (?)", (now_ns,))
        return now_ns if made is None else made[0]

    @contextmanager
    def log(self) -> Generator[tuple[StoreFile, Tail]]:
        """The file, and the log as it is now."""
        with self._file.reading() as db, self._lock:
            yield self._file, self._followed(db)

    def _followed(self, db: Connection) -> Tail:
        """The log as the transaction sees it; call with the lock, which makes transactions begin in turn."""
        if self._tail_of != self._file.generation:
            self._tail, self._tail_of = Tail(), self._file.generation
        self._tail.follow(db)
        return self._tail


def _read(db: Connection, series: int, start_ns: int, end_ns: int, newest: Batch) -> Columns:
    """Blocks and log of one series, in order of time."""
    if end_ns <= start_ns:
        return blocks.NOTHING
    parts = blocks.read(db, series, *blocks.windows_of(start_ns, end_ns))
    return blocks.between(merged([*parts, columns_of(newest)]), start_ns, end_ns)


def _rolled_up(
    db: Connection, series: int, start_ns: int, end_ns: int, step: int, newest: Batch
) -> Summary:
    """Roll-ups where they tell all; samples in open windows and where the window cuts an interval."""
    first, last = blocks.windows_of(start_ns, end_ns)
    rolled = blocks.summaries(db, series, step, first, last)
    exact = blocks.unfinished(db, series, first, last) | blocks.windows_at(newest.at)
    exact |= {first} if start_ns % step else set()
    exact |= {last} if end_ns % step else set()
    for window in exact:
        start, end = window * blocks.WINDOW_NS, (window + 1) * blocks.WINDOW_NS
        inside = newest.take((newest.at >= start) & (newest.at < end))
        found = Summary.of(
            _read(db, series, max(start, start_ns), min(end, end_ns), inside)
        ).regrouped(step)
        before = rolled.get(window, EMPTY)
        if not blocks.is_whole(db, series, window):  # its samples are gone, the roll-ups are not
            found = before.filled_from(found)
        rolled[window] = found
    parts = [rolled[window] for window in sorted(rolled)]
    # The first interval starts before the window if the window cuts it.
    start_ns -= start_ns % step
    return Summary.concat([EMPTY, *parts]).between(start_ns, end_ns)


def _batch(series: int, columns: Columns) -> Batch:
    return Batch.of(np.full(len(columns.at), series, np.int32), *columns)


def _buckets(summary: Summary, width_ns: int) -> Buckets:
    mean = summary.total / summary.count
    # Rounding must not put the mean of equal values outside of them.
    mean = np.clip(mean, summary.low, summary.high)
    return Buckets(
        summary.at, summary.low, summary.high, mean, summary.count, summary.quality, width_ns
    )
