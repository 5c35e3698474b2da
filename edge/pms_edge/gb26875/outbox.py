"""Commands to one transmission device: one under way at a time, sent again until answered."""

from collections import deque
from collections.abc import Callable
from datetime import datetime

from pms_edge.gb26875 import commands
from pms_edge.gb26875.device_clock import Now
from pms_edge.gb26875.frames import ANSWER, CONFIRM, DENY, Frame
from pms_edge.gb26875.objects import System

# 6.5: the time-out should be at most 10 s, with three repetitions.
TIMEOUT_S = 10.0
SENDS = 4
MAX_QUEUED = 8

Build = Callable[[int, datetime], Frame]


class Outbox:
    """Hands out the frames to send; `centre` is the address by which the device calls us."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.centre = "000000000000"
        self._queue: deque[tuple[int, Build]] = deque(maxlen=MAX_QUEUED)  # the oldest goes
        self._serial = 0
        self._sent: tuple[int, int, Build] | None = None  # serial, type, builder
        self._sends = 0
        self._sent_ns = 0
        self.failed: dict[int, str] = {}  # type of command -> how it ended last

    def set_clock(self) -> None:
        self._control(commands.SYNC_CLOCK, commands.clock_data)

    def check_duty(self) -> None:
        self._control(commands.CHECK_DUTY, lambda _now: commands.duty_data())

    def read_state(self, systems: tuple[System, ...]) -> None:
        """Asks for the state of the device and, where the profile names them, of its systems."""
        self._read(commands.READ_DEVICE_STATE, commands.device_state_data())
        if systems:
            self._read(commands.READ_SYSTEM_STATE, commands.system_state_data(systems))

    def clear(self) -> None:
        """The link is gone; what was queued is asked again when it is back."""
        self._queue.clear()
        self._sent = None

    def next(self, now: Now) -> Frame | None:
        """The frame to send now: a new one, or the same one again after its time-out."""
        if self._sent and now.since(self._sent_ns) < TIMEOUT_S:
            return None
        if self._sent and self._sends >= SENDS:
            self._end("unanswered")
        if self._sent is None:
            if not self._queue:
                return None
            self._begin(*self._queue.popleft())
        assert self._sent is not None
        serial, _, build = self._sent
        self._sends, self._sent_ns = self._sends + 1, now.steady_ns
        return build(serial, now.at)

    def answered(self, frame: Frame) -> int | None:
        """The type of the command that `frame` answers; None when it answers none."""
        if self._sent is None or frame.serial != self._sent[0]:
            return None
        if frame.command not in (CONFIRM, ANSWER, DENY):
            return None
        kind = self._sent[1]
        if frame.command == DENY:
            self._end("denied")
        else:
            self.failed.pop(kind, None)
            self._sent = None
        return kind

    def _begin(self, kind: int, build: Build) -> None:
        self._sent, self._sends = (self._serial, kind, build), 0
        self._serial = (self._serial + 1) % 0x10000

    def _end(self, how: str) -> None:
        if self._sent:
            self.failed[self._sent[1]] = how
        self._sent = None

    def _control(self, kind: int, data: Callable[[datetime], bytes]) -> None:
        def build(serial: int, now: datetime) -> Frame:
            return commands.control(
                serial, data(now), centre=self.centre, device=self._device, now=now
            )

        self._queue.append((kind, build))

    def _read(self, kind: int, data: bytes) -> None:
        def build(serial: int, now: datetime) -> Frame:
            return commands.request(serial, data, centre=self.centre, device=self._device, now=now)

        self._queue.append((kind, build))
