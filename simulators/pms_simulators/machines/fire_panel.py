"""A fire alarm panel with two loops, batteries and a transmitter (domain reference 1.4 E)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from pms_simulators.faults import NO_FAULT, Levels
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.registers import Field, bits
from pms_simulators.signals import drift, uniform

POINTS = (80, 64)  # registered per loop
POINT_BASE, LOOP_STRIDE = 100, 240
SMOKE, SIGNAL_VALVE = 42, 97  # GB/T 26875.3 component types
# GST point codes
GST_NORMAL, GST_FIRE, GST_FAULT, GST_FEEDBACK, GST_START, GST_DISABLED = 0, 1, 2, 3, 5, 7
SHOWN_AFTER_S = 40.0  # a fault shows within 100 s (GB 4717)
HEARTBEAT_S = 60.0
LINK_LOST = 1 << 5  # device state byte, link to the centre
LOW_BATTERY_V, CUT_OFF_V = 22.0, 20.0


class FirstAlarm(NamedTuple):
    loop: int
    addr: int
    type: int


def _loop_fields(loop: int) -> tuple[Field, ...]:
    at, name = 30 + 6 * loop, f"loop{loop}_"
    return (
        Field(at, name + "ma", "u16", 1.0, 0.8),
        Field(at + 1, name + "v", "u16", 0.1, 0.05),
        Field(at + 2, name + "present", "u16"),
        Field(at + 3, name + "expected", "u16"),
        Field(at + 4, name + "state", "u16"),
    )


class FirePanel(Machine):
    kind = "fire_panel"
    fields = (
        *bits(0, "normal fire fault disabled supervisory started feedback delay mains_fault "
                 "battery_fault bus_fault manual config_changed reset"),
        Field(1, "fire_n", "u16"),
        Field(2, "fault_n", "u16"),
        Field(3, "disabled_n", "u16"),
        Field(4, "supervisory_n", "u16"),
        Field(5, "feedback_n", "u16"),
        Field(6, "first_loop", "u16"),
        Field(7, "first_addr", "u16"),
        Field(8, "first_type", "u16"),
        Field(9, "last_event", "u16"),
        Field(10, "mains_v", "u16", 0.1, 0.5),
        Field(11, "batt_v", "u16", 0.1, 0.03),
        Field(12, "batt_ma", "i16", 1.0, 2.0),
        Field(13, "batt_mohm", "u16", 1.0, 0.4),
        Field(14, "earth_kohm", "u16", 1.0, 1.5),
        Field(15, "auto", "u16"),
        Field(16, "silenced", "u16"),
        Field(17, "dirty_n", "u16"),
        Field(18, "utd_state", "u16"),
        Field(19, "heartbeat_age", "u16"),
        Field(20, "duty_reply_s", "u16"),
        *_loop_fields(0),
        *_loop_fields(1),
        Field(90, "hydrant_end_p", "u16", 0.001, 0.001),
        Field(91, "sprinkler_end_p", "u16", 0.001, 0.001),
    )  # fmt: skip
    alarm_bits = frozenset(
        {"fire", "fault", "disabled", "supervisory", "started", "feedback", "mains_fault",
         "battery_fault", "bus_fault", "manual"}
    )  # fmt: skip

    def __init__(self, place: Placement, begin_s: float) -> None:
        super().__init__(place, begin_s)
        self._chance = place.key("chance")
        self._weather = place.key("weather")
        self._levels: Levels = NO_FAULT
        self._points: dict[tuple[int, int], int] = {}
        self._first: FirstAlarm | None = None
        self._last_event = GST_NORMAL
        self._discharged_h = self._outage_before(begin_s)
        self._beat_s = begin_s

    def _outage_before(self, begin_s: float) -> float:
        """Hours on battery of an outage that began before this run of the model."""
        active = self.place.faults.levels(begin_s).get("mains_fail")
        return (begin_s - active.onset_s) / 3600 if active else 0.0

    # ---- one step
    def step(self, t: float) -> None:
        self.t = t
        self._levels = levels = self.place.faults.levels(t)
        self._power(levels)
        if not levels.of("network_loss"):
            self._beat_s = t - t % HEARTBEAT_S
        elif self._beat_s > levels["network_loss"].onset_s:
            self._beat_s = levels["network_loss"].onset_s
        points = self._point_states(t, levels) if levels else {}
        for place, code in points.items():
            if self._points.get(place) != code:
                self._last_event = code
        self._latch(points)
        self._points = points

    def _power(self, levels: Levels) -> None:
        dead = levels.of("mains_fail") > 0
        rate = 1 + 2 * levels.of("battery_low") if dead else -2.0
        self._discharged_h = max(0.0, self._discharged_h + rate * STEP_S / 3600)

    def _age(self, levels: Levels, name: str, t: float) -> float:
        """Seconds since a fault's onset, or -1 when it does not act."""
        active = levels.get(name)
        return t - active.onset_s if active else -1.0

    def _point_states(self, t: float, levels: Levels) -> dict[tuple[int, int], int]:
        found: dict[tuple[int, int], int] = {}
        fire_s = self._age(levels, "fire_alarm", t)
        if fire_s >= 0:
            found |= self._fire(fire_s)
        if levels.of("false_alarm"):
            found[0, 33] = GST_FIRE
        if self._age(levels, "device_fault", t) >= SHOWN_AFTER_S:
            found[1, 12] = GST_FAULT
        if levels.of("valve_closed"):
            found[1, 60] = GST_FEEDBACK
        for addr in range(round(6 * levels.of("points_disabled"))):
            found[0, 50 + addr] = GST_DISABLED
        return found

    def _fire(self, age_s: float) -> dict[tuple[int, int], int]:
        """First device, a second after 20-120 s, then fans and pumps start and report back."""
        found = {(0, 17): GST_FIRE}
        second_s = 20 + 100 * uniform(self._chance, 1)
        if age_s >= second_s:
            found[0, 18] = GST_FIRE
        for number in range(3):
            begun_s = second_s + 5 + 50 * uniform(self._chance, 2 + number)
            if age_s >= begun_s:
                found[1, 40 + number] = GST_FEEDBACK
            elif age_s >= second_s:
                found[1, 40 + number] = GST_START
        return found

    def _latch(self, points: dict[tuple[int, int], int]) -> None:
        """The first fire stays shown until the panel is reset, here at the fault's end."""
        fires = [place for place, code in points.items() if code == GST_FIRE]
        if not fires:
            self._first = None
        elif self._first is None:
            loop, addr = fires[0]
            self._first = FirstAlarm(loop, addr, SMOKE)

    # ---- what the panel reports
    def _count(self, code: int) -> int:
        return sum(1 for c in self._points.values() if c == code)

    def _battery_v(self) -> float:
        """26.5 - 0.25 V/h on battery, 27.2 V floating; an aged one holds less."""
        aged = 4.2 * self._levels.of("battery_low")
        if self._levels.of("mains_fail"):
            return max(CUT_OFF_V, 26.5 - 0.25 * self._discharged_h - aged)
        return 27.2 - min(1.0, 0.25 * self._discharged_h) - aged

    def _earth_kohm(self) -> float:
        dry = 900 + 40 * drift(self._weather, self.t, 3600)
        dry *= 1 - 0.75 * self.place.weather.wetness(self.t)
        return dry * (5 / 1000) ** self._levels.of("ground_fault")

    def _loop_values(self, loop: int) -> dict[str, float]:
        short = self._age(self._levels, "loop_short", self.t)
        opened = self._age(self._levels, "loop_open", self.t)
        shorted = loop == 0 and short >= 0
        state = 2 if loop == 0 and short >= 10 else 1 if loop == 1 and opened >= 10 else 0
        expected = POINTS[loop]
        dropped = 20 if loop == 0 and short >= 15 else 0
        name = f"loop{loop}_"
        return {
            name + "ma": (118, 96)[loop] + (150 if shorted else 0),
            name + "v": 26.4 - (3.2 if shorted else 0),
            name + "present": expected - dropped, name + "expected": expected,
            name + "state": state,
        }  # fmt: skip

    def _general_faults(self) -> int:
        """Faults that belong to the panel itself, not to a device."""
        delayed = ("loop_open", "loop_short", "mains_fail")
        count = sum(self._age(self._levels, n, self.t) >= SHOWN_AFTER_S for n in delayed)
        return count + (self._earth_kohm() < 50) + self._battery_fault()

    def _battery_fault(self) -> bool:
        on_battery = self._levels.of("mains_fail") > 0
        return self._battery_v() < (LOW_BATTERY_V if on_battery else 24.0)

    def _counts(self) -> dict[str, float]:
        valves = int(self._points.get((1, 60)) == GST_FEEDBACK)
        return {
            "fire_n": self._count(GST_FIRE),
            "fault_n": self._count(GST_FAULT) + self._general_faults(),
            "disabled_n": self._count(GST_DISABLED), "supervisory_n": valves,
            "feedback_n": self._count(GST_FEEDBACK) - valves,
        }  # fmt: skip

    def _state(self, counts: dict[str, float]) -> dict[str, float]:
        found: dict[str, float] = {
            name: counts[name + "_n"] > 0
            for name in ("fire", "fault", "disabled", "supervisory", "feedback")
        }
        found |= {
            "started": self._count(GST_START) + counts["feedback_n"] > 0, "delay": False,
            "mains_fault": self._levels.of("mains_fail") > 0,
            "battery_fault": self._battery_fault(), "bus_fault": False,
            "manual": self._levels.of("manual_mode") > 0,
            "config_changed": False, "reset": False,
        }  # fmt: skip
        return found | {"normal": not any(found.values())}

    def _battery(self) -> dict[str, float]:
        dead = self._levels.of("mains_fail") > 0
        alarm_ma = 900 if self._first else 0
        charging = 20 + 600 * min(1.0, self._discharged_h)
        return {
            "mains_v": 0.0 if dead else 226 + 3 * drift(self._weather + 1, self.t, 600),
            "batt_v": self._battery_v(), "batt_ma": -600 - alarm_ma if dead else min(charging, 620),
            "batt_mohm": 28 * (1 + 2 * self._levels.of("battery_low")),
        }  # fmt: skip

    def values(self) -> dict[str, float]:
        counts = self._counts()
        first = self._first or FirstAlarm(0, 0, 0)
        lost = self._levels.of("network_loss") > 0
        wave = drift(self._weather + 2, self.t, 900)
        return counts | self._state(counts) | self._battery() | {
            "first_loop": first.loop, "first_addr": first.addr, "first_type": first.type,
            "last_event": self._last_event, "earth_kohm": self._earth_kohm(),
            "auto": not self._levels.of("manual_mode"), "silenced": False,
            "dirty_n": math.floor(8 * self._levels.of("detector_dirty") + 0.5),
            "utd_state": LINK_LOST if lost else 1,
            "heartbeat_age": min(65535.0, self.t - self._beat_s),
            "duty_reply_s": 12 + 20 * uniform(self._chance, int(self.t // 7200)),
            "hydrant_end_p": 0.28 + 0.006 * wave, "sprinkler_end_p": 0.16 + 0.004 * wave,
        } | self._loop_values(0) | self._loop_values(1)  # fmt: skip

    def sparse(self) -> Mapping[int, int]:
        return {
            POINT_BASE + LOOP_STRIDE * loop + addr: code
            for (loop, addr), code in self._points.items()
        }

    @property
    def size(self) -> int:
        return POINT_BASE + LOOP_STRIDE * len(POINTS)
