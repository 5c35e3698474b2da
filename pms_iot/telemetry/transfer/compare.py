"""Whether two sides hold the same samples: count and checksum, and what differs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch


@dataclass(frozen=True, slots=True)
class Sum:
    """Of a set of samples, in any order; sums of parts add up."""

    count: int
    checksum: int

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.count + other.count, (self.checksum + other.checksum) % 2**64)


NOTHING = Sum(0, 0)


def sum_of(batch: Batch) -> Sum:
    """Every bit of series, time, value and quality counts; all NaN are one."""
    with np.errstate(over="ignore"):
        return Sum(len(batch), int(_hashes(batch).sum(dtype=np.uint64)))


def _hashes(batch: Batch) -> NDArray[np.uint64]:
    bits = np.where(np.isnan(batch.value), np.nan, batch.value).view(np.uint64)
    mixed = _mixed(batch.at.view(np.uint64))
    mixed = _mixed(mixed + batch.series.astype(np.uint64))
    mixed = _mixed(mixed ^ bits)
    return _mixed(mixed + batch.quality)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) + np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Difference:
    """Samples that only one side has, and those whose value or quality differs; `series`: the first one's."""

    missing: int
    extra: int
    changed: int
    series: int
    at: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)


def difference(wanted: Batch, found: Batch) -> Difference:
    """Neither side has a (series, at) twice."""
    both = Batch.concat([wanted, found])
    side = np.repeat([0, 1], [len(wanted), len(found)])
    order = np.lexsort((side, both.at, both.series))
    both, side = both.take(order), side[order]
    pair = (np.diff(both.series) == 0) & (np.diff(both.at) == 0)
    first, second = np.append(pair, False), np.insert(pair, 0, False)[: len(both)]
    first = first[: len(both)]
    same_value = both.value[:-1].view(np.uint64) == both.value[1:].view(np.uint64)
    same_value |= np.isnan(both.value[:-1]) & np.isnan(both.value[1:])
    changed = np.append(pair & ~(same_value & (np.diff(both.quality) == 0)), False)[: len(both)]
    alone = ~first & ~second
    wrong = np.flatnonzero(alone | changed)
    where = wrong[0] if len(wrong) else None
    return Difference(
        int((alone & (side == 0)).sum()),
        int((alone & (side == 1)).sum()),
        int(changed.sum()),
        int(both.series[where]) if where is not None else -1,
        int(both.at[where]) if where is not None else 0,
    )
