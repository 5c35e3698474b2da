"""The unit that flows through the engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOOD, UNCERTAIN, BAD = 192, 64, 0  # OPC quality codes, as on the wire


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as columns of one length; never mutated (the arrays are read-only).

    series: int32, the point's id. at: int64, Unix ns UTC. value: float64, NaN = known missing.
    quality: uint8, 192 good, 64 uncertain, 0 bad.
    """

    series: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @classmethod
    def of(
        cls, series: ArrayLike, at: ArrayLike, value: ArrayLike, quality: ArrayLike | None = None
    ) -> Self:
        """A batch from anything array-like; quality is good unless given. Raises ValueError on unequal lengths."""
        series_ = np.asarray(series, np.int32)
        columns = (
            series_,
            np.asarray(at, np.int64),
            np.asarray(value, np.float64),
            np.full(series_.shape, GOOD, np.uint8)
            if quality is None
            else np.asarray(quality, np.uint8),
        )
        if len({column.shape for column in columns}) != 1 or series_.ndim != 1:
            raise ValueError(f"columns of unequal shape: {[column.shape for column in columns]}")
        for column in columns:
            column.flags.writeable = False
        return cls(*columns)

    @classmethod
    def empty(cls) -> Self:
        return cls.of([], [], [])

    @classmethod
    def concat(cls, batches: Iterable["Batch"]) -> Self:
        """The samples of all batches, in the order given."""
        parts = [batch for batch in batches if len(batch)]
        if not parts:
            return cls.empty()
        return cls.of(
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.quality for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.series)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Batch":
        """The samples at these positions, or where the mask is true; of a slice, views."""
        return Batch.of(self.series[index], self.at[index], self.value[index], self.quality[index])

    def sorted_by_time(self) -> "Batch":
        """Ordered by time, then series; equal keys keep their order."""
        return self.take(np.lexsort((self.series, self.at)))

    def last_of_each(self) -> "Batch":
        """Ordered by series, then time; of equal (series, at) the last, which is what a store keeps."""
        ordered = self.take(np.lexsort((self.at, self.series)))  # stable
        same_as_next = (np.diff(ordered.series) == 0) & (np.diff(ordered.at) == 0)
        return ordered.take(np.append(~same_as_next, np.ones(min(1, len(self)), np.bool_)))
