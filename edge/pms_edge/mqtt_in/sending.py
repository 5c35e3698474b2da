"""From the values of one message to lines, and when a value is too old to stand."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pms_edge.clock import NS
from pms_edge.counters import Counters
from pms_edge.decode.decoder import BAD, GOOD, Decoded, Raw
from pms_edge.feed import BlockTemplate, DeviceFeed
from pms_edge.profiles.points import Point

log = logging.getLogger(__name__)

# Monotonic; a step of the wall clock must not let everything expire at once.
Elapsed = Callable[[], int]

MAX_TEMPLATES = 64  # of a device that never sends the same points twice


class Reading(NamedTuple):
    """A point's value in engineering units (NaN when bad) with its quality."""

    point: Point
    value: Raw
    quality: int


class Sending:
    """What one MQTT device sends on, and its last values, each with its time of expiry."""

    def __init__(self, feed: DeviceFeed, counters: Counters, elapsed_ns: Elapsed) -> None:
        self.feed, self._counters, self._elapsed_ns = feed, counters, elapsed_ns
        self._templates: dict[tuple[str, ...], BlockTemplate] = {}
        self._filtered: dict[str, BlockTemplate] = {}
        self._deadlines: dict[str, int] = {}

    def send(self, readings: Sequence[Reading], at_ns: int, *, heard_ns: int) -> None:
        """One line per quality at `at_ns`; the device was heard at `heard_ns`."""
        if any(reading.quality != BAD for reading in readings):
            self.feed.health.good(heard_ns)
        together = [reading for reading in readings if reading.point.deadband is None]
        if together:
            self._feed(together, self._template([r.point for r in together]), at_ns)
        for reading in readings:
            if reading.point.deadband is not None:
                self._feed([reading], self._own_template(reading.point), at_ns)

    def _feed(self, readings: Sequence[Reading], template: BlockTemplate, at_ns: int) -> None:
        qualities = [reading.quality for reading in readings]
        good = all(quality == GOOD for quality in qualities)
        decoded = Decoded([r.value for r in readings], None if good else qualities)
        self.feed.send([r.point for r in readings], template, decoded, at_ns)

    def watch(self, names: Iterable[str], expire_s: float | None, *, age_ns: int = 0) -> None:
        """The points, `age_ns` old, stand for `expire_s`; for ever when None."""
        if expire_s is not None:
            deadline = self._elapsed_ns() - age_ns + round(expire_s * NS)
            self._deadlines |= dict.fromkeys(names, deadline)

    def mark_bad(self, names: Sequence[str], at_ns: int, why: str) -> None:
        """The points are not known any more; a later value makes them good again."""
        for name in names:
            self._deadlines.pop(name, None)
        self.feed.health.failed(f"{why} {' '.join(names)}")
        self.feed.send_bad(names, at_ns)
        self._counters.add(f"mqtt_{why}", len(names))

    def expire(self, now_ns: int) -> None:
        """Marks bad, once, what was not heard for too long."""
        elapsed = self._elapsed_ns()
        late = [name for name, deadline in self._deadlines.items() if deadline <= elapsed]
        if late:
            self.mark_bad(late, now_ns, "expired")

    def wrong(self, place: str, kind: str, detail: str) -> None:
        self.feed.health.failed(f"{kind} {detail}".strip())
        self._counters.complain(log, f"mqtt_{kind}", place=place, detail=detail)

    def _own_template(self, point: Point) -> BlockTemplate:
        """A deadband remembers what was sent last: one for each point, in whatever message it is."""
        if point.name not in self._filtered:
            self._filtered[point.name] = self.feed.template([point])
        return self._filtered[point.name]

    def _template(self, points: Sequence[Point]) -> BlockTemplate:
        names = tuple(point.name for point in points)
        if names not in self._templates:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[names] = self.feed.template(points)
        return self._templates[names]
