"""Writes asked for by the engine on `cmd/write`, answered on `cmd/res`. Off unless the gateway allows them.

A command is signed with the gateway's push key, so that whoever holds the broker moves no machine. It
names the value that it expects to find, is done at most once, and is recorded before it is done.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol

from pydantic import Field

from pms_edge.config.load import Config, Device
from pms_edge.counters import Counters
from pms_edge.decode.encode import encode
from pms_edge.logs import kv
from pms_edge.modbus import RegisterReader
from pms_edge.polling.exclusive import QueueFullError
from pms_edge.profiles.points import Point
from pms_edge.profiles.writes import NEVER_WRITTEN
from pms_edge.remote.attempt import Attempt, Verdict
from pms_edge.remote.journal import Journal, Result
from pms_edge.remote.signed import RefusedMessageError, Signed, read_signed

log = logging.getLogger(__name__)

LOOK_S = 0.1
WAITING = 16
LONGEST_NS = 3600 * 1_000_000_000  # a command may be good for an hour
REQUEST_S = 2.4  # four of them fit in the 10 s that the poller gives
UNSIGNED_S = 10.0  # strangers cannot fill the disk: one line of the journal for so long

Number = int | float


class WriteCommand(Signed):
    """Payload of `cmd/write`; values in engineering units. `by` is an opaque id, never a name."""

    device: str = Field(min_length=1, max_length=64)
    point: str = Field(min_length=1, max_length=64)
    value: Number
    expect: Number
    by: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Exclusive(Protocol):
    async def exclusive(self, run: Callable[[RegisterReader], Awaitable[Verdict]]) -> Verdict: ...


class DeviceWrites:
    """At most 16 commands wait, a further one is dropped and counted; one is done at a time."""

    def __init__(
        self,
        config: Config,
        pollers: Mapping[str, Exclusive],
        *,
        now_ns: Callable[[], int],
        clock_uncertain: Callable[[], bool],
        reply: Callable[[Result], None],
        counters: Counters,
    ) -> None:
        self._config, self._pollers = config, pollers
        self._now_ns, self._clock_uncertain = now_ns, clock_uncertain
        self._reply, self._counters = reply, counters
        self._devices = {device.id: device for device in config.devices}
        self._journal = Journal(config.spool.path.with_suffix(".writes.jsonl"))
        self._topic = f"pms/v1/{config.site}/{config.gateway}/cmd/write"
        self._offered: deque[bytes] = deque()
        self._unsigned_at, self._unsigned = 0.0, 0

    def offer(self, body: bytes) -> None:
        """A message of `cmd/write`, from any thread."""
        if len(self._offered) < WAITING:
            self._offered.append(body)
        else:
            self._counters.complain(log, "writes_dropped", place="queue")

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            while self._offered:
                await self._take(self._offered.popleft())

    async def _take(self, body: bytes) -> None:
        try:
            command = self._new(body)
        except RefusedMessageError as refusal:
            await self._turn_away(refusal)
            return
        if command is None:
            return
        try:
            await asyncio.to_thread(self._journal.begun, self._now_ns(), _told(command))
        except OSError as error:
            self._counters.complain(log, "write_refused", place="journal", error=error)
            self._reply(self._outcome(command, "refused", "not_recorded"))
            return
        result = await self._result(command)
        self._counters.add(
            {"done": "write_ok", "refused": "write_refused"}.get(result["status"], "write_failed")
        )
        log.info(
            "device write",
            extra=kv(**{k: result[k] for k in ("id", "device", "point", "status", "reason")}),
        )
        await self._record(self._journal.ended, result)
        self._reply(result)

    def _new(self, body: bytes) -> WriteCommand | None:
        """A command to look at; None for a repeated one, which gets its first answer again."""
        key = self._config.push.key if self._config.push else None
        command = read_signed(WriteCommand, body, topic=self._topic, key=key)
        now_ns = self._now_ns()
        if command.expires_ns <= now_ns:
            raise RefusedMessageError("expired", f"it is {now_ns} here", id=command.id)
        if command.expires_ns > now_ns + LONGEST_NS:
            raise RefusedMessageError("expires_too_late", "at most 1 h", id=command.id)
        if self._journal.knows(command.id):
            self._counters.add("write_repeated")
            lost = self._outcome(command, "unknown", "cut_off_by_a_restart")
            self._reply(self._journal.result(command.id) or lost)
            return None
        if not self._journal.has_room(now_ns):
            raise RefusedMessageError("too_many", "commands that have not expired", id=command.id)
        return command

    async def _turn_away(self, refusal: RefusedMessageError) -> None:
        self._counters.add("write_refused")
        result = {
            "id": refusal.id, "ok": False, "status": "refused", "reason": refusal.reason,
            "detail": refusal.detail, "before": None, "after": None, "at_ns": self._now_ns(),
        }  # fmt: skip
        self._reply(result)
        if refusal.reason in ("malformed", "unsigned", "oversized"):
            self._unsigned += 1
            if self._unsigned_at and time.monotonic() - self._unsigned_at < UNSIGNED_S:
                return
            self._unsigned_at, count, self._unsigned = time.monotonic(), self._unsigned, 0
            log.warning("write refused", extra=kv(reason=refusal.reason, count=count))
            result = {**result, "count": count}
        await self._record(self._journal.refused, result)

    async def _record(self, write: Callable[[Result], None], result: Result) -> None:
        try:
            await asyncio.to_thread(write, result)
        except OSError as error:
            self._counters.complain(log, "unrecorded_results", place="journal", error=error)

    async def _result(self, command: WriteCommand) -> Result:
        try:
            device, point = self._target(command)
            attempt = self._attempt(device, point, command)
        except RefusedMessageError as refusal:
            return self._outcome(command, "refused", refusal.reason, detail=refusal.detail)
        try:
            verdict = await self._pollers[device.endpoint].exclusive(attempt.run)
        except QueueFullError as error:
            return self._outcome(command, "refused", "busy", detail=str(error))
        except TimeoutError:
            verdict = "unknown" if attempt.sent else "no_reply"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            verdict = "unknown" if attempt.sent else "no_reply"  # the poller ended, not we
        status = {"done": "done", "unknown": "unknown", "expect_mismatch": "refused"}
        return self._outcome(
            command,
            status.get(verdict, "failed"),
            verdict,
            detail=attempt.detail,
            before=attempt.value(attempt.before),
            after=attempt.value(attempt.after),
        )

    def _target(self, command: WriteCommand) -> tuple[Device, Point]:
        """The device and point that may be written, after every check in its order."""
        device = self._devices.get(command.device)
        if not self._config.writes:
            raise RefusedMessageError(
                "writes_off", "this gateway's file does not say `writes: true`"
            )
        if device and (kind := self._protected(device)):
            raise RefusedMessageError("kind_refused", f"equipment of kind {kind} is never written")
        if device is None or device.endpoint not in self._pollers:
            raise RefusedMessageError("unknown_device", command.device)
        points = {point.name: point for point in device.profile.writes}
        if command.point not in points:
            raise RefusedMessageError("unknown_point", command.point)
        point = points[command.point]
        low, high = point.range or (0.0, -1.0)
        if not low <= command.value <= high:
            raise RefusedMessageError("out_of_range", f"{command.value} is not in [{low}, {high}]")
        if self._clock_uncertain():
            raise RefusedMessageError("clock_uncertain", "cannot tell the age of a command")
        return device, point

    def _protected(self, device: Device) -> str:
        """The kind that forbids it: of this device, or of another one at the same address."""
        for other in self._config.devices_of(device.endpoint):
            if other.unit == device.unit and other.profile.kind in NEVER_WRITTEN:
                return other.profile.kind
        return ""

    def _attempt(self, device: Device, point: Point, command: WriteCommand) -> Attempt:
        try:
            wanted, expected = encode(point, command.value), encode(point, command.expect)
        except ValueError as error:
            raise RefusedMessageError("not_representable", str(error)) from error
        timeout_s = min(self._config.endpoints[device.endpoint].timeout or REQUEST_S, REQUEST_S)
        return Attempt(device.unit, point, wanted, expected, timeout_s)

    def _outcome(
        self,
        command: WriteCommand,
        status: str,
        reason: str,
        *,
        detail: str = "",
        before: Number | None = None,
        after: Number | None = None,
    ) -> Result:
        return {
            "id": command.id,
            "ok": status == "done",
            "status": status,
            "reason": reason,
            "detail": detail,
            "device": command.device,
            "point": command.point,
            "before": before,
            "after": after,
            "at_ns": self._now_ns(),
        }


def _told(command: WriteCommand) -> dict[str, Any]:
    return command.model_dump(exclude={"hmac"})
