"""How much of what a point should have said is stored, for whoever computes something from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.ledger.books import HOUR_NS
from pms_iot.telemetry.store import SampleStore


class Catalog(Protocol):
    """What is needed of the register; `assets.catalog.SeriesCatalog` has it."""

    def info(self, series: int) -> SeriesInfo: ...


@dataclass(frozen=True, slots=True)
class Completeness:
    """Samples with a value: how many were expected and how many are stored, over a window.

    `counted` is `stored` with each hour capped at what it was to bring: a surplus, as of events or of a
    gateway that reads faster than declared, makes up for no gap in another hour.
    """

    expected: float
    stored: int
    counted: float

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where nothing was expected."""
        return self.counted / self.expected if self.expected > 0 else None


def completeness(
    store: SampleStore, catalog: Catalog, series: int, start_ns: int, end_ns: int
) -> Completeness:
    """Of one series over [start_ns, end_ns); the caller ends the window at what may have arrived by now.

    A point without a declared period, and one that a detector computes, has no expectation. Raises
    NotFoundError, and StoreUnavailableError.
    """
    info = catalog.info(series)
    period_s = None if info.derived else info.period_s
    stored = counted = 0.0
    for at, width_ns, count in _parts(store, series, start_ns, end_ns):
        stored += int(count.sum())
        if period_s:
            overlap = np.minimum(at + width_ns, end_ns) - np.maximum(at, start_ns)
            counted += float(np.minimum(count, overlap / (period_s * 1e9)).sum())
    expected = max(0, end_ns - start_ns) / (period_s * 1e9) if period_s else 0.0
    return Completeness(expected, int(stored), counted)


def _parts(
    store: SampleStore, series: int, start_ns: int, end_ns: int
) -> Iterator[tuple[NDArray[np.int64], int, NDArray[np.int64]]]:
    """(start, width, count of samples with a value) of the hours, and of what is left at both ends."""
    first, last = -(-start_ns // HOUR_NS) * HOUR_NS, end_ns // HOUR_NS * HOUR_NS
    if first >= last:
        windows = [(start_ns, end_ns, 1)]
    else:
        hours = (last - first) // HOUR_NS
        windows = [(start_ns, first, 1), (first, last, hours), (last, end_ns, 1)]
    for start, end, parts in windows:
        if start >= end:
            continue
        found = store.downsample(series, start, end, parts)
        if parts == 1:  # however the store lays its grid
            yield np.array([start]), end - start, np.array([found.count.sum()])
        else:
            yield found.at, HOUR_NS, found.count
