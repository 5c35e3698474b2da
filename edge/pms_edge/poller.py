"""Polls the devices of one Modbus endpoint on a fixed grid, one request at a time."""

import asyncio
import logging
import random
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence

from pms_edge.clock import NS, Clock
from pms_edge.counters import Counters
from pms_edge.decode import Decoder
from pms_edge.feed import DeviceFeed
from pms_edge.logs import kv
from pms_edge.modbus import ILLEGAL_ADDRESS, NoReplyError, RefusedError, RegisterReader
from pms_edge.planner import Block, halves, plan
from pms_edge.profiles import Point

log = logging.getLogger(__name__)

REPROBE_S = 600.0
BREAKER_S = (2.0, 60.0)


class Breaker:
    """Rests a unit that does not answer: 2 s, doubling to 60 s, with jitter (real time)."""

    def __init__(self) -> None:
        self._rest_s = BREAKER_S[0]
        self._open_until = 0.0

    def resting(self) -> bool:
        return time.monotonic() < self._open_until

    def failed(self) -> None:
        self._open_until = time.monotonic() + self._rest_s * random.uniform(0.8, 1.2)
        self._rest_s = min(2 * self._rest_s, BREAKER_S[1])

    def answered(self) -> None:
        self._rest_s, self._open_until = BREAKER_S[0], 0.0


class BlockRead:
    """One block with its precompiled decoder and line template."""

    def __init__(self, block: Block, feed: DeviceFeed) -> None:
        self.block = block
        self.names = [point.name for point in block.points]
        self.decoder = Decoder(block.points, start=block.start)
        self.template = feed.template(block.points)
        self.refused = False


class Job:
    """One class of points of one device, due on the grid `k * period + phase` of the clock."""

    def __init__(self, feed: DeviceFeed, points: Sequence[Point], *, name: str, period_s: float):
        self.feed, self.points = feed, points
        self._period_ns = max(1, round(period_s * NS))
        # Spread, but the same after every restart.
        self._phase_ns = zlib.crc32(f"{feed.device.id}/{name}".encode()) * 7919 % self._period_ns
        self.due_ns = 0
        self.plan_afresh()

    def plan_afresh(self) -> None:
        limits = self.feed.device.profile.limits
        self.reads = [BlockRead(block, self.feed) for block in plan(self.points, limits)]
        self.reprobe_at = float("inf")

    def first_due(self, now_ns: int) -> None:
        self.due_ns = self._next_on_grid(now_ns)

    def advance(self, now_ns: int) -> int:
        """To the next instant of the grid after now; returns how many were missed."""
        due_ns = self._next_on_grid(now_ns)
        missed = (due_ns - self.due_ns) // self._period_ns - 1
        self.due_ns = due_ns
        return max(0, missed)

    def _next_on_grid(self, now_ns: int) -> int:
        return now_ns - (now_ns - self._phase_ns) % self._period_ns + self._period_ns


class EndpointPoller:
    """All devices behind one connection. A dead unit rests and leaves the time to the others."""

    def __init__(
        self,
        reader: RegisterReader,
        feeds: Sequence[DeviceFeed],
        classes: Mapping[str, float],
        *,
        timeout_s: float,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._timeout_s = timeout_s
        self._reader, self._clock, self._counters = reader, clock, counters
        self._breakers = {feed.device.unit: Breaker() for feed in feeds}
        self._silent: set[str] = set()
        self._jobs = [job for feed in feeds for job in _jobs(feed, classes)]

    async def run(self) -> None:
        """Polls for ever; ends only by cancellation."""
        for job in self._jobs:
            job.first_due(self._clock.now_ns())
        try:
            while True:
                job = min(self._jobs, key=lambda j: j.due_ns)
                await asyncio.sleep(max(0.0, self._clock.real_seconds_until(job.due_ns)))
                resting = self._breakers[job.feed.device.unit].resting()
                if not resting:
                    await self.poll(job)
                missed = job.advance(self._clock.now_ns())
                if missed and not resting:
                    job.feed.health.late(missed)
                    self._counters.add("late_polls", missed)
        finally:
            self._reader.close()

    async def poll(self, job: Job) -> None:
        """Reads every block of `job` once; what cannot be read is marked bad once."""
        if time.monotonic() >= job.reprobe_at:
            job.plan_afresh()
        todo = deque(job.reads)
        try:
            while todo:
                todo.extendleft(reversed(await self._read(job, todo.popleft())))
        except NoReplyError as error:
            self._silenced(job.feed, str(error))

    async def _read(self, job: Job, read: BlockRead) -> list[BlockRead]:
        """Reads one block; returns the smaller reads that replace it when it was cut."""
        feed, block = job.feed, read.block
        try:
            wire = await self._reader.read(
                feed.device.unit, block.kind, block.start, block.count, self._timeout_s
            )
        except RefusedError as error:
            self._answered(feed)
            return self._refused(job, read, error)
        at_ns = self._clock.now_ns()
        self._answered(feed)
        feed.health.good(at_ns)
        read.refused = False
        feed.send(block.points, read.template, read.decoder.decode(wire), at_ns)
        return []

    def _refused(self, job: Job, read: BlockRead, error: RefusedError) -> list[BlockRead]:
        if error.code != ILLEGAL_ADDRESS:
            self._mark_refused(job, read, str(error))
            return []
        smaller = [BlockRead(block, job.feed) for block in halves(read.block)]
        place = job.reads.index(read)
        if len(smaller) == 2:
            job.reads[place : place + 1] = smaller
            return smaller
        del job.reads[place]
        job.reprobe_at = min(job.reprobe_at, time.monotonic() + REPROBE_S)
        self._mark_refused(job, read, f"illegal address {read.block.start}")
        return []

    def _mark_refused(self, job: Job, read: BlockRead, error: str) -> None:
        """The device goes on; these points are bad, said once per streak."""
        device = job.feed.device
        job.feed.health.failed(error)
        place = f"{device.id} {','.join(read.names)}"
        self._counters.complain(log, "refused_reads", place=place, error=error, unit=device.unit)
        if not read.refused:
            job.feed.send_bad(read.names, self._clock.now_ns())
        read.refused = True

    def _answered(self, feed: DeviceFeed) -> None:
        self._breakers[feed.device.unit].answered()
        if feed.device.id in self._silent:
            self._silent.discard(feed.device.id)
            log.info("device answers again", extra=kv(device=feed.device.id))

    def _silenced(self, feed: DeviceFeed, error: str) -> None:
        """One bad line for the whole device when it falls silent, then nothing until it answers."""
        device = feed.device
        feed.health.failed(error)
        self._counters.add("failed_reads")
        self._breakers[device.unit].failed()
        if device.id in self._silent:
            return
        self._silent.add(device.id)
        log.warning("device silent", extra=kv(device=device.id, unit=device.unit, error=error))
        feed.send_bad([point.name for point in device.profile.points], self._clock.now_ns())


def _jobs(feed: DeviceFeed, classes: Mapping[str, float]) -> list[Job]:
    points = feed.device.profile.points
    names = list(dict.fromkeys(point.poll_class for point in points))
    return [
        Job(feed, [p for p in points if p.poll_class == name], name=name, period_s=classes[name])
        for name in names
    ]
