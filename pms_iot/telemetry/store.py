"""The port to the durable time series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch


@dataclass(frozen=True, slots=True)
class Buckets:
    """A series reduced to buckets that keep its minima and maxima. Empty buckets are left out.

    at: int64 ns, start of the bucket, a multiple of `width_ns` since the epoch. low, high, mean: float64
    over samples that are not NaN. count: int64, these samples. quality: uint8, the lowest of theirs.
    """

    at: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    quality: NDArray[np.uint8]
    width_ns: int


class SampleStore(Protocol):
    """Durable time series, one value per (series, at). All methods are safe to call from several threads.

    Every method raises StoreUnavailableError if the store does not answer; nothing is then half-written
    that a repeat of the same call would not complete.
    """

    def write(self, batch: Batch) -> None:
        """Stores all samples; durable on return. Idempotent by (series, at): the last written wins."""
        ...

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        """Samples of one series with start <= at < end, in order of time."""
        ...

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        """Samples of several series with start <= at < end, in order of time, then series."""
        ...

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        """The window in buckets of `bucket_width`, each with its minimum, maximum, mean and count.

        Samples outside of [start, end) never count, even where a bucket reaches beyond; a store that has
        deleted raw samples and kept roll-ups may count the first and the last of these whole.
        """
        ...

    def latest(self, series: Sequence[int]) -> Batch:
        """The newest sample of each series that has any."""
        ...

    def local_since_ns(self) -> int:
        """From this instant on samples can be read even while a server is away; long ago if there is none."""
        ...

    def close(self) -> None:
        """Releases connections and files; the store is not used afterwards."""
        ...


_MINUTE_NS = 60 * 10**9
_UNITS = (  # a width above the second is a multiple of the first
    (60 * _MINUTE_NS, 240 * _MINUTE_NS),
    (15 * _MINUTE_NS, 60 * _MINUTE_NS),
    (_MINUTE_NS, 4 * _MINUTE_NS),
    (10**9, 10**9),
    (10**6, 10**6),
)


def bucket_width(start_ns: int, end_ns: int, buckets: int) -> int:
    """Width in ns of at most `buckets` + 1 buckets that cover the window and start at multiples of it.

    So the same buckets serve every window of about that length, and whole ones of 1 min, 15 min or 1 h
    are made from roll-ups; they are up to a quarter wider than asked, from 1 min on.
    Raises ValueError unless start < end and buckets > 0.
    """
    if end_ns <= start_ns or buckets < 1:
        raise ValueError(f"no window [{start_ns}, {end_ns}) in {buckets} buckets")
    width = -(-(end_ns - start_ns) // buckets)
    unit = next((unit for unit, above in _UNITS if width > above), 1)
    return -(-width // unit) * unit


def joined_buckets(parts: Sequence[Buckets], width_ns: int) -> Buckets:
    """Parts of one width that follow each other."""
    return Buckets(
        np.concatenate([np.empty(0, np.int64), *(part.at for part in parts)]),
        np.concatenate([np.empty(0), *(part.low for part in parts)]),
        np.concatenate([np.empty(0), *(part.high for part in parts)]),
        np.concatenate([np.empty(0), *(part.mean for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.count for part in parts)]),
        np.concatenate([np.empty(0, np.uint8), *(part.quality for part in parts)]),
        width_ns,
    )
