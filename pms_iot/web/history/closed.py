"""Windows that are over: read once, kept until a late sample changes them.

A window is closed when it ended LATE_S ago. What is committed into it later by this engine makes
its series' windows be read anew; what another process writes (an import) shows when the entry is
KEPT_S old at the latest.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch

LATE_S = 900.0  # gateways read once a minute or oftener; what comes later is an outage's backlog
KEPT_S = 300.0
MAX_BYTES = 64 * 2**20
_OVERHEAD = 512  # bytes of an entry beside its arrays
_EARLIEST = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Part:
    """Some buckets of a series. at: int64 ns, start of the bucket; values float64; count int64."""

    at: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class _Entry:
    part: Part
    generation: int
    made_ns: int


class ClosedWindows:
    """Parts of closed windows, the least used of them dropped first; safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0
        # The end of the latest window that was taken for closed: samples before it are late.
        self._closed_ns = int(_EARLIEST)
        self._generation = self._floor = 0
        self._changed: NDArray[np.int64] = np.zeros(0, np.int64)  # by series
        self.hits = self.misses = 0

    @property
    def nbytes(self) -> int:
        return self._bytes

    def stored(self, batch: Batch) -> None:
        """Samples were committed. Any thread; costs one comparison unless some of them are late."""
        if not len(batch) or int(batch.at.min()) >= self._closed_ns:
            return
        with self._lock:
            late = batch.series[batch.at < self._closed_ns]
            self._make_room(int(late.max()))
            self._generation += 1
            self._changed[late] = self._generation

    def forget(self) -> None:
        """Drops everything: for whoever writes history past the pipeline."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0
            self._generation += 1
            self._floor = self._generation

    def read(
        self,
        key: Hashable,
        series: Sequence[int],
        end_ns: int,
        now_ns: int,
        make: Callable[[], Part],
    ) -> Part:
        """The part of this key, from memory or by `make`. series: whose late samples change it.

        The caller has seen to it that the window is closed (`closed_until`).
        """
        with self._lock:
            # Before the store is read: what is committed after that finds the boundary moved.
            self._closed_ns = max(self._closed_ns, end_ns)
            generation = self._generation_of(series)
            entry = self._entries.get(key)
            if entry is not None and self._is_good(entry, generation, now_ns):
                self._entries.move_to_end(key)
                self.hits += 1
                return entry.part
            self.misses += 1
        part = make()
        self._keep(key, _Entry(part, generation, now_ns))
        return part

    def _is_good(self, entry: _Entry, generation: int, now_ns: int) -> bool:
        return entry.generation == generation and 0 <= now_ns - entry.made_ns < KEPT_S * 1e9

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            self._drop(self._entries.pop(key, None))
            self._entries[key] = entry
            self._bytes += entry.part.nbytes + _OVERHEAD
            while self._bytes > self._max_bytes:
                self._drop(self._entries.popitem(last=False)[1])

    def _drop(self, entry: _Entry | None) -> None:
        if entry is not None:
            self._bytes -= entry.part.nbytes + _OVERHEAD

    def _generation_of(self, series: Sequence[int]) -> int:
        known = [number for number in series if number < len(self._changed)]
        return max(self._floor, *(int(self._changed[number]) for number in known), 0)

    def _make_room(self, series: int) -> None:
        if series >= len(self._changed):
            grown = np.zeros(max(1024, 2 * series + 1), np.int64)
            grown[: len(self._changed)] = self._changed
            self._changed = grown


def closed_until(now_ns: int, width_ns: int) -> int:
    """The last multiple of the width up to which windows are closed, Unix ns."""
    return (now_ns - int(LATE_S * 1e9)) // width_ns * width_ns
