"""Reads what was asked: buckets by way of the closed windows, raw samples under a cap."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pms_iot.assets.catalog import SeriesCatalog, SeriesInfo
from pms_iot.telemetry.batch import GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.store import SampleStore
from pms_iot.web.history.ask import Grid, Quality
from pms_iot.web.history.closed import ClosedWindows, Part, closed_until
from pms_iot.web.problems import ProblemError

MAX_RAW = 1_000_000  # samples of one request
_FIRST_SLICE_NS = 3600 * 10**9
_FEW, _MANY = 20_000, 100_000  # samples of one read of the store
_LOWEST = {"all": 0, "not_bad": UNCERTAIN, "good": GOOD}


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """The store as of one instant. raw_from_ns: how far back raw samples go; None if not known."""

    store: SampleStore
    catalog: SeriesCatalog
    closed: ClosedWindows
    now_ns: int
    raw_from_ns: int | None = None

    def part(self, info: SeriesInfo, grid: Grid, quality: Quality) -> Part:
        """The buckets of a series that hold samples. Raises ProblemError where quality needs raw samples
        that are too many or gone."""
        if quality != "all":
            self._refuse_without_raw(info, grid)
        middle = min(max(closed_until(self.now_ns, grid.width_ns), grid.start_ns), grid.end_ns)
        over = Grid(grid.start_ns, middle, grid.width_ns)
        open_ = Grid(middle, grid.end_ns, grid.width_ns)
        parts: list[Part] = []
        if over.buckets:
            key = (info.id, over, quality)
            read = self._reading(info, over, quality)
            parts.append(self.closed.read(key, self._changed_by(info), middle, self.now_ns, read))
        if open_.buckets:
            parts.append(self._reading(info, open_, quality)())
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _changed_by(self, info: SeriesInfo) -> list[int]:
        """A late sample also changes what a detector makes of it."""
        base = self.catalog.lookup(info.asset, info.point.split(".", maxsplit=1)[0])
        return [info.id] if base is None or not info.derived else [info.id, base]

    def _reading(self, info: SeriesInfo, grid: Grid, quality: Quality) -> Callable[[], Part]:
        if quality == "all":
            return lambda: self._downsampled(info.id, grid)
        return lambda: reduced(self.raw([info.id], grid.start_ns, grid.end_ns, quality), grid)

    def _downsampled(self, series: int, grid: Grid) -> Part:
        found = self.store.downsample(series, grid.start_ns, grid.end_ns, grid.buckets)
        return Part(found.at, found.low, found.high, found.mean, found.count)

    def _refuse_without_raw(self, info: SeriesInfo, grid: Grid) -> None:
        what = "quality is told from raw samples"
        expected = (grid.end_ns - grid.start_ns) / 1e9 / info.period_s if info.period_s else 0
        if expected > MAX_RAW:
            detail = (
                f"{what}, of which this window has about {expected:,.0f}; the most is {MAX_RAW:,}"
            )
            raise ProblemError(422, detail, "quality", limit=MAX_RAW)
        if self.raw_from_ns is not None and grid.start_ns + grid.width_ns <= self.raw_from_ns:
            from_ms = self.raw_from_ns // 1_000_000
            detail = f"{what}, which are kept from {from_ms} ms on"
            raise ProblemError(422, detail, "quality", raw_from=from_ms)

    def raw(self, series: Sequence[int], start_ns: int, end_ns: int, quality: Quality) -> Batch:
        """Samples in order of time, then series. Raises ProblemError (413) if they are more than MAX_RAW."""
        parts: list[Batch] = []
        found = 0
        for batch in self._slices(series, start_ns, end_ns):
            if quality != "all":
                batch = batch.take(batch.quality >= _LOWEST[quality])
            found += len(batch)
            parts.append(batch)
            if found > MAX_RAW:
                raise _too_many(Batch.concat(parts))
        return Batch.concat(parts)

    def _slices(self, series: Sequence[int], start_ns: int, end_ns: int) -> Iterator[Batch]:
        """The window piece by piece, so that a long one does not fill the memory before it is refused."""
        step = _FIRST_SLICE_NS
        while start_ns < end_ns:
            stop = min(start_ns + step, end_ns)
            batch = self.store.read_many(series, start_ns, stop)
            yield batch
            start_ns = stop
            if len(batch) < _FEW:
                step *= 4
            elif len(batch) > _MANY:
                step = max(step // 2, 10**9)


def _too_many(batch: Batch) -> ProblemError:
    """Tells up to where the samples are few enough, to go on from there."""
    until_ms = int(batch.at[MAX_RAW]) // 1_000_000
    detail = (
        f"more than {MAX_RAW:,} samples: ask with end={until_ms}, then with start={until_ms}, "
        "and so on; or for fewer points, or for buckets"
    )
    return ProblemError(413, detail, "end", limit=MAX_RAW, end_that_fits=until_ms)


def reduced(batch: Batch, grid: Grid) -> Part:
    """Samples of one series, in order of time, as the buckets that hold any that are not missing."""
    finite = np.isfinite(batch.value)
    at, value = batch.at[finite], batch.value[finite]
    bucket = (at - grid.start_ns) // grid.width_ns
    first = np.flatnonzero(np.diff(bucket, prepend=-1)) if len(bucket) else np.empty(0, np.intp)
    count = np.diff(np.append(first, len(bucket)))
    if not len(first):
        return Part(*(np.empty(0, dtype) for dtype in (np.int64, *(float,) * 3, np.int64)))  # fmt: skip
    return Part(
        grid.start_ns + bucket[first] * grid.width_ns,
        np.minimum.reduceat(value, first),
        np.maximum.reduceat(value, first),
        np.add.reduceat(value, first) / count,
        count,
    )


def _joined(parts: Sequence[Part]) -> Part:
    names = Part.__slots__
    return Part(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
