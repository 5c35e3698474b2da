"""The work of an export or a copy: chunks of a day and some assets, in an order that never changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.naming import Register

DAY_NS = 86_400 * 10**9
GROUP_SERIES = 64  # series of a chunk, more only where one asset has more
SLICE_SAMPLES = 50_000  # aimed at in one read, so that memory does not depend on the history
_EARLIEST_NS = -(2**62)
_NARROWEST_NS = DAY_NS // 2**14  # about 5 s


@dataclass(frozen=True, slots=True)
class Group:
    """Series that are read together, in order of their names; all their samples are in [start, end)."""

    series: tuple[int, ...]
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A day of a group, cut to its window. `day`: days since 1970, UTC."""

    day: int
    group: int
    series: tuple[int, ...]
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All chunks, by day, then by group."""

    groups: Sequence[Group]

    def chunks(self) -> list[Chunk]:
        windows = [(group.start_ns, group.end_ns) for group in self.groups]
        if not windows:
            return []
        first, last = min(start for start, _ in windows), max(end for _, end in windows)
        days = range(first // DAY_NS, (last - 1) // DAY_NS + 1)
        return [
            Chunk(day, number, group.series, start, end)
            for day in days
            for number, group in enumerate(self.groups)
            for start in [max(day * DAY_NS, group.start_ns)]
            for end in [min((day + 1) * DAY_NS, group.end_ns)]
            if start < end
        ]

    def to_json(self, register: Register) -> list[Any]:
        """By name: numbers of series mean nothing to another register."""
        return [[group.start_ns, group.end_ns, _names(register, group)] for group in self.groups]

    @classmethod
    def from_json(cls, saved: list[Any], register: Register) -> "Plan":
        """Raises TransferError for a point that the register has no more."""
        return cls([Group(_series(register, names), start, end) for start, end, names in saved])


def _names(register: Register, group: Group) -> list[list[str]]:
    return [[info.asset, info.point] for info in map(register.info, group.series)]


def _series(register: Register, names: list[list[str]]) -> tuple[int, ...]:
    found: list[int] = []
    for asset, point in names:
        series = register.lookup(asset, point)
        if series is None:
            raise TransferError(f"{asset} {point}", "gone from the register since the beginning")
        found.append(series)
    return tuple(found)


def make_plan(
    store: SampleStore, infos: Sequence[SeriesInfo], start_ns: int | None, end_ns: int | None
) -> Plan:
    """Chunks of everything that these series have in the window; an open end is that of the present samples."""
    groups: list[Group] = []
    for members in _grouped(infos):
        series = [info.id for info in members]
        newest = store.latest(series)
        if not len(newest):
            continue
        end = int(newest.at.max()) + 1 if end_ns is None else end_ns
        end = min(end, int(newest.at.max()) + 1)
        start = _first(store, newest, _EARLIEST_NS if start_ns is None else start_ns, end)
        if start is not None:
            groups.append(Group(tuple(i for i in series if i in newest.series), start, end))
    return Plan(groups)


def _grouped(infos: Sequence[SeriesInfo]) -> Iterator[list[SeriesInfo]]:
    group: list[SeriesInfo] = []
    for info in infos:
        if len(group) >= GROUP_SERIES and info.asset_id != group[-1].asset_id:
            yield group
            group = []
        group.append(info)
    if group:
        yield group


def _first(store: SampleStore, newest: Batch, start_ns: int, end_ns: int) -> int | None:
    """No later than the oldest sample of [start, end); None if there is none.

    Buckets count values only, so what lies before the first of them is read for missing samples.
    """
    first_day, end_day = max(start_ns, 0) // DAY_NS, -(-end_ns // DAY_NS)
    found: list[int] = []
    for series in newest.series.tolist() if start_ns < end_ns else ():
        valued = end_ns
        if first_day < end_day:
            window = first_day * DAY_NS, end_day * DAY_NS, end_day - first_day
            buckets = store.downsample(series, *window).at
            valued = min(end_ns, max(start_ns, int(buckets[0]))) if len(buckets) else end_ns
        earlier = store.read(series, start_ns, valued).at
        found += [int(earlier[0])] if len(earlier) else [valued] if valued < end_ns else []
    return min(found, default=None)


class SliceReader:
    """Reads chunks in slices of about SLICE_SAMPLES, whatever the rate of the samples is."""

    def __init__(self, store: SampleStore, slice_samples: int = SLICE_SAMPLES) -> None:
        self._store = store
        self._aim = slice_samples
        self._width = DAY_NS // 16

    def slices(self, chunk: Chunk) -> Iterator[tuple[int, int, Batch]]:
        """(start, end, samples) of consecutive windows that make up the chunk; empty ones too."""
        at = chunk.day * DAY_NS
        while at < chunk.end_ns:
            width = self._width
            while at % width:  # a slice begins at a multiple of its width
                width //= 2
            start, end = max(at, chunk.start_ns), min(at + width, chunk.end_ns)
            at += width
            if start >= end:
                continue
            batch = self._store.read_many(chunk.series, start, end)
            self._adapt(len(batch))
            yield start, end, batch

    def _adapt(self, samples: int) -> None:
        if samples > self._aim:
            self._width = max(self._width // 2, _NARROWEST_NS)
        elif samples < self._aim // 4:
            self._width = min(self._width * 2, DAY_NS)


def by_fifty_thousand(batch: Batch) -> Iterator[Batch]:
    """In parts that hold up other writers of the store by less than half a second."""
    for start in range(0, len(batch), 50_000):
        yield batch.take(np.arange(start, min(start + 50_000, len(batch))))
