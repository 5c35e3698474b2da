"""Newest values and new samples on their way from the pipeline's thread to whoever listens."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch
from pms_iot.web.history.closed import ClosedWindows

MIN_GAP_S = 0.5  # at most two ticks a second to each browser
HEARTBEAT_S = 5.0  # a tick without values keeps the pages' clock and shows that the line is up
MAX_SUBSCRIBERS = 500
MAX_QUEUED = 50_000  # samples that wait for one subscriber; then the oldest batches are dropped

Tick = tuple[int, int, float | None, int]  # series, at (ms), value, quality


@dataclass(frozen=True, slots=True)
class Update:
    """What changed since the last update of the same subscriber.

    samples: every sample, for who asked for all. dropped: how many of them were lost to it because
    it was slow.
    """

    ticks: list[Tick]
    changed: list[str]  # which lists: alerts, orders, …
    samples: Batch = field(default_factory=Batch.empty)
    dropped: int = 0


@dataclass(eq=False)
class _Subscriber:
    loop: asyncio.AbstractEventLoop
    wake: asyncio.Event
    wanted: NDArray[np.bool_] | None  # by series; None: all
    every: bool  # each sample instead of the newest of each series
    seen: int = 0  # how many batches had come when it was last served
    changed: set[str] = field(default_factory=set[str])
    queue: deque[Batch] = field(default_factory=deque[Batch])
    queued: int = 0
    dropped: int = 0
    rung: bool = False

    def of_interest(self, series: NDArray[np.int32]) -> NDArray[np.bool_] | None:
        """Which of these it wants; None: all."""
        if self.wanted is None:
            return None
        known = series < len(self.wanted)
        return known & self.wanted[np.where(known, series, 0)]

    def queue_up(self, batch: Batch) -> None:
        if len(batch) > MAX_QUEUED:
            self.dropped += len(batch) - MAX_QUEUED
            batch = batch.take(np.arange(len(batch) - MAX_QUEUED, len(batch)))
        self.queue.append(batch)
        self.queued += len(batch)
        while self.queued > MAX_QUEUED:
            lost = len(self.queue.popleft())
            self.queued -= lost
            self.dropped += lost

    def ring(self) -> None:
        if self.rung:
            return
        self.rung = True
        # A loop that has closed has no reader left; its subscriber goes with it.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.wake.set)


class _Newest:
    """The newest sample of each series, as columns over the numbers of the series."""

    def __init__(self) -> None:
        self.at: NDArray[np.int64] = np.empty(0, np.int64)
        self.value: NDArray[np.float64] = np.empty(0)
        self.quality: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.came: NDArray[np.int64] = np.empty(0, np.int64)  # with which batch; 0: never

    def keep(self, batch: Batch, number: int) -> None:
        """Takes over what is not older than what is known. number: of the batch, from 1."""
        self._make_room(int(batch.series.max()) + 1)
        series, at = batch.series, batch.at
        value, quality = batch.value, batch.quality
        if len(at) > 1 and not bool((at[1:] >= at[:-1]).all()):
            order = np.argsort(at, kind="stable")
            series, at, value, quality = series[order], at[order], value[order], quality[order]
        fresh = at >= self.at[series]
        if not fresh.all():
            series, at, value, quality = series[fresh], at[fresh], value[fresh], quality[fresh]
        # Of a series that comes more than once the last assignment holds: the newest.
        self.at[series] = at
        self.value[series] = value
        self.quality[series] = quality
        self.came[series] = number

    def since(self, number: int, wanted: NDArray[np.bool_] | None) -> list[Tick]:
        """The series that came after this batch."""
        came = self.came > number
        if wanted is not None:
            shared = min(len(came), len(wanted))
            came = came[:shared] & wanted[:shared]
        series = np.flatnonzero(came)
        value = self.value[series]
        shown = np.where(np.isfinite(value), value, np.nan).tolist()
        columns = series.tolist(), (self.at[series] // 1_000_000).tolist(), self.quality[series].tolist()  # fmt: skip
        return [
            (number, at, value if value == value else None, quality)
            for number, at, quality, value in zip(*columns, shown, strict=True)
        ]

    def _make_room(self, size: int) -> None:
        if size > len(self.at):
            more = max(1024, size + size // 2) - len(self.at)
            oldest = np.full(more, np.iinfo(np.int64).min)
            self.at = np.concatenate([self.at, oldest])
            self.value = np.concatenate([self.value, np.full(more, np.nan)])
            self.quality = np.concatenate([self.quality, np.zeros(more, np.uint8)])
            self.came = np.concatenate([self.came, np.zeros(more, np.int64)])


class LiveFeed:
    """Keeps the newest value of each series and hands it to every subscriber.

    A slow subscriber holds at most one value for each series: newer ones replace it, so memory is bounded
    and the pipeline never waits for a browser. One that asked for every sample holds MAX_QUEUED of them,
    and is told how many it missed. What is for a subscriber is put together when it takes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = _Newest()
        self._batches = 0
        self._subscribers: set[_Subscriber] = set()
        self.closed = ClosedWindows()

    def publish(self, batch: Batch) -> None:
        """Any thread, once its samples are committed. Older ones than what has been shown are left out."""
        if not len(batch):
            return
        self.closed.stored(batch)
        with self._lock:
            self._batches += 1
            self._newest.keep(batch, self._batches)
            for subscriber in self._subscribers:
                _offer(subscriber, batch)

    def changed(self, what: str) -> None:
        """Any thread. Tells the pages that a list (`alerts`, `orders`) is no longer what they show."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.changed.add(what)
                subscriber.ring()

    def is_full(self) -> bool:
        return len(self._subscribers) >= MAX_SUBSCRIBERS

    async def subscribe(
        self, series: Sequence[int] | None = None, *, every: bool = False
    ) -> AsyncGenerator[Update]:
        """Updates, first one with all that is known, then at most two a second, at least one in five seconds.

        series: only these. every: each committed sample of them, in place of the newest; the first
        update then has none.
        """
        wake = asyncio.Event()
        subscriber = _Subscriber(asyncio.get_running_loop(), wake, _mask(series), every)
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            while True:
                yield self._take(subscriber)
                await asyncio.sleep(MIN_GAP_S)
                try:
                    await asyncio.wait_for(wake.wait(), HEARTBEAT_S)
                except TimeoutError:
                    continue
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def _take(self, subscriber: _Subscriber) -> Update:
        with self._lock:
            subscriber.wake.clear()
            subscriber.rung = False
            ticks = [] if subscriber.every else self._newest.since(subscriber.seen, subscriber.wanted)  # fmt: skip
            update = Update(
                ticks, sorted(subscriber.changed), Batch.concat(subscriber.queue), subscriber.dropped
            )  # fmt: skip
            subscriber.seen, subscriber.changed = self._batches, set()
            subscriber.queued = subscriber.dropped = 0
            subscriber.queue.clear()
        return update


def _mask(series: Sequence[int] | None) -> NDArray[np.bool_] | None:
    if series is None:
        return None
    mask = np.zeros(max(series, default=0) + 1, bool)
    mask[list(series)] = True
    return mask


def _offer(subscriber: _Subscriber, batch: Batch) -> None:
    mask = subscriber.of_interest(batch.series)
    if mask is not None and not mask.any():
        return
    if subscriber.every:
        subscriber.queue_up(batch if mask is None else batch.take(mask))
    subscriber.ring()
