"""Report by exception: which values of a block are worth sending."""

from collections.abc import Sequence
from typing import NamedTuple

from pms_edge.decode.meaning import BAD, GOOD, Raw
from pms_edge.profiles.points import Point

NS = 1_000_000_000


class Sent(NamedTuple):
    """What was last sent of a point."""

    quality: int
    value: Raw
    at_ns: int


class Deadband:
    """Holds back the values of one block that say nothing new.

    A point without a deadband always passes. Of one with a deadband, passes: the first value, a
    change of quality, a value further than the deadband from the last one that passed, and the
    first after `heartbeat` since then (or when the clock has gone back). `sent` is the device's,
    by point name; forgetting a point there makes its next value pass.
    """

    def __init__(self, points: Sequence[Point], sent: dict[str, Sent]) -> None:
        self._rules = [(p.name, p.deadband, round(p.heartbeat_s * NS)) for p in points]
        self._sent = sent

    def passing(
        self, values: Sequence[Raw], qualities: Sequence[int] | None, at_ns: int
    ) -> list[int]:
        """Indexes of the points to send, which count as sent."""
        passed: list[int] = []
        for i, (name, deadband, heartbeat_ns) in enumerate(self._rules):
            if deadband is None:
                passed.append(i)
                continue
            quality, value = qualities[i] if qualities else GOOD, values[i]
            last = self._sent.get(name)
            if last is not None and quality == last.quality:
                still = quality == BAD or abs(value - last.value) <= deadband
                if still and 0 <= at_ns - last.at_ns < heartbeat_ns:
                    continue
            self._sent[name] = Sent(quality, value, at_ns)
            passed.append(i)
        return passed
