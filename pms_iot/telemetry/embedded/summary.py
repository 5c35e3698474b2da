"""Roll-ups of one series: minimum, maximum, sum, count and lowest quality in intervals of one width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.embedded.packing import (
    Columns,
    Index,
    Reader,
    decimals_of,
    framed,
    qualities,
    steps,
    values,
    whole_numbers,
)

MINUTE_NS = 60 * 10**9
STEPS_NS = (MINUTE_NS, 15 * MINUTE_NS, 60 * MINUTE_NS)


@dataclass(frozen=True, slots=True)
class Summary:
    """A row for each interval that has a value, in order of time.

    at: int64 ns, its start, a multiple of the width. low, high, total: float64. count: int64, values
    that are not NaN. quality: uint8, the lowest of these values' qualities.
    """

    at: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    total: NDArray[np.float64]
    count: NDArray[np.int64]
    quality: NDArray[np.uint8]

    @classmethod
    def of(cls, samples: Columns) -> Self:
        """Each value an interval of its own; NaN left out."""
        there = ~np.isnan(samples.value)
        at, value, quality = samples.take(there)
        return cls(at, value, value, value, np.ones(len(at), np.int64), quality)

    def take(self, index: Index) -> "Summary":
        return Summary(
            self.at[index],
            self.low[index],
            self.high[index],
            self.total[index],
            self.count[index],
            self.quality[index],
        )

    @classmethod
    def concat(cls, parts: "Sequence[Summary]") -> Self:
        """Parts that follow each other in time."""
        return cls(
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.total for part in parts]),
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.quality for part in parts]),
        )

    def regrouped(self, width_ns: int) -> "Summary":
        """Into intervals of another width, from what starts in them."""
        if not len(self.at):
            return self
        group = self.at // width_ns
        first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
        return Summary(
            group[first] * width_ns,
            np.minimum.reduceat(self.low, first),
            np.maximum.reduceat(self.high, first),
            np.add.reduceat(self.total, first),
            np.add.reduceat(self.count, first),
            np.minimum.reduceat(self.quality, first),
        )

    def between(self, start_ns: int, end_ns: int) -> "Summary":
        """The rows with start <= at < end."""
        first, last = np.searchsorted(self.at, (start_ns, end_ns))
        return self.take(slice(int(first), int(last)))

    def filled_from(self, other: "Summary") -> "Summary":
        """These rows, and those of `other` whose intervals have none here."""
        both = Summary.concat([self, other])
        _, first = np.unique(both.at, return_index=True)
        return both.take(first)


EMPTY = Summary.of(Columns(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8)))


def pack_summary(summary: Summary) -> bytes:
    """`summary` must not be empty."""
    at, total, decimals = summary.at, summary.total, decimals_of(summary.low)
    if decimals is not None and decimals_of(summary.high) is not None:
        # A sum of decimals is one itself; the noise of adding binary fractions would not compress.
        total = np.round(total, decimals)
    numbers = values(summary.low), values(summary.high), values(total)
    return framed(
        at, (steps(at), whole_numbers(summary.count), *numbers, qualities(summary.quality))
    )


def unpack_summary(packed: bytes) -> Summary:
    """Raises ValueError for what `pack_summary` did not make."""
    reader = Reader(packed)
    at, count = reader.instants(), reader.whole_numbers(reader.n)
    low, high, total = reader.values(), reader.values(), reader.values()
    return Summary(at, low, high, total, count, reader.qualities())
