"""The newest samples: what is in the log of a file and not yet in its blocks, as columns in memory.

Every process that reads the file keeps one of its own and follows the log by the rows' numbers.
"""

import sqlite3
import struct
from collections import deque
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch

_COUNT = struct.Struct("<I")
_NEWER = "SELECT id, columns FROM log WHERE id > ? ORDER BY id"
_OLDEST = "SELECT min(id) FROM log"
Scalar = TypeVar("Scalar", bound="np.generic[Any]")
_KINDS = (np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f8"), np.dtype("u1"))


def as_row(batch: Batch) -> bytes:
    """A batch as one row of the log holds it: the columns as they are, there is no time to pack them."""
    columns = (batch.series, batch.at, batch.value, batch.quality)
    parts = (
        np.ascontiguousarray(column, kind).tobytes()
        for column, kind in zip(columns, _KINDS, strict=True)
    )
    return _COUNT.pack(len(batch)) + b"".join(parts)


def from_row(row: bytes) -> Batch:
    """The batch that `as_row` made a row of."""
    tail = Tail()
    tail.append(0, row)
    return tail.all()


class Tail:
    """Columns that grow at the end and shrink at the front. Not thread-safe: the store's lock guards it."""

    def __init__(self) -> None:
        self.last_row = 0  # number of the newest row seen
        self._rows: deque[tuple[int, int]] = deque()  # number, samples
        self._series = np.empty(0, np.int32)
        self._at = np.empty(0, np.int64)
        self._value = np.empty(0, np.float64)
        self._quality = np.empty(0, np.uint8)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def follow(self, db: sqlite3.Connection) -> None:
        """Brings the columns up to the log as this connection's transaction sees it."""
        for number, columns in db.execute(_NEWER, (self.last_row,)):
            self.append(number, columns)
        oldest = db.execute(_OLDEST).fetchone()[0]
        while self._rows and (oldest is None or self._rows[0][0] < oldest):
            self._start += self._rows.popleft()[1]

    def all(self) -> Batch:
        """Copies of all columns, in the order in which they were written."""
        return self._taken(slice(self._start, self._end))

    def of(self, series: int, start_ns: int, end_ns: int) -> Batch:
        """The samples of one series in a window, in the order in which they were written."""
        found = np.flatnonzero(self._series[self._start : self._end] == series) + self._start
        at = self._at[found]
        return self._taken(found[(at >= start_ns) & (at < end_ns)])

    def of_many(self, series: NDArray[np.int32], start_ns: int, end_ns: int) -> Batch:
        """As `of`, of several series."""
        held = slice(self._start, self._end)
        at = self._at[held]
        there = (at >= start_ns) & (at < end_ns) & np.isin(self._series[held], series)
        return self._taken(np.flatnonzero(there) + self._start)

    def _taken(self, index: "slice | NDArray[np.intp]") -> Batch:
        columns = (self._series, self._at, self._value, self._quality)
        return Batch.of(*(np.array(column[index]) for column in columns))

    def append(self, number: int, row: bytes) -> None:
        """The samples of one more row of the log."""
        (n,) = _COUNT.unpack_from(row)
        self._make_room(n)
        columns, offset = (self._series, self._at, self._value, self._quality), _COUNT.size
        for column, kind in zip(columns, _KINDS, strict=True):
            column[self._end : self._end + n] = np.frombuffer(row, kind, n, offset)
            offset += n * kind.itemsize
        self._end += n
        self._rows.append((number, n))
        self.last_row = number

    def _make_room(self, n: int) -> None:
        if self._end + n <= len(self._at):
            return
        # A third more than is held, so that moving costs each sample three copies on average.
        size = max(4096, 4 * (len(self) + n) // 3)
        held = slice(self._start, self._end)
        self._series = _moved(self._series[held], size)
        self._at = _moved(self._at[held], size)
        self._value = _moved(self._value[held], size)
        self._quality = _moved(self._quality[held], size)
        self._start, self._end = 0, len(self)


def _moved(column: NDArray[Scalar], size: int) -> NDArray[Scalar]:
    larger = np.empty(size, column.dtype)
    larger[: len(column)] = column
    return larger
