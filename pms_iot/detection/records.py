"""Record: how far a quantity lies beyond everything it has been, relative to the range that it has had.

Source: the study in the detection reference (record novelty). Nothing is known of the future, and of
the past only the extremes.
"""

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def blank(size: int, quantities: int) -> Arrays:
    return {
        "low": np.full((size, quantities), np.inf),
        "high": np.full((size, quantities), -np.inf),
    }


def novelty(state: Arrays, rows: Rows | slice, quantities: Floats, floor: Floats) -> Floats:
    """(n, quantities): distance beyond the extremes over their range; 0 inside, and for the first.
    floor: (n, quantities), least range."""
    low, high = state["low"][rows], state["high"][rows]
    beyond = np.maximum(np.maximum(quantities - high, low - quantities), 0.0)
    return np.where(high >= low, beyond / np.maximum(high - low, floor), 0.0)


def learn(state: Arrays, rows: Rows, quantities: Floats, may: Mask) -> None:
    """Widens the extremes where the sample may be learned from."""
    low, high = state["low"], state["high"]
    known = (quantities >= low[rows]) & (quantities <= high[rows])
    nth, quantity = np.nonzero(~known & may[:, None])  # records are few
    row, new = rows[nth], quantities[nth, quantity]
    low[row, quantity] = np.minimum(low[row, quantity], new)
    high[row, quantity] = np.maximum(high[row, quantity], new)
