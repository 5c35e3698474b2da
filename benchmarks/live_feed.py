"""What the feed of newest values costs the pipeline: 10,000 series, batches of 1,000 samples."""

import asyncio
import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks import Row
from pms_iot.telemetry.batch import Batch
from pms_iot.web.live import LiveFeed

SERIES, ROWS, BATCHES = 10_000, 1_000, 1_000
S = 1_000_000_000


def run() -> list[Row]:
    rounds = [_batches(10**6 * n) for n in range(5)]
    rows = [
        Row(f"keep the newest, {n} listeners", "pms_iot LiveFeed", _rate(_feed(n), rounds), "samples/CPU s")
        for n in (0, 20)
    ]  # fmt: skip
    plain = Row("keep the newest", "a dict, sample by sample", _rate(_dict(), rounds), "samples/CPU s")  # fmt: skip
    return [*rows, plain]


def _batches(begin_s: int) -> list[Batch]:
    """A million samples: each batch is a second of a tenth of the series."""
    values = np.random.default_rng(7).random(ROWS)
    number = np.arange(ROWS) + 1
    return [
        Batch.of(number + ROWS * (i % 10), np.full(ROWS, (begin_s + i // 10) * S), values)
        for i in range(BATCHES)
    ]


def _feed(listeners: int) -> Callable[[Batch], None]:
    """Listeners that never take anything."""
    feed = LiveFeed()
    loop = asyncio.new_event_loop()
    streams = [feed.subscribe() for _ in range(listeners)]
    for stream in streams:
        loop.run_until_complete(anext(stream))
    kept = loop, streams  # as long as the feed is used

    def publish(batch: Batch) -> None:
        assert kept
        feed.publish(batch)

    return publish


def _dict() -> Callable[[Batch], None]:
    newest: dict[int, tuple[int, int, float | None, int]] = {}

    def publish(batch: Batch) -> None:
        columns = (batch.series.tolist(), batch.at.tolist(), batch.value.tolist())
        for series, at_ns, value, quality in zip(*columns, batch.quality.tolist(), strict=True):
            at_ms = at_ns // 1_000_000
            known = newest.get(series)
            if known is None or at_ms >= known[1]:
                shown = value if math.isfinite(value) else None
                newest[series] = (series, at_ms, shown, quality)

    return publish


def _rate(publish: Callable[[Batch], None], rounds: list[list[Batch]]) -> float:
    rates: list[float] = []
    for batches in rounds:
        began = time.process_time()
        for batch in batches:
            publish(batch)
        rates.append(ROWS * len(batches) / (time.process_time() - began))
    return median(rates)
