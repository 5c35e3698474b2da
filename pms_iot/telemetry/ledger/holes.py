"""Where a series has no value for longer than three periods."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import BAD, Batch
from pms_iot.telemetry.ledger.causes import Evidence, Gap
from pms_iot.telemetry.store import SampleStore

PERIODS = 3
_STEP_NS = 900 * 10**9  # looked at by count first; only what lacks samples is read


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap, and what its own samples say of it."""

    gap: Gap
    evidence: tuple[Evidence, ...]


def holes(
    store: SampleStore, series: int, period_ns: int, start_ns: int, end_ns: int
) -> list[Hole]:
    """The gaps of one series in [start_ns, end_ns), in order of time. Raises StoreUnavailableError."""
    found: list[Hole] = []
    for start, end in _suspects(store, series, period_ns, start_ns, end_ns):
        found += in_samples(store.read(series, start, end), period_ns, start, end)
    return found


def in_samples(batch: Batch, period_ns: int, start_ns: int, end_ns: int) -> list[Hole]:
    """The gaps between the values of one series, in order of time; the window's ends count as values."""
    says_nothing = (batch.quality == BAD) | np.isnan(batch.value)
    good = batch.take(~says_nothing)
    edges = np.concatenate(([start_ns], good.at, [end_ns]))
    wide = np.flatnonzero(np.diff(edges) > PERIODS * period_ns)
    spoken = batch.at[says_nothing]
    return [_hole(int(edges[i]), int(edges[i + 1]), spoken, period_ns) for i in wide]


def _hole(start_ns: int, end_ns: int, spoken: NDArray[np.int64], period_ns: int) -> Hole:
    """`spoken`: when the gateway said that there is no value: it lives, its device does not answer."""
    gap = Gap(start_ns, end_ns)
    inside = spoken[(spoken >= start_ns) & (spoken < end_ns)]
    if not len(inside):
        return Hole(gap, ())
    around = PERIODS * period_ns
    first, last = int(inside[0]) - around, int(inside[-1]) + around
    return Hole(gap, (Evidence("device", first, last, "bad"),))


def _suspects(
    store: SampleStore, series: int, period_ns: int, start_ns: int, end_ns: int
) -> list[tuple[int, int]]:
    """The parts of the window that may hold a gap, with enough around them to see it whole."""
    step = max(_STEP_NS, -(-2 * PERIODS * period_ns // _STEP_NS) * _STEP_NS)
    first, last = start_ns // step, -(-end_ns // step)
    if last <= first:
        return []
    found = store.downsample(series, first * step, last * step, last - first)
    count = np.zeros(last - first, np.int64)
    place = np.clip((found.at - first * step) // step, 0, last - first - 1)
    np.add.at(count, place, found.count)
    expected = step // period_ns
    if (count > expected + 1).any():  # read faster than declared: a surplus may hide a gap
        return [(start_ns, end_ns)]
    lacks = count < expected - 1
    lacks[[0, -1]] |= [start_ns % step > 0, end_ns % step > 0]  # these reach past the window
    lacking = np.flatnonzero(lacks)
    if not len(lacking):
        return []
    runs = np.split(lacking, np.flatnonzero(np.diff(lacking) > 2) + 1)
    around = [((first + int(run[0]) - 1) * step, (first + int(run[-1]) + 2) * step) for run in runs]
    return [(max(a, start_ns), min(b, end_ns)) for a, b in around]
