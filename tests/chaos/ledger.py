"""Compares what the device served with what the engine stored."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.chaos import evil_device as device


class Served(NamedTuple):
    """One good reply of the device."""

    at_ns: int
    unit: int
    start: int
    count: int
    seq: int

    def points(self) -> list[int]:
        """The points whose registers all lie in the reply."""
        end = self.start + self.count
        found: list[int] = []
        for point in range(device.POINTS):
            first = device.address_of(self.unit, point)
            if self.start <= first and first + device.POINT_WORDS <= end:
                found.append(point)
        return found


class Sample(NamedTuple):
    """A stored value: which unit and point it is stored as, and the number itself."""

    unit: int
    point: int
    at_ns: int
    value: float


class Key(NamedTuple):
    unit: int
    point: int
    seq: int


@dataclass
class Verdict:
    """`lost`, `duplicated` and `wrong` must be empty; `in_flight` was served just before a kill."""

    served: int = 0
    stored: int = 0
    in_flight: list[Key] = field(default_factory=list[Key])
    lost: list[Key] = field(default_factory=list[Key])
    duplicated: list[Key] = field(default_factory=list[Key])
    wrong: list[Sample] = field(default_factory=list[Sample])
    oldest_in_flight_s: float = 0.0


def read_ledger(file: Path) -> tuple[list[Served], dict[str, int]]:
    """Good replies, and how often the device did what."""
    served: list[Served] = []
    did: dict[str, int] = defaultdict(int)
    for line in file.read_text().splitlines():
        at_ns, what, *numbers = line.split()
        did[what] += 1
        if what == "good":
            served.append(Served(int(at_ns), *map(int, numbers)))
    return served, dict(did)


def key_of(sample: Sample) -> Key | None:
    """What a value says of itself; None if it is stored where it does not belong, or marked as evil."""
    value = int(sample.value)
    unit, rest = divmod(value, device.UNIT)
    point, seq = divmod(rest, device.POINT)
    if value != sample.value or (unit, point) != (sample.unit, sample.point) or seq < 1:
        return None
    return Key(unit, point, seq)


class End(NamedTuple):
    """The end of one run of the agent: what it gave up to `window_s` before may be missing.

    `next_ns`: when the next run began; a reply before it belongs to the run that ended here.
    """

    at_ns: int
    next_ns: float
    window_s: float


def judge(served: Iterable[Served], stored: Iterable[Sample], ends: Sequence[End]) -> Verdict:
    """Every value of every good reply must be stored exactly once, under its own name.

    Excused is only the tail of what a point gave before an end: nothing later of the same run may be
    stored, and it may not be older than the window of that end.
    """
    verdict = Verdict()
    instants = _instants(verdict, stored)
    replies: dict[tuple[int, int], list[Served]] = defaultdict(list)
    for reply in served:
        for point in reply.points():
            replies[reply.unit, point].append(reply)
    known = {Key(*place, reply.seq) for place, given in replies.items() for reply in given}
    verdict.served = len(known)
    for key in instants.keys() - known:  # good by its looks, but never served
        verdict.wrong.append(Sample(key.unit, key.point, min(instants[key]), float(key.seq)))
    for place, given in replies.items():
        _judge_point(verdict, place, given, instants, sorted(ends))
    return verdict


def _instants(verdict: Verdict, stored: Iterable[Sample]) -> dict[Key, set[int]]:
    instants: dict[Key, set[int]] = defaultdict(set)
    for sample in stored:
        verdict.stored += 1
        key = key_of(sample)
        if key is None:
            verdict.wrong.append(sample)
            continue
        if instants[key]:
            verdict.duplicated.append(key)
        instants[key].add(sample.at_ns)
    return instants


def _judge_point(
    verdict: Verdict,
    place: tuple[int, int],
    given: list[Served],
    instants: dict[Key, set[int]],
    ends: Sequence[End],
) -> None:
    stored_later_in: End | None = None
    for reply in sorted(given, key=lambda r: r.seq, reverse=True):
        key = Key(*place, reply.seq)
        end = next((e for e in ends if reply.at_ns < e.next_ns), None)
        if key in instants:
            stored_later_in = end
            continue
        age_s = (end.at_ns - reply.at_ns) / 1e9 if end else 0.0
        if end is None or end is stored_later_in or age_s > end.window_s:
            verdict.lost.append(key)
        else:
            verdict.in_flight.append(key)
            verdict.oldest_in_flight_s = max(verdict.oldest_in_flight_s, age_s)
