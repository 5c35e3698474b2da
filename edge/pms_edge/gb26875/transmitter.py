"""One user information transmission device: what its frames mean. No I/O; time is an argument."""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN
from pms_edge.gb26875.commands import CHECK_DUTY, SYNC_CLOCK
from pms_edge.gb26875.device_clock import DeviceClock, Now
from pms_edge.gb26875.frames import ANSWER, CONFIRM, DENY, SEND, Frame
from pms_edge.gb26875.mapping import PanelMap, analog_key
from pms_edge.gb26875.objects import (
    Analog,
    AppData,
    ComponentState,
    DataError,
    DeviceState,
    Operation,
    Report,
    SoftwareVersion,
    SystemState,
    decode,
    time_of,
)
from pms_edge.gb26875.objects import Component as ComponentOf
from pms_edge.gb26875.objects import System as SystemOf
from pms_edge.gb26875.outbox import Outbox
from pms_edge.gb26875.panel import (
    BIT,
    BUILT_IN,
    OP_ALARM_OVER,
    OP_DUTY_REPLY,
    OP_MANUAL_ALARM,
    OP_RESET,
    Panel,
    Value,
)

STALE_AFTER_S = 90.0
# Rules with a hold time see a state only in its samples, so it is said again while it lasts.
AGE_EVERY_S, STATE_EVERY_S, CLOCK_EVERY_S = 10.0, 10.0, 86400.0
DUTY_LIMIT_S = 600.0  # the device stops asking its operator after 10 minutes
REPEATS, REPEATS_S = 32, 60.0  # 6.5: at most three repetitions within 10 s each
_EVENTS = frozenset(BUILT_IN) - {"heartbeat_age", "utd_clock_offset_s"}
_PRESSED = ComponentOf(SystemOf(0, 0), 23, 0, 0)  # the alarm key of the device: a call point


class Emission(NamedTuple):
    """Values of points at an instant; an event goes out at once."""

    values: dict[str, Value]
    at_ns: int
    event: bool = False


class Outcome(NamedTuple):
    """What a frame led to; `wrong` names what is counted."""

    emissions: list[Emission]
    reply: int | None = None
    wrong: tuple[str, ...] = ()


class Transmitter:
    """State of one device: frames and the passing of time go in, values of points come out."""

    def __init__(
        self,
        address: str,
        panel_map: PanelMap,
        *,
        now: Now,
        stale_after_s: float | None = None,
        duty_check_every_s: float | None = None,
    ) -> None:
        self.address, self._map = address, panel_map
        self._stale_s = stale_after_s or STALE_AFTER_S
        self._duty_every_s = duty_check_every_s
        self.panel, self.outbox = Panel(), Outbox(address)
        self.clock = DeviceClock()
        self.link = False
        self._said: dict[str, Value] = {}
        # Of the steady clock: when something was last heard, said or done.
        self._heard_ns = self._age_ns = self._state_ns = now.steady_ns
        self._set_ns: int | None = None  # None: the clock is still to be set
        self._duty_ns = now.steady_ns
        self._duty_sent_ns: int | None = None
        self._recent: deque[tuple[int, int, bytes]] = deque(maxlen=REPEATS)
        self.version = ""

    def take(self, frame: Frame, now: Now) -> Outcome:
        """One frame whose sum is right and whose source is this device."""
        repeated = self._is_repeat(frame, now)
        self.clock.note(time_of(frame.time), now, fresh=not frame.data)
        emissions = self._came_up(frame, now) if not self.link else []
        self._heard_ns = now.steady_ns
        self.outbox.centre = frame.target
        if self.outbox.answered(frame) == SYNC_CLOCK:
            self.clock.offset_s = None  # to be seen anew
        if frame.command in (CONFIRM, DENY):
            return Outcome(emissions)
        if frame.command not in (SEND, ANSWER):
            return Outcome(emissions, DENY, ("unknown_commands",))
        if repeated or not frame.data:  # a frame without data is a heartbeat
            wrong = ("repeats",) if repeated else ()
            return Outcome(emissions, _confirmed(frame), wrong)
        try:
            data = decode(frame.data)
        except DataError as error:
            if frame.command == ANSWER:
                return Outcome(emissions, None, (error.kind,))
            self._recent.pop()
            return Outcome(emissions, DENY, (error.kind,))
        emissions += self._apply(data, frame, now)
        return Outcome(emissions, _confirmed(frame), _flaws(data))

    def tick(self, now: Now) -> list[Emission]:
        """What is due by now; call it about once a second."""
        emissions: list[Emission] = []
        if self.link and now.since(self._heard_ns) > self._stale_s:
            emissions += self._went_down(now)
        if now.since(self._age_ns) >= AGE_EVERY_S:
            self._age_ns = now.steady_ns
            emissions.append(Emission(self._link_values(now), now.ns))
        if self.link and now.since(self._state_ns) >= STATE_EVERY_S:
            self._state_ns = now.steady_ns
            emissions.append(Emission(self.panel.values(), now.ns))
        if self.link:
            self._due_commands(now)
        return emissions + self._duty_unanswered(now)

    def check_duty(self) -> None:
        """Asks the person on duty to answer (查岗); the answer becomes `duty_reply_s`."""
        self.outbox.check_duty()

    def to_send(self, now: Now) -> Frame | None:
        """The next command, when one is due and the device is on line."""
        frame = self.outbox.next(now) if self.link else None
        if frame is not None and frame.data[0] == CHECK_DUTY and self._duty_sent_ns is None:
            self._duty_sent_ns = now.steady_ns
        return frame

    def report(self, now: Now) -> dict[str, Any]:
        """For `health`."""
        first = self.panel.first
        return {
            "address": self.address,
            "link": self.link,
            "heartbeat_age_s": round(now.since(self._heard_ns), 1),
            "clock_offset_s": self.clock.offset_s,
            "first_fire": first and {**first.component._asdict(), "text": first.text},
            "components_dropped": self.panel.dropped,
            "commands_failed": {str(kind): how for kind, how in dict(self.outbox.failed).items()},
            "version": self.version,
        }

    def _is_repeat(self, frame: Frame, now: Now) -> bool:
        """Whether this frame came before: the device did not get, or not see, our answer."""
        if frame.command != SEND or not frame.data:
            return False
        for at_ns, serial, data in self._recent:
            if (serial, data) == (frame.serial, frame.data) and now.since(at_ns) < REPEATS_S:
                return True
        self._recent.append((now.steady_ns, frame.serial, frame.data))
        return False

    def _came_up(self, frame: Frame, now: Now) -> list[Emission]:
        self.link = True
        self._heard_ns = self._state_ns = now.steady_ns
        self._set_ns = None
        self.outbox.centre = frame.target
        self._set_clock(now)
        self.outbox.read_state(self._map.systems)
        values = self.panel.values() | self._link_values(now)
        self._said = dict(values)
        return [Emission(values, now.ns), Emission({"utd_link": (1, GOOD)}, now.ns, True)]

    def _went_down(self, now: Now) -> list[Emission]:
        self.link = False
        self.outbox.clear()
        self._duty_sent_ns = None
        bad: dict[str, Value] = dict.fromkeys(self.panel.values(), (0, BAD))
        lost: dict[str, Value] = {"utd_link": (0, GOOD)}
        return [Emission(bad | self._link_values(now), now.ns), Emission(lost, now.ns, True)]

    def _link_values(self, now: Now) -> dict[str, Value]:
        age_s = min(65535, int(now.since(self._heard_ns)))
        values: dict[str, Value] = {
            "utd_link": (int(self.link), GOOD),
            "heartbeat_age": (age_s, GOOD),
        }
        if self.clock.offset_s is not None and self.link:
            values["utd_clock_offset_s"] = (self.clock.offset_s, GOOD)
        return values

    def _due_commands(self, now: Now) -> None:
        self._set_clock(now)
        if self._duty_every_s and now.since(self._duty_ns) >= self._duty_every_s:
            self._duty_ns = now.steady_ns
            self.check_duty()

    def _set_clock(self, now: Now) -> None:
        """When the device came on line and once a day, but never from a clock that is unsure."""
        due = self._set_ns is None or now.since(self._set_ns) >= CLOCK_EVERY_S
        if due and now.sure:
            self._set_ns = now.steady_ns
            self.outbox.set_clock()

    def _duty_unanswered(self, now: Now) -> list[Emission]:
        if self._duty_sent_ns is None or now.since(self._duty_sent_ns) < DUTY_LIMIT_S:
            return []
        self._duty_sent_ns = None
        return [Emission({"duty_reply_s": (int(DUTY_LIMIT_S), GOOD)}, now.ns, True)]

    def _apply(self, data: AppData, frame: Frame, now: Now) -> list[Emission]:
        emissions: list[Emission] = []
        for index, report in enumerate(data.reports):
            # One nanosecond apart: two values of a point cannot share an instant.
            emissions += self._report(report, frame, now._replace(ns=now.ns + index))
        return emissions

    def _report(self, report: Report, frame: Frame, now: Now) -> Iterator[Emission]:
        at: datetime | None = getattr(report, "at", None)
        true_ns, quality = self.clock.instant(at, time_of(frame.time), now)
        if isinstance(report, Analog):
            yield from self._analog(report, true_ns, quality)
            return
        answered = self._duty_answered(report, now)
        if answered:
            yield answered
        if not self._learn(report):
            return
        state = self.panel.values()
        news = {n: v for n, v in state.items() if repr(v) != repr(self._said.get(n))}
        self._said |= news
        if true_ns < now.ns:
            yield Emission(state, true_ns)
        yield Emission(_at_most(state, quality), now.ns)
        events = {n: v for n, v in news.items() if n in _EVENTS}
        if events:
            yield Emission(_at_most(events, quality), now.ns, True)

    def _learn(self, report: Report) -> bool:
        """Whether `report` says something about the state of the panel."""
        if isinstance(report, SystemState):
            self.panel.system(report.system, report.bits)
        elif isinstance(report, ComponentState):
            self.panel.component(report.component, report.bits, report.text)
        elif isinstance(report, DeviceState):
            self.panel.device(report.bits)
        elif isinstance(report, Operation):
            return self._operation(report)
        else:
            if isinstance(report, SoftwareVersion) and report.system is None:
                self.version = f"{report.major}.{report.minor}"
            return False
        return True

    def _operation(self, report: Operation) -> bool:
        if report.system is not None and report.bits & OP_RESET:
            self.panel.reset(report.system)
        if report.system is None and report.bits & OP_MANUAL_ALARM:
            self.panel.component(_PRESSED, BIT["fire"])
        elif report.system is None and report.bits & (OP_ALARM_OVER | OP_RESET):
            self.panel.component(_PRESSED, 0)
        return True

    def _duty_answered(self, report: Report, now: Now) -> Emission | None:
        """The device's key for duty checks was pressed while one was under way."""
        if not isinstance(report, Operation) or report.system is not None:
            return None
        if not report.bits & OP_DUTY_REPLY or self._duty_sent_ns is None:
            return None
        seconds = now.since(self._duty_sent_ns)
        self._duty_sent_ns = None
        return Emission({"duty_reply_s": (round(seconds, 1), GOOD)}, now.ns, True)

    def _analog(self, report: Analog, at_ns: int, quality: int) -> Iterator[Emission]:
        point = self._map.analogs.get(analog_key(report))
        if point is None:
            return
        value = report.value * point.scale
        if not point.low <= value <= point.high:
            quality = min(quality, UNCERTAIN)
        yield Emission({point.name: (round(value, 9), quality)}, at_ns)


def _confirmed(frame: Frame) -> int | None:
    return CONFIRM if frame.command == SEND else None  # an answer ends the exchange


def _at_most(values: dict[str, Value], quality: int) -> dict[str, Value]:
    return {name: (value, min(q, quality)) for name, (value, q) in values.items()}


def _flaws(data: AppData) -> tuple[str, ...]:
    """What is counted about data that was taken all the same."""
    flaws = ["unknown_types"] if not data.known else []
    flaws += ["trailing_bytes"] if data.known and data.trailing else []
    return (*flaws, *["bad_times"] * data.bad_times)
