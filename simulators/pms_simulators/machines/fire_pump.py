"""Fire pump group: main, standby (diesel) and jockey at 1.0 MPa (domain reference 1.4 C)."""

from __future__ import annotations

import math
from collections import deque

from pms_simulators.faults import NO_FAULT, FaultPlan, Levels
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.machines.pump_curve import MPA_PER_M, PumpCurve, motor_current
from pms_simulators.registers import Field, bits
from pms_simulators.signals import drift, gauss

CUT_IN_MPA, CUT_OUT_MPA = 0.97, 1.03
LEAK_MPA_S = 0.06 / 1200  # about three jockey starts an hour
JOCKEY_MPA_S = 0.06 / 40
CURVE = PumpCurve(shutoff_m=102.0, drop=0.00027, best_m3h=144.0, efficiency=0.72)
TEST_FLOW_LPS = 40.0
TEST_S, CHURN_S, START_S, NO_START_S = 600.0, 120.0, 6.0, 60.0
WEEK_S, TEST_WEEKDAY_S = 7 * 86400.0, 4 * 86400 + 10 * 3600.0  # Mondays at 10:00 local
CHECK_AFTER_S = 60.0  # a patrol test follows a change of the pump's condition
POOL_M, ROOF_M = 4.0, 2.5
TESTED = ("fail_to_start", "weak_battery", "suction_valve_closed", "churn_loss", "bearing")
START_BY_TEST, PASS, NO_START, LOW_PRESSURE = 5, 1, 2, 3
LOW_SHARE = 0.05  # a churn pressure that much below the curve fails the test


class FirePump(Machine):
    kind = "fire_pump"
    fields = (
        Field(0, "system_p", "u16", 0.001, 0.004),
        Field(1, "suction_p", "i16", 0.001, 0.001),
        Field(2, "test_flow", "u16", 0.1, 0.15),
        Field(3, "pool_level", "u16", 0.01, 0.008),
        Field(4, "roof_level", "u16", 0.01, 0.006),
        *bits(5, "auto main_run standby_run jockey_run main_fault standby_fault jockey_fault "
                 "phase_fault supply_a supply_b remote_start flow_switch pressure_switch "
                 "suction_valve_open discharge_valve_open test_valve_open"),
        Field(6, "start_source", "u16"),
        Field(7, "start_time", "u16", 0.1),
        Field(8, "i_main", "u16", 0.1, 0.4),
        Field(9, "i_standby", "u16", 0.1, 0.4),
        Field(10, "i_jockey", "u16", 0.1, 0.05),
        Field(11, "jockey_starts_h", "u16"),
        Field(12, "main_starts", "u32"),
        Field(14, "run_min", "u32"),
        Field(16, "v1", "u16", 0.1, 0.8),
        Field(17, "v2", "u16", 0.1, 0.8),
        Field(18, "v3", "u16", 0.1, 0.8),
        Field(19, "diesel_batt_a", "u16", 0.1, 0.05),
        Field(20, "diesel_batt_b", "u16", 0.1, 0.05),
        Field(21, "fuel", "u16", 0.1, 0.2),
        Field(22, "coolant", "i16", 0.1, 0.2),
        Field(23, "vib", "u16", 0.01, 0.02),
        Field(24, "bearing_temp", "i16", 0.1, 0.2),
        Field(25, "room_temp", "i16", 0.1, 0.1),
        Field(26, "days_since_test", "u16"),
        Field(27, "churn_p", "u16", 0.001),
        Field(28, "test_result", "u16"),
    )  # fmt: skip
    alarm_bits = frozenset(
        {"auto", "main_fault", "standby_fault", "jockey_fault", "phase_fault", "supply_a",
         "supply_b", "remote_start", "flow_switch", "pressure_switch", "suction_valve_open",
         "discharge_valve_open", "test_valve_open"}
    )  # fmt: skip

    def __init__(self, place: Placement, begin_s: float) -> None:
        super().__init__(place, begin_s)
        self._levels: Levels = NO_FAULT
        self._noise = place.key("trip")
        self._weather = place.key("weather")
        self.pressure, self._jockey = 1.0, False
        # As an hour of normal cycling would have left them.
        self._starts: deque[float] = deque(begin_s - 3600 + 1220 * k for k in (0.3, 1.3, 2.3))
        self.pool, self.roof = POOL_M, ROOF_M
        self.battery = 25.8
        self.main_starts = 130 + int(begin_s // WEEK_S)
        self.run_s = self.main_starts * TEST_S
        self._test_at = -math.inf  # start of the current or last test
        self._failed_at = -math.inf
        self._passed_local_s = self._slot_local_s(begin_s)
        self._result, self._start_time, self._churn = PASS, START_S, self._churn_mpa()
        self._main_fault = False
        self._checks = self._planned_checks(begin_s)
        self.bearing_temp = 24.0

    def _planned_checks(self, after_s: float) -> list[float]:
        return sorted(
            at + CHECK_AFTER_S
            for f in self.place.faults.faults
            if f.name in TESTED
            for at in (f.onset_s, f.end_s)
            if after_s < at + CHECK_AFTER_S < math.inf
        )

    def afflict(self, faults: FaultPlan) -> None:
        super().afflict(faults)
        self._checks = self._planned_checks(self.t)

    def _slot_local_s(self, t: float) -> float:
        """Local time of the last weekly slot at or before `t`."""
        local = self.place.calendar.local_s(t)
        return local - (local - TEST_WEEKDAY_S) % WEEK_S

    def _churn_mpa(self) -> float:
        shutoff = CURVE.shutoff_m * (1 - self._wear()) * MPA_PER_M + 0.05
        return shutoff + 0.003 * gauss(self._noise, self.main_starts)

    def _wear(self) -> float:
        """Share of its head that the main pump has lost: 5 % a year, ten at full severity."""
        return 0.10 * self._levels.of("churn_loss")

    # ---- one step
    def step(self, t: float) -> None:
        self.t = t
        self._levels = levels = self.place.faults.levels(t)
        self._begin_due_test(t, levels)
        self._run_test(t, levels)
        self._hold_pressure(t, levels)
        self._store(levels)

    @property
    def _testing(self) -> bool:
        return self.t - self._test_at < TEST_S

    def _begin_due_test(self, t: float, levels: Levels) -> None:
        weekly = (self.place.calendar.local_s(t) - TEST_WEEKDAY_S) % WEEK_S < STEP_S
        checked = bool(self._checks) and self._checks[0] <= t
        if checked:
            self._checks.pop(0)
        if not (weekly or checked) or self._testing:
            return
        self._main_fault = False
        if levels.of("fail_to_start"):
            self._failed_at = t
        else:
            self._test_at = t
            self.main_starts += 1

    def _run_test(self, t: float, levels: Levels) -> None:
        if t - self._failed_at >= NO_START_S and self._failed_at > self._test_at:
            self._main_fault = bool(levels.of("fail_to_start"))
            if self._main_fault and self._result != NO_START:
                self._result, self._start_time = NO_START, NO_START_S
        if self._testing and t - self._test_at >= CHURN_S and self._churning_done(t):
            self._churn = self._churn_mpa()
            self._start_time = START_S + 0.3 * gauss(self._noise, self.main_starts + 1)
            self._result = PASS if self._wear() < LOW_SHARE else LOW_PRESSURE
            self._passed_local_s = self.place.calendar.local_s(t)
        self.run_s += STEP_S if self.main_running else 0.0
        worn = levels.of("bearing")
        heat = 18.0 + 25 * worn * worn if self.main_running else 0.0
        self.bearing_temp += (self._room() + 2 + heat - self.bearing_temp) * STEP_S / 900

    def _churning_done(self, t: float) -> bool:
        return t - self._test_at < CHURN_S + STEP_S

    @property
    def main_running(self) -> bool:
        return self._testing

    def test_flow_lps(self) -> float:
        """Nothing for two minutes of churn, then the test line opens."""
        past = self.t - self._test_at - CHURN_S
        return TEST_FLOW_LPS * min(1.0, past / 10) if self._testing and past > 0 else 0.0

    def _hold_pressure(self, t: float, levels: Levels) -> None:
        if self.main_running and t - self._test_at > START_S:
            head = CURVE.head(self.test_flow_lps() * 3.6, 1.0) * (1 - self._wear()) * MPA_PER_M
            target = head + max(0.0, self._suction(levels))
            self.pressure += (target - self.pressure) * STEP_S / 4
            self._jockey = False
            return
        leak = LEAK_MPA_S * (1 + 12.7 * levels.of("jockey_short_cycling"))
        self.pressure -= leak * STEP_S
        if self._jockey:
            self.pressure += JOCKEY_MPA_S * STEP_S * (1 + levels.of("jockey_short_cycling"))
            self._jockey = self.pressure < CUT_OUT_MPA
        elif self.pressure <= CUT_IN_MPA:
            self._jockey = True
            self._starts.append(t)
        while self._starts and self._starts[0] <= t - 3600:
            self._starts.popleft()

    def _store(self, levels: Levels) -> None:
        """Water and starting battery. The pool refills at 0.5 m/h once a leak is mended."""
        leak = 0.3 * levels.of("tank_low")
        refill = 0.5 if not leak and self.pool < POOL_M else 0.0
        self.pool = max(0.3, min(POOL_M, self.pool + (refill - leak) * STEP_S / 3600))
        rest = 25.8 - 3.4 * levels.of("weak_battery")
        self.battery += (rest - self.battery) * STEP_S / 120

    def _suction(self, levels: Levels) -> float:
        if levels.of("suction_valve_closed") and self.main_running:
            return -0.055 * levels.of("suction_valve_closed")
        drawn = 0.012 * self.test_flow_lps() / TEST_FLOW_LPS
        return 0.01 + self.pool * MPA_PER_M - drawn

    def _room(self) -> float:
        hour = self.place.calendar.hour(self.t)
        daily = 2 * math.sin((hour - 9) / 24 * 2 * math.pi)
        return 18 + daily + 0.25 * self.place.weather.warmth_c(self.t)

    def _cranking_v(self) -> float:
        """The diesel is cranked for 10 s in every test: the battery gives way under load."""
        since = self.t - max(self._test_at, self._failed_at)
        sag = 4.0 + 6.0 * self._levels.of("weak_battery") if 20 <= since < 30 else 0.0
        return self.battery - sag

    # ---- what the controller reports
    def _status(self) -> dict[str, float]:
        levels, testing = self._levels, self._testing
        trying = 0 <= self.t - self._failed_at < NO_START_S
        return {
            "auto": not levels.of("left_in_manual"),
            "main_run": self.main_running, "standby_run": False, "jockey_run": self._jockey,
            "main_fault": self._main_fault, "standby_fault": False, "jockey_fault": False,
            "phase_fault": levels.of("phase_loss") > 0, "supply_a": True, "supply_b": True,
            "remote_start": False, "flow_switch": False, "pressure_switch": False,
            "suction_valve_open": not levels.of("suction_valve_closed"),
            "discharge_valve_open": True,
            "test_valve_open": testing and self.test_flow_lps() > 0,
            "start_source": START_BY_TEST if testing or trying else 0,
        }  # fmt: skip

    def _currents(self) -> dict[str, float]:
        flow = self.test_flow_lps() * 3.6
        main = motor_current(CURVE.power_kw(flow, 1.0), 32.0) if self.main_running else 0.0
        return {"i_main": main, "i_standby": 0.0, "i_jockey": 3.4 if self._jockey else 0.0}

    def values(self) -> dict[str, float]:
        lost, worn = self._levels.of("phase_loss"), self._levels.of("bearing")
        days = (self.place.calendar.local_s(self.t) - self._passed_local_s) / 86400
        return self._status() | self._currents() | {
            "system_p": self.pressure, "suction_p": self._suction(self._levels),
            "test_flow": self.test_flow_lps(), "pool_level": self.pool, "roof_level": self.roof,
            "start_time": self._start_time, "jockey_starts_h": len(self._starts),
            "main_starts": self.main_starts, "run_min": self.run_s / 60,
            "v1": 385.0, "v2": 384.0, "v3": 386.0 * (1 - 0.55 * lost),
            "diesel_batt_a": self._cranking_v(), "diesel_batt_b": 25.9,
            "fuel": 88.0, "coolant": 42.0 + drift(self._weather, self.t, 3600),
            "vib": 1.1 + 15.0 * max(0.0, worn - 0.5) if self.main_running else 0.05, "bearing_temp": self.bearing_temp,
            "room_temp": self._room(), "days_since_test": math.floor(max(0.0, days)),
            "churn_p": self._churn, "test_result": self._result,
        }  # fmt: skip
