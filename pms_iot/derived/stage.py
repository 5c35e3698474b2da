"""What the parts of `Derived` share: rows of slots, one slot for each input of a derived point."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.gates import Gates
from pms_iot.telemetry.groups import Groups

S = 1_000_000_000
LEAST_HOLD_S = 60.0
Rows = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Stage(Protocol):
    """Derived points that need nothing of each other."""

    def update(self, batch: Batch) -> Batch:
        """What follows from these samples: usable, each series in time order, passed once.

        The batch is ordered by series; samples of other points are ignored. What comes back is
        ordered in the same way.
        """
        ...

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None:
        """Takes up what a snapshot knows of rows that are still meant in the same way."""
        ...


def hold_ns(period_s: float | None) -> int:
    """How long a sample says what is: three periods, at least a minute."""
    return int(max(3 * (period_s or 0.0), LEAST_HOLD_S) * S)


def members_of(inputs: Sequence[Sequence[int]], width: int) -> Groups:
    """Series -> its slots, as row * width + place; inputs[row] are series, negative where there is none."""
    slots: dict[int, list[int]] = {}
    for row, series in enumerate(inputs):
        for place, number in enumerate(series):
            if number >= 0:
                slots.setdefault(number, []).append(row * width + place)
    size = max(slots, default=-1) + 2  # the last stands for all series beyond
    return Groups([slots.get(number, ()) for number in range(size)])


def carry(
    now: Sequence[str],
    then: Sequence[str],
    columns: Arrays,
    saved: Arrays,
) -> None:
    """Puts the saved rows that are still meant in the same way into `columns`."""
    old = {name: row for row, name in enumerate(then)}
    here = [row for row, name in enumerate(now) if name in old]
    there = [old[name] for name in now if name in old]
    for name, column in columns.items():
        if column.ndim == 1:
            column[here] = saved[name][there]
            continue
        # A row has as many slots as before; how wide all are depends on the others.
        width = min(column.shape[1], saved[name].shape[1])
        column[here, :width] = saved[name][there, :width]


def open_doors(gates: Gates, doors: Rows, at: Times) -> Mask:
    """`Gates.open_at` for doors in any shape; `at` broadcasts to it."""
    times = np.broadcast_to(at, doors.shape)
    return gates.open_at(doors.ravel(), times.ravel()).reshape(doors.shape)
