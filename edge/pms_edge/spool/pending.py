"""Batches on their way to the spool; when the disk does not take them, as many as memory allows."""

from collections import deque
from itertools import islice

from pms_edge.batch import Batch
from pms_edge.spool.file import stored_bytes
from pms_edge.spool.gap import Gap

PENDING_BATCHES = 512


class Pending:
    """First in, first out. Over PENDING_BATCHES one is given up; a gap record takes its place.

    Not safe to use from several threads by itself.
    """

    def __init__(self) -> None:
        self._items: deque[Batch | Gap] = deque()
        self._in_commit = 0  # so many of the first are being written

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes(self) -> int:
        return sum(stored_bytes(len(item.body)) for item in self._items if isinstance(item, Batch))

    def add(self, batch: Batch) -> Batch | None:
        """Returns the batch that is given up for it, if any."""
        self._items.append(batch)
        return self._give_up_oldest() if len(self._items) > PENDING_BATCHES else None

    def begin(self, count: int) -> list[Batch | Gap]:
        """The first ones, which stay until `done`."""
        items = list(islice(self._items, count))
        self._in_commit = len(items)
        return items

    def done(self, *, written: bool) -> None:
        for _ in range(self._in_commit if written else 0):
            self._items.popleft()
        self._in_commit = 0

    def _give_up_oldest(self) -> Batch | None:
        """Of what is not being written: data before events."""
        waiting = range(self._in_commit, len(self._items))
        batches = [i for i in waiting if isinstance(self._items[i], Batch)]
        if len(batches) + self._in_commit <= PENDING_BATCHES:
            return None
        place = next((i for i in batches if self._items[i].lane == "data"), batches[0])
        oldest = self._items[place]
        assert isinstance(oldest, Batch)
        self._leave_gap(place, oldest)
        return oldest

    def _leave_gap(self, place: int, lost: Batch) -> None:
        gap = Gap(lost.lane, "disk_full", lost.samples, lost.first_ns, lost.last_ns)
        for i in range(place - 1, self._in_commit - 1, -1):
            known = self._items[i]
            if known.lane == lost.lane:
                assert isinstance(known, Gap)  # what was before the oldest was given up, too
                self._items[i] = known.and_then(gap)
                del self._items[place]
                return
        self._items[place] = gap
