"""How much a counter has advanced in each bucket of a window.

Where raw samples are kept, from them; further back from the roll-ups, by the lowest and the highest
reading of each bucket, which is exact as long as the counter neither restarts twice in one nor shows
nonsense there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import CounterDef
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.counter_points import (
    HOUR_NS,
    JUMP,
    REPLACED,
    RESET,
    ROLLOVER,
    CounterState,
    Replacement,
    Steps,
    advance,
)
from pms_iot.web.history.ask import Grid
from pms_iot.web.history.frame import Frame
from pms_iot.web.history.read import MAX_RAW, HistoryReader

_BEFORE = (HOUR_NS, 24 * HOUR_NS, 7 * 24 * HOUR_NS, 32 * 24 * HOUR_NS)
_CONTEXT = 3  # readings before the window, so that a glitch is not taken for its beginning
_MAX_INNER = 20_000  # buckets of the store in one answer


@dataclass(frozen=True, slots=True)
class _Readings:
    """What there is to count from. inside: how many samples of it lie in the window."""

    batch: Batch
    inside: int
    source: str  # raw | rollup


def increase(
    reader: HistoryReader,
    info: SeriesInfo,
    counter: CounterDef,
    replaced: Sequence[Replacement],
    grid: Grid,
) -> Frame:
    """Column `increase`, of the buckets in which a reading was confirmed; beside it what was noticed."""
    readings = _readings(reader, info, grid)
    if readings.source == "rollup":
        counter = _eased(counter)
    _, steps = advance(CounterState(), readings.batch, counter, replaced)
    inside = (steps.at >= grid.start_ns) & (steps.at < grid.end_ns)
    own = Steps(steps.at[inside], steps.increase[inside], steps.kind[inside], steps.glitches)
    bucket = (own.at - grid.start_ns) // grid.width_ns
    first = np.flatnonzero(np.diff(bucket, prepend=-1)) if len(bucket) else np.empty(0, np.intp)
    sums = np.add.reduceat(own.increase, first) if len(first) else np.empty(0)
    at = grid.start_ns + bucket[first] * grid.width_ns
    return Frame(info, at, {"increase": sums}, _told(reader, info, grid, readings, own))


def _told(
    reader: HistoryReader, info: SeriesInfo, grid: Grid, readings: _Readings, own: Steps
) -> dict[str, Any]:
    glitches = (own.glitches >= grid.start_ns) & (own.glitches < grid.end_ns)
    past_s = (min(grid.end_ns, reader.now_ns) - grid.start_ns) / 1e9
    expected = past_s / info.period_s if info.period_s and past_s > 0 else 0
    return {
        "total": own.total,
        "rollovers": own.count(ROLLOVER),
        "resets": own.count(RESET),
        "jumps": own.count(JUMP),
        "replacements": own.count(REPLACED),
        "glitches": int(glitches.sum()),
        "completeness": round(min(1.0, readings.inside / expected), 4) if expected >= 1 else None,
        "source": readings.source,
    }


def _readings(reader: HistoryReader, info: SeriesInfo, grid: Grid) -> _Readings:
    span_s = (grid.end_ns - grid.start_ns) / 1e9
    is_kept = reader.raw_from_ns is None or grid.start_ns >= reader.raw_from_ns
    if is_kept and span_s / (info.period_s or 1.0) <= MAX_RAW:
        return _raw(reader, info.id, grid)
    return _rolled_up(reader, info.id, grid)


def _raw(reader: HistoryReader, series: int, grid: Grid) -> _Readings:
    window = reader.raw([series], grid.start_ns, grid.end_ns, "all")
    before = after = Batch.empty()
    for far in _BEFORE:
        before = reader.store.read(series, grid.start_ns - far, grid.start_ns)
        if _usable(before) >= _CONTEXT:
            break
    for far in _BEFORE:
        if grid.end_ns > reader.now_ns or _usable(after):
            break
        after = reader.store.read(series, grid.end_ns, grid.end_ns + far)
    return _Readings(Batch.concat([before, window, after]), len(window), "raw")


def _usable(batch: Batch) -> int:
    return int(np.count_nonzero((batch.quality == GOOD) & np.isfinite(batch.value)))


def _rolled_up(reader: HistoryReader, series: int, grid: Grid) -> _Readings:
    width = grid.width_ns // _pieces(grid)
    start, end = grid.start_ns - 24 * width, grid.end_ns + 24 * width
    found = reader.store.downsample(series, start, end, (end - start) // width)
    low, high = found.low, found.high
    # Of a bucket in which the counter restarted the highest reading comes first.
    before = np.concatenate([[0.0], high[:-1]]) if len(high) else high
    after = np.concatenate([low[1:], [np.inf]]) if len(low) else low
    restarted = (low < before) & (high >= before) & (after < high)
    pairs = np.stack([np.where(restarted, high, low), np.where(restarted, low, high)], axis=1)
    at = np.stack([found.at + width // 10, found.at + width - width // 10], axis=1)
    inside = (found.at >= grid.start_ns) & (found.at < grid.end_ns)
    last = slice(-1, None)  # once more: nothing is to confirm it
    times, values = (
        np.append(at.ravel(), at.ravel()[last] + 1),
        np.append(pairs, pairs.ravel()[last]),
    )
    batch = Batch.of(np.full(len(times), series), times, values)
    return _Readings(batch, int(found.count[inside].sum()), "rollup")


def _eased(counter: CounterDef) -> CounterDef:
    """When in its bucket an extreme was read is not known, so neither is its pace to better than this."""
    rate = counter.most_per_h
    return counter if rate is None else replace(counter, most_per_h=1.5 * rate)


def _pieces(grid: Grid) -> int:
    """Into how many whole-hour buckets of the store one of the answer is cut."""
    hours, left = divmod(grid.width_ns, HOUR_NS)
    if left or not hours:
        return 1
    most = max(1, _MAX_INNER // grid.buckets)
    return next(n for n in range(min(hours, most), 0, -1) if hours % n == 0)
