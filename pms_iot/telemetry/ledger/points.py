"""How many of something each point had, as bytes: one small column instead of a row for each point."""

import numpy as np
from numpy.typing import NDArray

_PAIR = np.dtype([("series", "<i4"), ("count", "<i4")])


def added(tally: bytes | None, series: NDArray[np.int32]) -> bytes:
    """The tally with one more for each entry of `series`; None is an empty one."""
    old = np.frombuffer(tally or b"", _PAIR)
    numbers, place = np.unique(np.concatenate((old["series"], series)), return_inverse=True)
    new = np.zeros(len(numbers), _PAIR)
    new["series"] = numbers
    weights = np.concatenate((old["count"], np.ones(len(series), np.int32)))
    new["count"] = np.bincount(place, weights, len(numbers))
    return new.tobytes()


def counts(tally: bytes | None) -> dict[int, int]:
    """Series -> count."""
    pairs = np.frombuffer(tally or b"", _PAIR)
    return dict(zip(pairs["series"].tolist(), pairs["count"].tolist(), strict=True))
