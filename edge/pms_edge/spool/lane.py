"""What memory keeps of a lane of the spool: where its rows lie, and how far it is acknowledged."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from pms_edge.spool.gap import Gap


class Entry(NamedTuple):
    """One row of the file: a batch, several packed together, or a gap record.

    It covers the sequence numbers first..last; a gap record has only the last of those it stands for.
    """

    first: int
    last: int
    size: int
    samples: int
    first_ns: int
    last_ns: int
    packed: bool = False
    gap: Gap | None = None

    @property
    def plain(self) -> bool:
        return not self.packed and self.gap is None


class Span(NamedTuple):
    """Sequence numbers of a lane: `base` is the lowest not yet acked, `last` the highest given.

    `acked` is the highest that the engine acknowledged; below base - 1 when some were evicted since.
    """

    base: int
    last: int
    acked: int


class Lane:
    """Rows in the order of their numbers. Not safe to use from several threads by itself."""

    def __init__(self, last: int, entries: Iterable[Entry]) -> None:
        self.last = last
        self.entries = list(entries)
        self.acked = self.freed = self.entries[0].first - 1 if self.entries else last

    def span(self) -> Span:
        base = max(self.entries[0].first, self.acked + 1) if self.entries else self.last + 1
        return Span(base, self.last, self.acked)

    @property
    def free_to(self) -> int:
        """Rows up to here may be deleted; a packed one only when all of it is acked."""
        return self.entries[0].first - 1 if self.entries else self.last

    @property
    def waiting(self) -> int:
        """Batches not yet acked; a gap record counts as one."""
        if not self.entries:
            return 0
        acked_of_first = max(0, self.acked - self.entries[0].first + 1)
        return sum(e.last - e.first + 1 for e in self.entries) - acked_of_first

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.last = entry.last

    def ack(self, seq: int) -> int:
        """Frees everything up to `seq`; the bytes of the rows that this frees entirely."""
        self.acked = max(self.acked, seq)
        end = bisect_right(self.entries, seq, key=_last)
        freed = sum(entry.size for entry in self.entries[:end])
        del self.entries[:end]
        return freed

    def replace(self, first: int, entry: Entry) -> int:
        """Puts `entry` where the rows from `first` to its last are; by how much the bytes grow.

        Those acked meanwhile are gone, and stay so.
        """
        if entry.last <= self.acked:
            return 0
        start = bisect_left(self.entries, first, key=_last)
        end = bisect_right(self.entries, entry.last, key=_last)
        before = sum(e.size for e in self.entries[start:end])
        self.entries[start:end] = [entry]
        return entry.size - before

    def tail(self) -> list[Entry]:
        """The plain rows at the end, in order."""
        return list(takewhile(lambda entry: entry.plain, reversed(self.entries)))[::-1]

    def oldest(self, size: int) -> tuple[Entry | None, list[Entry]]:
        """The oldest rows with neighbours of at least `size` bytes, and the record just before them."""
        start = next((i for i, e in enumerate(self.entries) if e.gap is None), len(self.entries))
        chosen: list[Entry] = []
        for entry in self.entries[start:]:
            if size <= 0 or entry.gap is not None:
                break
            chosen.append(entry)
            size -= entry.size
        return (self.entries[start - 1] if start else None), chosen


def _last(entry: Entry) -> int:
    return entry.last
