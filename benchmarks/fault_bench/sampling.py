"""What a gateway would read of a simulated device, as columns: noise and resolution in numpy."""

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pms_simulators.device import SimulatedDevice
from pms_simulators.machines.machine import STEP_S
from pms_simulators.registers import Field
from pms_simulators.signals import stream

_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_SIGMA = 37837.2  # of a sum of four uniform 16-bit numbers
_RANGE = {"i16": (-32768, 32767), "u16": (0, 65535), "u32": (0, 0xFFFFFFFF), "bit": (0, 1)}


class Column(NamedTuple):
    """The samples of one point; `at_s` simulated seconds."""

    point: str
    at_s: NDArray[np.float64]
    value: NDArray[np.float64]


def gauss(key: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """`pms_simulators.signals.gauss` of many indices."""
    z = np.uint64(key) + index.astype(np.uint64) * _STRIDE
    for shift, factor in _MIX:
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z = z ^ (z >> np.uint64(31))
    parts = sum((z >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4))
    return (np.asarray(parts, np.float64) - 131070) / _SIGMA


class Grid(NamedTuple):
    """Whole seconds between reads: of all points, and of the steady ones (a multiple of it)."""

    poll_s: int
    steady_s: int


class _Group(NamedTuple):
    """Fields that are read together, each `period_s` where the grid allows it."""

    period_s: int
    steady: bool
    fields: tuple[Field, ...]
    pick: Callable[[Mapping[str, float]], Any]


class Reader:
    """Steps a device and reads its points.

    periods: point -> seconds of its own; points that are not named are not read. steady: points that
    are read on a grid that never changes, as what learns from them expects.
    """

    def __init__(
        self, device: SimulatedDevice, periods: Mapping[str, float], steady: frozenset[str]
    ) -> None:
        self.device = device
        self._place = device.machine.place
        groups: dict[tuple[int, bool], list[Field]] = {}
        for field in device.machine.fields:
            if field.key in periods:
                kind = (max(1, round(periods[field.key])), field.key in steady)
                groups.setdefault(kind, []).append(field)
        self._groups = [
            _Group(period_s, is_steady, tuple(fields), itemgetter(*(f.key for f in fields)))
            for (period_s, is_steady), fields in groups.items()
        ]

    def read(self, until_s: float, grid: Grid, detail_until_s: float = 0.0) -> list[Column]:
        """The reads after now, up to and with `until_s`; each second before `detail_until_s`."""
        rows: list[list[Any]] = [[] for _ in self._groups]
        times: list[list[float]] = [[] for _ in self._groups]
        frozen: list[list[frozenset[str]]] = [[] for _ in self._groups]
        device, machine = self.device, self.device.machine
        t = int(device.at_s())
        while t < until_s:
            t = t + 1 if t < detail_until_s else (t // grid.poll_s + 1) * grid.poll_s
            device.advance(t, t)
            if device.silent():
                continue
            values, still, is_steady = machine.values(), machine.frozen(), t % grid.steady_s == 0
            for nth, group in enumerate(self._groups):
                if t % group.period_s == 0 and (is_steady or not group.steady):
                    rows[nth].append(group.pick(values))
                    times[nth].append(t)
                    frozen[nth].append(still)
        return [
            column
            for nth, group in enumerate(self._groups)
            if rows[nth]
            for column in self._columns(group, rows[nth], times[nth], frozen[nth])
        ]

    def _columns(
        self, group: _Group, rows: list[Any], times: list[float], frozen: list[frozenset[str]]
    ) -> Iterator[Column]:
        table = np.array(rows, np.float64).reshape(len(rows), len(group.fields))
        at = np.array(times, np.float64)
        step = np.round(at / STEP_S).astype(np.int64)
        for nth, field in enumerate(group.fields):
            value = table[:, nth]
            if field.sigma:
                key = stream(self._place.seed, self._place.asset, "sensor", field.key)
                held = np.array([field.key in still for still in frozen])
                noise = field.sigma * gauss(key, step)
                value = np.where((value == 0) | held, value, value + noise)
            low, high = _RANGE[field.type]
            raw = np.clip(np.rint(np.nan_to_num(value / field.scale)), low, high)
            yield Column(field.key, at, np.round(raw * field.scale, 6))
