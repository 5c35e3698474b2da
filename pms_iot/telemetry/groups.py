"""Lists of unequal length, and runs of equal numbers, as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]


class Groups:
    """The members of group 0, 1, …: lists of unequal length as two arrays."""

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self.count = np.array([len(group) for group in groups], np.intp)
        self._first = np.cumsum(self.count) - self.count
        self._members = np.array([member for group in groups for member in group], np.intp)

    def __len__(self) -> int:
        return len(self.count)

    def place(self, numbers: NDArray[np.int32]) -> Index:
        """These numbers as groups; the last group stands for all beyond it."""
        return np.minimum(numbers, len(self.count) - 1, dtype=np.intp)

    def expand(self, groups: Index) -> tuple[Index, Index]:
        """(position in `groups`, member) for each member of each of these groups."""
        times = self.count[groups]
        position = np.repeat(np.arange(len(groups)), times)
        # What must be added to a place in the result to get the place among the members.
        shift = self._first[groups] - (np.cumsum(times) - times)
        return position, self._members[np.arange(len(position)) + shift[position]]


def run_starts(group: NDArray[Any]) -> Index:
    """Where each run of equal numbers starts."""
    starts = np.ones(len(group), np.bool_)
    np.not_equal(group[1:], group[:-1], out=starts[1:])
    return np.flatnonzero(starts)
