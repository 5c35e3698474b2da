"""The port to the durable time series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch


@dataclass(frozen=True, slots=True)
class Buckets:
    """A series reduced to at most n buckets that keep its minima and maxima. Empty buckets are left out.

    at: int64 ns, start of the bucket. low, high, mean: float64 over samples that are not NaN. count: int64.
    """

    at: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]


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
        """The window cut into `buckets` equal parts, each with its minimum, maximum, mean and count."""
        ...

    def latest(self, series: Sequence[int]) -> Batch:
        """The newest sample of each series that has any."""
        ...

    def close(self) -> None:
        """Releases connections and files; the store is not used afterwards."""
        ...


def bucket_width(start_ns: int, end_ns: int, buckets: int) -> int:
    """Width in ns of `buckets` equal parts that cover the window; the last may reach past its end.

    Raises ValueError unless start < end and buckets > 0.
    """
    if end_ns <= start_ns or buckets < 1:
        raise ValueError(f"no window [{start_ns}, {end_ns}) in {buckets} buckets")
    return -(-(end_ns - start_ns) // buckets)
