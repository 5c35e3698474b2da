"""What everything that turns samples into samples must pass: detectors and derived points."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from pms_iot.telemetry.batch import Batch
from tests.unit.detection.fleet import rows

Row = tuple[int, int, float]


class Subject(Protocol):
    """A `Detector`, or whatever else keeps its promises."""

    def update(self, batch: Batch) -> Batch: ...
    def snapshot(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...


Build = Callable[[], Subject]


def cut(batch: Batch, places: Sequence[int]) -> list[Batch]:
    """Cut between reads: samples of one instant stay together."""
    edges = np.flatnonzero(np.diff(batch.at)) + 1
    chosen = sorted({int(edges[place % len(edges)]) for place in places})
    return [batch.take(part) for part in np.split(np.arange(len(batch)), chosen)]


def input_is_not_mutated(build: Build, data: Batch) -> None:
    before = [column.copy() for column in (data.series, data.at, data.value, data.quality)]
    build().update(data)
    for old, new in zip(before, (data.series, data.at, data.value, data.quality), strict=True):
        np.testing.assert_array_equal(old, new)


def bad_samples_are_masked(build: Build, data: Batch, whole: list[Row]) -> None:
    good = data.take(data.quality > 0)
    assert len(good) < len(data)
    assert rows(build().update(good)) == whole
    wild = Batch.of(data.series, data.at, np.where(data.quality > 0, data.value, 1e9), data.quality)
    assert rows(build().update(wild)) == whole


def any_cut_gives_the_same(
    build: Build, data: Batch, places: Sequence[int], whole: list[Row]
) -> None:
    subject = build()
    assert rows(Batch.concat([subject.update(part) for part in cut(data, places)])) == whole


def restore_and_replay_equal_an_uninterrupted_run(
    build: Build, data: Batch, place: int, whole: list[Row]
) -> None:
    first, *rest = cut(data, [place])
    straight = build()
    before = straight.update(first)
    saved = straight.snapshot()
    resumed = build()
    resumed.restore(saved)
    assert resumed.snapshot() == saved
    again = resumed.update(data)  # from the start: what it knows is dropped
    after = Batch.concat([straight.update(part) for part in rest])
    assert rows(again) == rows(after)
    assert resumed.snapshot() == straight.snapshot()
    assert rows(Batch.concat([before, again])) == whole


def duplicates_and_late_samples_are_dropped(build: Build, data: Batch, whole: list[Row]) -> None:
    subject = build()
    subject.update(data)
    saved = subject.snapshot()
    assert len(subject.update(data)) == 0
    assert subject.snapshot() == saved
    doubled = Batch.concat([data, data.take(np.arange(0, len(data), 7))])
    assert rows(build().update(doubled)) == whole
