"""For each question (group, time), the last event of that group at or before that time."""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
Numbers = NDArray[np.int64]


def last_before(groups: Numbers, times: Numbers, asked: Numbers, at: Numbers) -> Index:
    """Positions among the events, -1 for none; of equal times the last event counts."""
    n = len(groups)
    order = np.lexsort(
        (np.arange(n + len(asked)) >= n, np.append(times, at), np.append(groups, asked))
    )
    last = np.maximum.accumulate(np.where(order < n, np.arange(len(order)), -1))
    found = np.empty(len(order), np.intp)
    found[order] = np.where(last >= 0, order[last], -1)
    event = found[n:]
    if n:
        event[groups[event] != asked] = -1
    return event
