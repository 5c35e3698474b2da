"""The block reads of one job, cut where the device refuses."""

from collections.abc import Sequence
from copy import copy
from functools import lru_cache

from pms_edge.decode.decoder import Decoder
from pms_edge.feed import DeviceFeed
from pms_edge.polling.planner import Block, Refusals, halves, plan
from pms_edge.profiles.profile import Point

REPROBE_S = 600.0


@lru_cache(1024)
def _made(block: Block) -> Decoder:
    return Decoder(block.points, start=block.start)


class BlockRead:
    """One block with its precompiled decoder and line template; `rtt_s` is its last round trip."""

    def __init__(self, block: Block, feed: DeviceFeed, *, probe: bool = False) -> None:
        self.block, self.probe = block, probe
        # One of its own, because it remembers the last values, of parts that are made once.
        self.decoder = copy(_made(block))
        self.names = [point.name for point in block.points]
        self.template = feed.template(block.points)
        self.refused = False
        self.rtt_s: float | None = None


class Reads:
    """What one job reads. Addresses that the device refuses are left out and tried again after 10 min.

    `known` is shared by the jobs of one profile: it saves a neighbour the search, never a point.
    Times are monotonic seconds, given by the caller.
    """

    def __init__(self, feed: DeviceFeed, points: Sequence[Point], known: Refusals) -> None:
        self._feed, self._points, self._known = feed, points, known
        self._bad: list[Block] = []
        self._plan_afresh()

    def begin(self, now_s: float) -> list[BlockRead]:
        """The reads of the poll that begins now."""
        if self._stale:
            self._plan_afresh()
        if now_s >= self._reprobe_s:
            self._current += [BlockRead(block, self._feed, probe=True) for block in self._bad]
            self._bad, self._reprobe_s = [], float("inf")
        return list(self._current)

    def cut(self, read: BlockRead) -> list[BlockRead]:
        """Smaller reads in place of one that was refused; none for a single address."""
        limits = self._feed.device.profile.limits
        smaller = plan(read.block.points, limits, self._known)
        if len(smaller) == 1:
            smaller = halves(read.block)
            if len(smaller) == 1:
                return []
            self._known.cuts.add((read.block.kind, smaller[1].start))
        reads = [BlockRead(block, self._feed) for block in smaller]
        place = self._current.index(read)
        self._current[place : place + 1] = reads
        return reads

    def leave_out(self, read: BlockRead, now_s: float) -> None:
        """A single address that does not exist: not read again before its time."""
        block = read.block
        self._current.remove(read)
        self._bad.append(block)
        self._known.bad.add((block.kind, block.start, block.end))
        self._reprobe_s = min(self._reprobe_s, now_s + REPROBE_S)
        self._stale = True

    def found(self, read: BlockRead) -> None:
        """A left-out address answers: the device has changed, so its plan starts anew."""
        read.probe = False
        self._known.bad.discard((read.block.kind, read.block.start, read.block.end))
        self._stale = True

    def _plan_afresh(self) -> None:
        # The cuts were made in search of what is now known.
        self._known.cuts.clear()
        bad = {point.name for block in self._bad for point in block.points}
        points = [point for point in self._points if point.name not in bad]
        blocks = plan(points, self._feed.device.profile.limits, self._known)
        self._current = [BlockRead(block, self._feed) for block in blocks]
        self._stale = False
        if not self._bad:
            self._reprobe_s = float("inf")


def smallest_first(reads: list[BlockRead]) -> list[BlockRead]:
    return sorted(reads, key=lambda read: read.block.count)
