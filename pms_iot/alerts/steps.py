"""What the rule engine's rows make of their samples, before it walks through them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Steps:
    """Samples as their rows see them, as columns; those of one row adjoin."""

    at: NDArray[np.int64]
    since_last: NDArray[np.int64]
    gap: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    begins: NDArray[np.bool_]  # whether the condition is true if it was not before
    goes_on: NDArray[np.bool_]  # and if it was

    def part(self, start: int, end: int) -> "Steps":
        return Steps(*(column[start:end] for column in self._columns()))

    def each(self) -> Iterator[tuple[int, int, bool, bool, bool, bool]]:
        return zip(*(column.tolist() for column in self._columns()), strict=True)

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.at, self.since_last, self.gap, self.is_open, self.begins, self.goes_on
