"""Batches: what is spooled and published as one message."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from pms_edge.line import Line, uncertain
from pms_edge.uplink.encoding import Encoding, encode

MAX_BATCH_SAMPLES = 5000


class Batch(NamedTuple):
    """Lines of one lane (`data` or `event`); `first_ns` and `last_ns` bound their instants."""

    lane: str
    body: bytes
    samples: int
    first_ns: int
    last_ns: int


def batch_of(lane: str, lines: list[Line]) -> Batch:
    instants = [line.at_ns for line in lines]
    body = "".join(line.text for line in lines).encode()
    return Batch(lane, body, sum(line.samples for line in lines), min(instants), max(instants))


def payload(
    batch: Batch, *, gateway: str, epoch: str, seq: int, base: int, encoding: Encoding = "none"
) -> bytes:
    """Wire v1 message: header line, then the lines. `base` is the lowest seq not yet acked."""
    head = f"#pms1 gw={gateway} epoch={epoch} seq={seq} n={batch.samples} base={base}"
    if encoding != "none":
        head += f" encoding={encoding}"
    return f"{head}\n".encode() + encode(batch.body, encoding)


class Batcher:
    """Gathers lines until the next flush; events are handed on at once. Any thread may add.

    An event takes the data gathered so far along: the engine judges it among the other values of
    its instant, which stand in the data. While `uncertain_time`, no sample counts as good.
    """

    def __init__(self, keep: Callable[[Batch], None]) -> None:
        self._keep = keep
        self.uncertain_time = False
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._samples = 0

    def add(self, line: Line) -> None:
        if self.uncertain_time:
            line = uncertain(line)
        with self._lock:
            self._lines.append(line)
            self._samples += line.samples
            full = self._samples >= MAX_BATCH_SAMPLES
        if full:
            self.flush()

    def add_event(self, line: Line) -> None:
        self.flush()
        self._keep(batch_of("event", [uncertain(line) if self.uncertain_time else line]))

    def flush(self) -> None:
        with self._lock:
            lines, self._lines, self._samples = self._lines, [], 0
            if lines:
                self._keep(batch_of("data", lines))
