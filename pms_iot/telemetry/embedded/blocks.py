"""Blocks of samples: what stands in the file behind the log, a series and a window of 6 h each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded.file import FINAL
from pms_iot.telemetry.embedded.packing import Columns, lay_down, pack, unpack
from pms_iot.telemetry.embedded.summary import (
    EMPTY,
    STEPS_NS,
    Summary,
    pack_summary,
    unpack_summary,
)

_SMALL = 400  # samples
_SORTED_AT_ONCE = 100_000  # samples
WINDOW_NS = 6 * 3600 * 10**9  # whole hours, so that every roll-up lies in one window
NOTHING = Columns(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))
_log = structlog.get_logger(__name__)
_BLOCKS = """
SELECT window, columns FROM block
WHERE series = ? AND window BETWEEN ? AND ? AND level <= 9 ORDER BY window, id
"""
_NEWEST = """
SELECT columns FROM block WHERE series = ? AND level <= 9
ORDER BY window DESC, last_at DESC, id DESC LIMIT 1
"""
_UNFINISHED = """
SELECT DISTINCT window FROM block WHERE series = ? AND level < 9 AND window BETWEEN ? AND ?
"""
_SUMMARIES = """
SELECT window, columns FROM summary WHERE series = ? AND step = ? AND window BETWEEN ? AND ?
"""
_HAS_SUMMARY = "SELECT 1 FROM summary WHERE series = ? AND step = ? AND window = ?"
_HAS_FINAL = "SELECT 1 FROM block WHERE series = ? AND window = ? AND level = ?"
_INSERT = """
INSERT INTO block (id, series, window, level, n, last_at, columns) VALUES (NULL, ?, ?, ?, ?, ?, ?)
"""
_INSERT_SUMMARY = "INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?)"


class Block(NamedTuple):
    """A row of the table, not yet stored."""

    series: int
    window: int
    level: int
    n: int
    last_at: int
    columns: bytes


def windows_of(start_ns: int, end_ns: int) -> tuple[int, int]:
    """The first and the last window that [start, end) touches."""
    return start_ns // WINDOW_NS, (end_ns - 1) // WINDOW_NS


def columns_of(batch: Batch) -> Columns:
    return Columns(batch.at, batch.value, batch.quality)


def merged(parts: Sequence[Columns]) -> Columns:
    """Parts from oldest to newest as one, in order of time; of equal instants the newest part's counts."""
    parts = [part for part in parts if len(part.at)]
    whole = parts[0] if len(parts) == 1 else Columns.concat([NOTHING, *parts])
    if (whole.at[1:] > whole.at[:-1]).all():
        return whole
    order = np.argsort(whole.at, kind="stable")
    at = whole.at[order]
    order = order[np.append(at[1:] != at[:-1], True)]
    return whole.take(order)


def between(columns: Columns, start_ns: int, end_ns: int) -> Columns:
    """The part with start <= at < end of columns that are in order of time."""
    first, last = np.searchsorted(columns.at, (start_ns, end_ns))
    return columns.take(slice(int(first), int(last)))


def read(db: Connection, series: int, first: int, last: int) -> list[Columns]:
    """The blocks of these windows, from oldest to newest in each."""
    found: list[Columns] = []
    for window, packed in db.execute(_BLOCKS, (series, first, last)):
        try:
            found.append(unpack(packed))
        except ValueError as problem:
            _log.error("block damaged", series=series, window=window, problem=str(problem))
    return found


def newest(db: Connection, series: int) -> Columns:
    """The newest sample of a series, as columns of one row or none."""
    row = db.execute(_NEWEST, (series,)).fetchone()
    if row is None:
        return NOTHING
    return unpack(row[0]).take(slice(-1, None))


def unfinished(db: Connection, series: int, first: int, last: int) -> set[int]:
    """The windows that have samples their roll-ups do not tell of yet."""
    return {row[0] for row in db.execute(_UNFINISHED, (series, first, last))}


def summaries(
    db: Connection, series: int, step_ns: int, first: int, last: int
) -> dict[int, Summary]:
    """The roll-ups of closed windows, by window."""
    rows = db.execute(_SUMMARIES, (series, step_ns, first, last))
    return {window: unpack_summary(columns) for window, columns in rows}


def cut(batch: Batch) -> Iterator[Block]:
    """Samples in order of writing, at least one, as blocks of level 0. Some of the series at a time:
    sorting all of them at once takes twice the memory of the samples."""
    shares = np.linspace(0, 1, len(batch) // _SORTED_AT_ONCE + 2)
    ends = np.unique(np.quantile(batch.series, shares, method="inverted_cdf")).tolist()
    for first, last in pairwise([ends[0] - 1, *ends]):
        yield from _cut(batch.take((batch.series > first) & (batch.series <= last)))


def _cut(batch: Batch) -> Iterator[Block]:
    batch = batch.last_of_each()
    series, at, value, quality = batch.series, batch.at, batch.value, batch.quality
    window = at // WINDOW_NS
    starts = np.flatnonzero((np.diff(series) != 0) | (np.diff(window) != 0)) + 1
    for i, j in pairwise([0, *starts.tolist(), len(batch)]):
        part = Columns(at[i:j], value[i:j], quality[i:j])
        yield block(int(series[i]), int(window[i]), 0, part)


def block(series: int, window: int, level: int, columns: Columns) -> Block:
    """`columns` in order of time. Small ones of level 0 are not packed: they are merged soon."""
    packed = lay_down(columns) if level == 0 and len(columns.at) < _SMALL else pack(columns)
    return Block(series, window, level, len(columns.at), int(columns.at[-1]), packed)


def insert(db: Connection, new: Iterable[Block]) -> None:
    db.executemany(_INSERT, new)


class Change(NamedTuple):
    """One block in the place of others, with new roll-ups: rows of (step, columns)."""

    old: Sequence[int]
    new: Block
    summaries: Sequence[tuple[int, bytes]]


def apply(db: Connection, change: Change, *, tell: bool) -> None:
    """`tell`: note a finished window, for whoever wants its roll-ups."""
    new = change.new
    db.executemany("DELETE FROM block WHERE id = ?", [(number,) for number in change.old])
    insert(db, [new])
    rows = [(new.series, step, new.window, columns) for step, columns in change.summaries]
    db.executemany(_INSERT_SUMMARY, rows)
    if tell and rows:
        db.execute("INSERT INTO finished VALUES (NULL, ?, ?)", (new.series, new.window))


def rolled_up(db: Connection, new: Block, columns: Columns) -> list[tuple[int, bytes]]:
    """The roll-ups of a closed window from its samples; what is told already of deleted ones stays."""
    whole, summary = is_whole(db, new.series, new.window), Summary.of(columns)
    found: list[tuple[int, bytes]] = []
    for step_ns in STEPS_NS:
        summary = summary.regrouped(step_ns)
        if not whole:
            before = summaries(db, new.series, step_ns, new.window, new.window)
            summary = before.get(new.window, EMPTY).filled_from(summary)
        if len(summary.at):
            found.append((step_ns, pack_summary(summary)))
    return found


def is_whole(db: Connection, series: int, window: int) -> bool:
    """Whether the file still has the samples that the roll-ups of a window were made from."""
    known = db.execute(_HAS_SUMMARY, (series, STEPS_NS[-1], window)).fetchone() is not None
    return not known or db.execute(_HAS_FINAL, (series, window, FINAL)).fetchone() is not None


def windows_at(at: NDArray[np.int64]) -> set[int]:
    """The windows of these instants."""
    return set(np.unique(at // WINDOW_NS).tolist())
