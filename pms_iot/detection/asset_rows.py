"""The rows of an asset model: what all points of an asset were at one instant, from samples.

A row is formed at each instant at which a read of the asset arrived, but not more often than once a
step. A point that was not read then stands as it was last, until that is older than three of its
periods (at least three steps): then it is missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays
from pms_iot.telemetry.batch import Batch

S = 1_000_000_000
_EARLY = 0.9  # of a step: gateways are not that exact

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tick:
    """One row of each of some assets. value: (assets, slots), NaN where missing. steps: since the
    asset's row before; infinite for the first."""

    assets: Index
    at: Times
    value: Floats
    steps: Floats


class AssetRows:
    """Samples to rows of equal shape.

    inputs[asset]: the series of each slot, -1 where the asset lacks the point. hold_s[asset]: how long
    a sample of each slot is good for. step_s: the least time between two rows.
    """

    def __init__(
        self, inputs: Sequence[Sequence[int]], hold_s: Sequence[Sequence[float]], step_s: float
    ) -> None:
        series = np.array(inputs, np.int64).reshape(len(inputs), max(map(len, inputs), default=0))
        self._step_ns = step_s * S
        self._hold_ns = (np.array(hold_s).reshape(series.shape) * S).astype(np.int64)
        size = int(series.max(initial=-1)) + 2  # the last stands for all series beyond
        self._asset = np.full(size, -1, np.intp)
        self._slot = np.zeros(size, np.intp)
        asset, slot = np.nonzero(series >= 0)
        self._asset[series[asset, slot]], self._slot[series[asset, slot]] = asset, slot
        self.state: Arrays = {
            "rows.value": np.full(series.shape, np.nan),
            "rows.at": np.zeros(series.shape, np.int64),
            "rows.last": np.zeros(len(inputs), np.int64),
        }

    def ticks(self, batch: Batch) -> Iterator[Tick]:
        """The rows that these samples make, each asset once a tick, in order of time.

        The samples are usable and newer than what came before of their series.
        """
        place = np.minimum(batch.series, len(self._asset) - 1, dtype=np.intp)
        mine = np.flatnonzero(self._asset[place] >= 0)
        if not len(mine):
            return
        asset, at = self._asset[place[mine]], batch.at[mine]
        order = np.lexsort((at, asset))
        mine, asset, at = mine[order], asset[order], at[order]
        new_asset = np.append(True, asset[1:] != asset[:-1])
        starts = new_asset | np.append(True, at[1:] != at[:-1])
        instant = np.cumsum(starts) - 1
        of_asset = np.maximum.accumulate(np.where(new_asset, instant, 0))
        nth = instant - of_asset
        slot, value = self._slot[place[mine]], batch.value[mine]
        by_tick = np.argsort(nth, kind="stable")
        for part in np.split(by_tick, np.cumsum(np.bincount(nth))[:-1]):
            self.state["rows.value"][asset[part], slot[part]] = value[part]
            self.state["rows.at"][asset[part], slot[part]] = at[part]
            first = part[starts[part]]
            tick = self._tick(asset[first], at[first])
            if len(tick.assets):
                yield tick

    def _tick(self, assets: Index, at: Times) -> Tick:
        last = self.state["rows.last"][assets]
        due = at - last >= _EARLY * self._step_ns
        assets, at, last = assets[due], at[due], last[due]
        steps = np.where(last > 0, (at - last) / self._step_ns, np.inf)
        self.state["rows.last"][assets] = at
        old = at[:, None] - self.state["rows.at"][assets] > self._hold_ns[assets]
        value = np.where(old, np.nan, self.state["rows.value"][assets])
        return Tick(assets, at, value, steps)
