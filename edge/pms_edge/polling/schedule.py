"""When each job is due: earliest deadline first on a grid that neither drifts nor piles up."""

import heapq
import zlib
from collections.abc import Iterable
from itertools import count
from typing import Generic, TypeVar

from pms_edge.clock import NS


class Slot:
    """A job's instants `k * period + phase` on a clock that never steps."""

    def __init__(self, name: str, period_s: float) -> None:
        self._period_ns = max(1, round(period_s * NS))
        # Spread, but the same after every restart.
        self._phase_ns = zlib.crc32(name.encode()) * 7919 % self._period_ns
        self.due_ns = 0

    @property
    def deadline_ns(self) -> int:
        return self.due_ns + self._period_ns

    def first_due(self, now_ns: int) -> None:
        self.due_ns = self._next_on_grid(now_ns)

    def advance(self, now_ns: int) -> int:
        """To the next instant of the grid after now; returns how many were missed.

        What was done a little early is done.
        """
        due_ns = self._next_on_grid(max(now_ns, self.due_ns))
        missed = (due_ns - self.due_ns) // self._period_ns - 1
        self.due_ns = due_ns
        return max(0, missed)

    def _next_on_grid(self, now_ns: int) -> int:
        return now_ns - (now_ns - self._phase_ns) % self._period_ns + self._period_ns


S = TypeVar("S", bound=Slot)


class Schedule(Generic[S]):
    """Slots not yet due, by the instant of their release; slots due, by their deadline."""

    def __init__(self, slots: Iterable[S]) -> None:
        self._tie = count()
        self._waiting: list[tuple[int, int, S]] = []
        self._due: list[tuple[int, int, S]] = []
        for slot in slots:
            self.release_at(slot, slot.due_ns)

    def release_at(self, slot: S, at_ns: int) -> None:
        """`slot` is not given out before `at_ns`; its deadline stays."""
        heapq.heappush(self._waiting, (at_ns, next(self._tie), slot))

    def take(self, now_ns: int) -> S | None:
        """Of the slots released by now the one with the earliest deadline; None if there is none."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            slot = heapq.heappop(self._waiting)[2]
            heapq.heappush(self._due, (slot.deadline_ns, next(self._tie), slot))
        return heapq.heappop(self._due)[2] if self._due else None

    def next_release_ns(self) -> int:
        """When there will be something to take, while nothing is due now."""
        return self._waiting[0][0]
