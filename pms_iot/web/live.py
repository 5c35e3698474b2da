"""Newest values on their way from the pipeline's thread to the browsers."""

import asyncio
import math
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field

from pms_iot.telemetry.batch import Batch
from pms_iot.web.history.closed import ClosedWindows

MIN_GAP_S = 0.5  # at most two ticks a second to each browser
HEARTBEAT_S = 5.0  # a tick without values keeps the pages' clock and shows that the line is up
MAX_SUBSCRIBERS = 500

Tick = tuple[int, int, float | None, int]  # series, at (ms), value, quality


@dataclass(frozen=True, slots=True)
class Update:
    """What changed since the last update of the same subscriber."""

    ticks: list[Tick]
    changed: list[str]  # which lists: alerts, orders, …


@dataclass(eq=False)
class _Subscriber:
    loop: asyncio.AbstractEventLoop
    wake: asyncio.Event
    ticks: dict[int, Tick] = field(default_factory=dict[int, Tick])
    changed: set[str] = field(default_factory=set[str])

    def ring(self) -> None:
        # A loop that has closed has no reader left; its subscriber goes with it.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.wake.set)


class LiveFeed:
    """Keeps the newest value of each series and hands it to every subscriber.

    A slow subscriber holds at most one value for each series: newer ones replace it, so memory is bounded
    and the pipeline never waits for a browser.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[int, Tick] = {}
        self._subscribers: set[_Subscriber] = set()
        self.closed = ClosedWindows()

    def publish(self, batch: Batch) -> None:
        """Any thread. Samples older than what has been shown are left out."""
        self.closed.stored(batch)
        with self._lock:
            fresh = self._keep_newest(batch)
            for subscriber in self._subscribers:
                subscriber.ticks.update(fresh)
        self._ring()

    def changed(self, what: str) -> None:
        """Any thread. Tells the pages that a list (`alerts`, `orders`) is no longer what they show."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.changed.add(what)
        self._ring()

    def is_full(self) -> bool:
        return len(self._subscribers) >= MAX_SUBSCRIBERS

    async def subscribe(self) -> AsyncGenerator[Update]:
        """Updates, first one with all that is known, then at most two a second, at least one in five seconds."""
        subscriber = _Subscriber(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            subscriber.ticks.update(self._newest)
            self._subscribers.add(subscriber)
        try:
            while True:
                yield self._take(subscriber)
                await asyncio.sleep(MIN_GAP_S)
                try:
                    await asyncio.wait_for(subscriber.wake.wait(), HEARTBEAT_S)
                except TimeoutError:
                    continue
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def _keep_newest(self, batch: Batch) -> dict[int, Tick]:
        fresh: dict[int, Tick] = {}
        columns = (batch.series.tolist(), batch.at.tolist(), batch.value.tolist())
        for series, at_ns, value, quality in zip(*columns, batch.quality.tolist(), strict=True):
            at_ms = at_ns // 1_000_000
            known = self._newest.get(series)
            if known is None or at_ms >= known[1]:
                shown = value if math.isfinite(value) else None
                fresh[series] = self._newest[series] = (series, at_ms, shown, quality)
        return fresh

    def _take(self, subscriber: _Subscriber) -> Update:
        with self._lock:
            subscriber.wake.clear()
            update = Update(list(subscriber.ticks.values()), sorted(subscriber.changed))
            subscriber.ticks, subscriber.changed = {}, set()
        return update

    def _ring(self) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        for subscriber in subscribers:
            subscriber.ring()
