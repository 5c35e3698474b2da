"""Counts of everything that went wrong or was given up, published with `health`."""

import logging
import threading
from typing import Any

from pms_edge.logs import kv


class Counters:
    """Named counts, safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._said: set[tuple[str, str]] = set()

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def get(self, name: str) -> int:
        with self._lock:
            return self._counts.get(name, 0)

    def all(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def complain(self, log: logging.Logger, name: str, /, *, place: str, **fields: Any) -> None:
        """Count `name`, and log it the first time that it happens at `place`."""
        self.add(name)
        with self._lock:
            first = (name, place) not in self._said
            self._said.add((name, place))
        if first:
            log.warning("bad input", extra=kv(kind=name, place=place, **fields))
