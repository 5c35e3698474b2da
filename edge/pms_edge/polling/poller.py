"""Polls the devices of one Modbus endpoint on a fixed grid, one request at a time."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pms_edge.clock import Clock
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.health import EndpointHealth
from pms_edge.logs import kv
from pms_edge.modbus import ILLEGAL_ADDRESS, NoReplyError, RefusedError, RegisterReader
from pms_edge.polling.breaker import DEAD_IDLE, Breaker
from pms_edge.polling.exclusive import Requests
from pms_edge.polling.planner import Refusals
from pms_edge.polling.reads import BlockRead, Reads, smallest_first
from pms_edge.polling.schedule import Schedule, Slot
from pms_edge.polling.units import Unit, units_of
from pms_edge.profiles.profile import Point

log = logging.getLogger(__name__)

R = TypeVar("R")

ILLEGAL_VALUE = 3  # also the answer to more registers than a device gives at once
# Timers of event loops have a resolution of 1 ms: what is due by then is done at once.
EARLY_S = 0.001
UNREACHABLE = frozenset({"connect", "busy"})  # causes that say nothing of the unit


class Job(Slot):
    """One class of points of one device."""

    def __init__(
        self, feed: DeviceFeed, unit: Unit, reads: Reads, *, name: str, period_s: float
    ) -> None:
        super().__init__(f"{feed.device.id}/{name}", period_s)
        self.feed, self.unit, self.reads = feed, unit, reads


class EndpointPoller:
    """All devices behind one connection. What fails rests and leaves the time to the others."""

    def __init__(
        self,
        reader: RegisterReader,
        feeds: Sequence[DeviceFeed],
        classes: Mapping[str, float],
        *,
        timeout_s: float | None,
        clock: Clock,
        counters: Counters,
        name: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout_s` None: learned from the round trips of each unit. `monotonic` is in seconds."""
        self._name, self._reader, self._clock, self._counters = name, reader, clock, counters
        self._monotonic = monotonic
        self._units = units_of(feeds, timeout_s)
        self._line = Breaker(trip=1)
        self._probe_at_s = 0.0
        self.health = EndpointHealth(
            [unit.timeouts.trips for unit in self._units.values()], monotonic
        )
        for unit in self._units.values():
            unit.show("half_open")
        self._jobs = _jobs(feeds, self._units, classes)
        self._requests = Requests(self._wake_up)
        self._asleep: asyncio.Future[None] | None = None
        self._crashed: set[str] = set()

    async def run(self) -> None:
        """Polls for ever; ends only by cancellation."""
        for job in self._jobs:
            job.first_due(self._clock.steady_ns())
        schedule = Schedule(self._jobs)
        try:
            while True:
                if self._requests:
                    await self._serve_requests()
                job = schedule.take(self._clock.steady_after(EARLY_S))
                if job is None:
                    await self._sleep_until(schedule.next_release_ns())
                else:
                    await self._turn(job, schedule)
        finally:
            self._requests.refuse_all()
            self._reader.close()

    async def exclusive(self, run: Callable[[RegisterReader], Awaitable[R]]) -> R:
        """Awaits `run(reader)` between two requests, before every poll that is due.

        For the event loop that runs this poller. Raises what `run` raises, TimeoutError after 10 s,
        QueueFullError at once when 16 wait already.
        """
        return await self._requests.add(run)

    async def _turn(self, job: Job, schedule: Schedule[Job]) -> None:
        now_s, breaker = self._monotonic(), job.unit.breaker
        allowed = breaker.allows(now_s) and self._line.allows(now_s)
        if allowed and breaker.failing and not breaker.closed and now_s < self._probe_at_s:
            # What is dead takes a twentieth of the time at most, however many units are.
            wait_ns = self._clock.steady_after(self._probe_at_s - now_s)
            schedule.release_at(job, wait_ns)
            return
        if allowed:
            await self._poll_guarded(job)
        missed = job.advance(self._clock.steady_ns())
        schedule.release_at(job, job.due_ns)
        if missed and allowed:
            job.feed.health.late(missed)
            self.health.late += missed
            self._counters.add("late_polls", missed)

    async def _poll_guarded(self, job: Job) -> None:
        """A mistake of ours while handling one device costs that device its poll, no other."""
        device = job.feed.device.id
        try:
            await self.poll(job)
        except Exception:
            self._counters.add("device_crashes")
            job.feed.health.failed("the agent failed on this device")
            if device not in self._crashed:
                self._crashed.add(device)
                log.exception("poll failed", extra=kv(endpoint=self._name, device=device))

    async def poll(self, job: Job) -> None:
        """Reads every block of `job` once; what cannot be read is marked bad once."""
        began_s = self._monotonic()
        reads = job.reads.begin(began_s)
        if job.unit.breaker.state(began_s) == "half_open":
            job.unit.show("half_open")
            reads = smallest_first(reads)
        todo = deque(reads)
        while todo:
            if self._requests:
                await self._serve_requests()
            began_s = self._monotonic()
            try:
                smaller = await self._read(job, todo.popleft(), began_s)
            except NoReplyError as error:
                self._no_reply(job.unit, error, self._monotonic() - began_s)
                return
            todo.extendleft(reversed(smaller))

    async def _read(self, job: Job, read: BlockRead, began_s: float) -> list[BlockRead]:
        """Reads one block; returns the smaller reads that replace it when it was cut."""
        feed, unit, block = job.feed, job.unit, read.block
        timeout_s = unit.timeouts.seconds(read.rtt_s)
        try:
            wire = await self._reader.read(
                unit.number, block.kind, block.start, block.count, timeout_s
            )
        except RefusedError as error:
            self._answered(unit, began_s)
            return self._refused(job, read, error)
        at_ns = self._clock.now_ns()
        read.rtt_s = self._answered(unit, began_s)
        feed.health.good(at_ns)
        read.refused = False
        if read.probe:
            job.reads.found(read)
        feed.send(block.points, read.template, read.decoder.decode(wire), at_ns)
        return []

    def _refused(self, job: Job, read: BlockRead, error: RefusedError) -> list[BlockRead]:
        self.health.refused += 1
        smaller = job.reads.cut(read) if error.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) else []
        if smaller:
            return smaller
        if error.code == ILLEGAL_ADDRESS:
            job.reads.leave_out(read, self._monotonic())
            self._mark_refused(job, read, f"illegal address {read.block.start}")
        else:
            self._mark_refused(job, read, str(error))
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

    def _answered(self, unit: Unit, began_s: float) -> float:
        """Returns the round trip in seconds; the quiet before it on a serial line is no part of it."""
        rtt_s = self._reader.traffic.rtt_s
        unit.timeouts.answered(rtt_s)
        self.health.busy_s += self._monotonic() - began_s
        self.health.requests += 1
        if self._line.failing:
            self._reachable()
        if unit.said_bad or unit.breaker.failing or not unit.breaker.closed:
            self._recovered(unit)
        return rtt_s

    def _reachable(self) -> None:
        if self._line.failing:
            log.info("endpoint reachable again", extra=kv(endpoint=self._name))
        self._line.answered()

    def _recovered(self, unit: Unit) -> None:
        if unit.said_bad:
            log.info("device answers again", extra=kv(device=unit.devices, unit=unit.number))
        unit.said_bad = False
        unit.breaker.answered()
        unit.show("closed")

    def _no_reply(self, unit: Unit, error: NoReplyError, spent_s: float) -> None:
        self.health.busy_s += spent_s
        self.health.failed(error.cause)
        self._counters.add("failed_reads")
        if error.cause in UNREACHABLE:
            self._unreachable(error, spent_s)
            return
        self._reachable()
        if error.cause == "timeout":
            unit.timeouts.expired(spent_s)
        unit.failed(str(error))
        now_s = self._monotonic()
        unit.breaker.failed(now_s, spent_s=spent_s)
        if unit.breaker.closed:
            return
        self._probe_at_s = now_s + DEAD_IDLE * spent_s
        unit.show("open")
        if not unit.said_bad:
            place = kv(endpoint=self._name, device=unit.devices, unit=unit.number, error=error)
            log.warning("device silent", extra=place)
        unit.send_bad(self._clock.now_ns())

    def _unreachable(self, error: NoReplyError, spent_s: float) -> None:
        """No connection: every unit is bad, and only the connection is tried again."""
        if not self._line.failing:
            log.warning("endpoint unreachable", extra=kv(endpoint=self._name, error=error))
        self._line.failed(self._monotonic(), spent_s=spent_s)
        at_ns = self._clock.now_ns()
        for unit in self._units.values():
            unit.failed(str(error))
            unit.send_bad(at_ns)

    async def _serve_requests(self) -> None:
        began_s = self._monotonic()
        await self._requests.serve(self._reader)
        self.health.busy_s += self._monotonic() - began_s

    async def _sleep_until(self, at_ns: int) -> None:
        """One timer for the whole endpoint; a request wakes it earlier."""
        loop = asyncio.get_running_loop()
        self._asleep = loop.create_future()
        timer = loop.call_later(max(0.0, self._clock.real_seconds_until(at_ns)), self._wake_up)
        try:
            await self._asleep
        finally:
            timer.cancel()

    def _wake_up(self) -> None:
        if self._asleep and not self._asleep.done():
            self._asleep.set_result(None)

    def report(self) -> dict[str, Any]:
        """For `health`; any thread may ask."""
        return {**self.health.report(), "late_replies": self._reader.traffic.late}


def _jobs(
    feeds: Sequence[DeviceFeed], units: Mapping[int, Unit], classes: Mapping[str, float]
) -> list[Job]:
    known: dict[str, Refusals] = {}
    jobs: list[Job] = []
    for feed in feeds:
        profile = feed.device.profile
        refusals = known.setdefault(profile.file, Refusals())
        by_class: dict[str, list[Point]] = {}
        for point in profile.points:
            by_class.setdefault(point.poll_class, []).append(point)
        for name, points in by_class.items():
            reads = Reads(feed, points, refusals)
            unit = units[feed.device.unit]
            jobs.append(Job(feed, unit, reads, name=name, period_s=classes[name]))
    return jobs
