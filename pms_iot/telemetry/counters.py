"""Counts of what happened on the way of the samples, for whoever shows them."""

import threading
from collections import Counter
from collections.abc import Mapping


class Counters:
    """Named whole numbers that only grow; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] += count

    def add_all(self, counts: Mapping[str, int], *, prefix: str = "") -> None:
        """Adds each count under `prefix` + its name."""
        for name, count in counts.items():
            self.add(prefix + name, count)

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """All counts of one moment, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
