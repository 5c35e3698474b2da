"""Three 7.5 kW pumps at one speed holding 0.55 MPa (domain reference 1.4 B)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from math import sqrt

from pms_simulators.faults import NO_FAULT, Levels
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.machines.pump_curve import MPA_PER_M, PumpCurve, motor_current
from pms_simulators.registers import Field, bits
from pms_simulators.signals import drift, gauss, uniform
from pms_simulators.traffic import DEMAND_M3H, DEMAND_ON_FREE_DAYS, hourly

SET_MPA = 0.55
CURVE = PumpCurve(shutoff_m=58.0, drop=0.0372, best_m3h=20.0, efficiency=0.68)
LOWEST_N, HIGHEST_N = 0.60, 1.0
ADD_N, ADD_AFTER_S = 0.97, 20.0
DROP_M3H, DROP_AFTER_S = 17.0, 180.0
KP, KI = 0.003, 0.0015  # per metre of pressure error, per step
RUN_UP_N, JOIN_N = 0.05, 0.004  # per second: a drive's acceleration ramps
VESSEL_TAU_S = 3.0
SETTLE_STEPS = 300
ROOM_S = 10.0
DRY_TRIP_S = 60.0
BURST_K = 15.0  # m3/h per sqrt(m) of the broken main
BACKFLOW_K = 1.2  # m3/h per sqrt(m) through a check valve that stays open
M3_PER_DAY, KWH_PER_DAY, RUN_H_PER_DAY, STARTS_PER_DAY = 345.0, 62.0, 10.5, 5.0
LEAK_SEEN = 0.5  # from here on a leaking seal wets the floor as far as the flood switch
DRY_RUNNING = 57  # Grundfos alarm number


@dataclass
class PumpState:
    """One pump of the set."""

    running: bool = False
    n: float = 0.0
    flow: float = 0.0
    power: float = 0.0
    current: float = 0.0
    drive_temp: float = 32.0
    bearing_temp: float = 30.0
    starts: int = 0
    run_h: float = 0.0
    curve: PumpCurve = field(default=CURVE)


def _pump_fields(number: int) -> tuple[Field, ...]:
    at, p = 10 + 20 * (number - 1), f"p{number}_"
    return (
        Field(at, p + "freq", "u16", 0.01, 0.05),
        Field(at + 1, p + "current", "u16", 0.1, 0.05),
        Field(at + 2, p + "power", "u16", 0.01, 0.02),
        Field(at + 3, p + "drive_temp", "i16", 0.1, 0.2),
        Field(at + 4, p + "drive_fault", "u16"),
        Field(at + 5, p + "vib_z", "u16", 0.01, 0.03),
        Field(at + 6, p + "vib_x", "u16", 0.01, 0.03),
        Field(at + 7, p + "hf_g", "u16", 0.001, 0.006),
        Field(at + 8, p + "bearing_temp", "i16", 0.1, 0.2),
        Field(at + 9, p + "starts", "u32"),
        Field(at + 11, p + "run_h", "u32", 0.1),
    )


class BoosterSet(Machine):
    kind = "booster_set"
    fields = (
        Field(0, "outlet_p", "u16", 0.001, 0.0025),
        Field(1, "set_p", "u16", 0.001),
        Field(2, "inlet_p", "u16", 0.001, 0.0015),
        Field(3, "flow", "u16", 0.1, 0.2),
        Field(4, "tank_level", "u16", 0.01, 0.005),
        *bits(5, "auto remote p1_run p2_run p3_run p1_fault p2_fault p3_fault low_inlet tank_low "
                 "tank_high overpressure flood mains door"),
        Field(6, "fault_code", "u16"),
        *_pump_fields(1), *_pump_fields(2), *_pump_fields(3),
        Field(70, "v1", "u16", 0.1, 0.8),
        Field(71, "v2", "u16", 0.1, 0.8),
        Field(72, "v3", "u16", 0.1, 0.8),
        Field(73, "i_unbalance", "u16", 0.1, 0.15),
        Field(74, "energy", "u32", 0.1),
        Field(76, "volume", "u32"),
        Field(78, "cl", "u16", 0.01, 0.003),
        Field(79, "turb", "u16", 0.01, 0.005),
        Field(80, "ph", "u16", 0.01, 0.01),
        Field(81, "room_temp", "i16", 0.1, 0.1),
        Field(82, "room_rh", "i16", 0.1, 0.3),
    )  # fmt: skip
    alarm_bits = frozenset(
        {"p1_fault", "p2_fault", "p3_fault", "low_inlet", "tank_low", "tank_high", "overpressure",
         "flood", "mains", "door"}
    )  # fmt: skip

    def __init__(self, place: Placement, begin_s: float) -> None:
        super().__init__(place, begin_s)
        self._demand_key = place.key("demand")
        self._ripple = place.key("ripple")
        self._weather = place.key("weather")
        days = 700 + place.seed % 200 + begin_s / 86400
        self.pumps = [
            PumpState(starts=int(days * STARTS_PER_DAY), run_h=days * RUN_H_PER_DAY)
            for _ in range(3)
        ]
        self.energy_kwh, self.volume_m3 = days * KWH_PER_DAY, days * M3_PER_DAY
        self.n, self.pressure, self.inlet, self.flow = 0.85, SET_MPA, 0.25, 0.0
        self.tank, self._error_m = 2.0, 0.0
        self._first_day = place.calendar.day(-2 * 3600)  # duty rotates at 02:00
        self._lead = 0
        self._looked, self._warm = -1, 0.0
        self._add_s = self._drop_s = self._cycle = self._dry_s = 0.0
        self._tripped = False
        self._stuck_at: float | None = None
        self._levels: Levels = NO_FAULT
        self._rotate(begin_s)
        self._settle(begin_s)

    # ---- one step
    def step(self, t: float) -> None:
        self.t = t
        self._levels = levels = self.place.faults.levels(t)
        if t % 60 < STEP_S:  # days begin on the minute
            self._rotate(t)
        self._supply(levels)
        self._degrade(levels)
        self._sequence(levels)
        self._control(levels)
        self._hydraulics(t, levels)
        self._electrics(t, levels)

    def _settle(self, t: float) -> None:
        """Lets pressure and speed come to rest, so that a run does not begin with a start-up."""
        volume = self.volume_m3
        self._start(self._lead)
        self.pumps[self._lead].bearing_temp = 40.0
        for _ in range(SETTLE_STEPS):
            self._assist()
            self._control(NO_FAULT)
            self._hydraulics(t, NO_FAULT)
        self.volume_m3 = volume

    def _rotate(self, t: float) -> None:
        lead = (self.place.calendar.day(t - 2 * 3600) - self._first_day) % 3
        if lead != self._lead:
            old, self._lead = self._lead, lead
            if self.pumps[old].running and not self.pumps[lead].running:
                self._stop(old)
                self._start(lead)
                self.pumps[lead].n = self.n  # the old one runs until the new one is up

    def _start(self, index: int) -> None:
        pump = self.pumps[index]
        if not pump.running:
            pump.running, pump.n = True, LOWEST_N
            pump.starts += 1

    def _stop(self, index: int) -> None:
        self.pumps[index].running = False

    def _supply(self, levels: Levels) -> None:
        """Inlet pressure and tank: lower when much is drawn, lost when the source is."""
        base = 0.25 - 0.0008 * self.flow + 0.01 * drift(self._weather, self.t, 900)
        base -= 0.17 * levels.of("cavitation")
        base *= 1 - levels.of("dry_run")
        self.inlet += (max(0.0, base) - self.inlet) * STEP_S / 5
        tank = 2.0 + 0.2 * drift(self._weather + 1, self.t, 7200)
        tank *= 1 - 0.9 * levels.of("dry_run")
        self.tank += (tank - self.tank) * STEP_S / 120

    def _degrade(self, levels: Levels) -> None:
        if not levels:
            self._dry_s = 0.0
            for pump in self.pumps:
                pump.curve = CURVE
            return
        for number, pump in enumerate(self.pumps, start=1):
            head = 1 - 0.2 * levels.of("cavitation", number)
            head *= 1 - 0.97 * levels.of("dry_run") * min(1.0, self._dry_s / 8)
            worn = levels.of("impeller_wear", number)
            head *= 1 - 0.15 * worn
            choked = (1 - 0.3 * levels.of("clogging", number)) ** -2
            if (head, choked) != (1.0, 1.0):
                pump.curve = replace(
                    CURVE,
                    shutoff_m=CURVE.shutoff_m * head,
                    drop=CURVE.drop * choked,
                    efficiency=CURVE.efficiency * (1 - 0.1 * worn),
                )
            else:
                pump.curve = CURVE
        self._dry_s = self._dry_s + STEP_S if levels.of("dry_run") else 0.0

    def _sequence(self, levels: Levels) -> None:
        """Which pumps run: duty and assist by speed and flow, low-water trip, lost vessel."""
        self._tripped = self._dry_s > DRY_TRIP_S
        if self._tripped:
            for index in range(3):
                self._stop(index)
            return
        self._assist()
        cycling = levels.of("short_cycling")
        if cycling:
            starts_per_h = 4 + 56 * cycling
            self._cycle = (self._cycle + starts_per_h * STEP_S / 3600) % 1.0
        resting = bool(cycling) and self._cycle > 0.6
        if resting:
            self._stop(self._lead)
        else:
            self._start(self._lead)

    def _assist(self) -> None:
        on = [i for i in range(3) if self.pumps[i].running]
        self._add_s = self._add_s + STEP_S if self.n >= ADD_N and len(on) < 3 else 0.0
        lazy = len(on) > 1 and self.flow < DROP_M3H * (len(on) - 1)
        self._drop_s = self._drop_s + STEP_S if lazy else 0.0
        order = [(self._lead + k) % 3 for k in range(3)]
        if self._add_s > ADD_AFTER_S:
            self._add_s = 0.0
            self._start(next(i for i in order if i not in on))
        elif self._drop_s > DROP_AFTER_S:
            self._drop_s = 0.0
            self._stop(next(i for i in reversed(order) if i in on))

    def _sensed(self, levels: Levels) -> float:
        """What the pressure sensor tells the controller, MPa."""
        shown = self.pressure - 0.08 * levels.of("pressure_drift")
        if not levels.of("sensor_stuck"):
            self._stuck_at = None
        elif self._stuck_at is None:
            self._stuck_at = round(shown, 3)
        return shown if self._stuck_at is None else self._stuck_at

    def _control(self, levels: Levels) -> None:
        """PI in velocity form on the sensed pressure; the drives follow one speed.

        Without a signal from the sensor the controller holds its speed.
        """
        error_m = (SET_MPA - self._sensed(levels)) / MPA_PER_M
        if levels.of("sensor_open"):
            error_m = self._error_m = 0.0
        if abs(error_m) < 0.2:  # dead band of the pressure controller
            error_m = 0.0
        self.n += KP * (error_m - self._error_m) + KI * error_m
        self.n = min(HIGHEST_N, max(LOWEST_N, self.n))
        self._error_m = error_m
        # An assisting pump joins slowly enough for the controller to take back the others.
        alone = sum(p.running for p in self.pumps) == 1
        rise = (RUN_UP_N if alone else JOIN_N) * STEP_S
        for pump in self.pumps:
            pump.n = min(self.n, pump.n + rise) if pump.running else 0.0

    def demand_m3h(self, t: float) -> float:
        """Water wanted at the set pressure, by local time of day."""
        calendar = self.place.calendar
        mean = hourly(calendar.day(t), calendar.hour(t), DEMAND_M3H, DEMAND_ON_FREE_DAYS)
        return mean * (1 + 0.06 * drift(self._demand_key, t, 180))

    def _hydraulics(self, t: float, levels: Levels) -> None:
        set_m, inlet_m = SET_MPA / MPA_PER_M, self.inlet / MPA_PER_M
        openness = self.demand_m3h(t) / math.sqrt(set_m) + BURST_K * levels.of("pipe_burst")
        if any(p.running for p in self.pumps):
            target_m = self._operating_point(openness, inlet_m, self._backflow(levels))
            rate = STEP_S / VESSEL_TAU_S
        else:  # the vessel alone feeds the demand
            target_m, rate = min(inlet_m, set_m), STEP_S / self._vessel_s(levels)
        shown_m = self.pressure / MPA_PER_M
        shown_m += (target_m - shown_m) * rate
        self.pressure = shown_m * MPA_PER_M
        for pump in self.pumps:
            pump.flow = pump.curve.flow(target_m - inlet_m, pump.n) if pump.running else 0.0
        wet = self.inlet > 0.01 or self._dry_s == 0
        self.flow = openness * math.sqrt(max(0.0, shown_m)) if wet else 0.0
        self.volume_m3 += self.flow * STEP_S / 3600

    def _vessel_s(self, levels: Levels) -> float:
        """Time constant at which the vessel feeds the demand: the less air, the shorter.

        In step with the starts per hour, so that pressure falls as far in each cycle.
        """
        return 900 / (1 + 14 * levels.of("short_cycling"))

    def _backflow(self, levels: Levels) -> float:
        """How far a standing pump's check valve lets water back, m3/h per sqrt(m)."""
        if not levels:
            return 0.0
        return BACKFLOW_K * sum(
            levels.of("check_valve", number)
            for number, pump in enumerate(self.pumps, start=1)
            if not pump.running
        )

    def _operating_point(self, openness: float, inlet_m: float, backflow: float) -> float:
        """Outlet head where the pumps deliver what k sqrt(p) lets through, m.

        Equal pumps without backflow have a closed form, others a bisection.
        """
        curves = [
            (p.curve.shutoff_m * p.n * p.n + inlet_m, 1 / p.curve.drop)
            for p in self.pumps
            if p.running
        ]
        if not backflow and all(curve == curves[0] for curve in curves):
            head, gain = curves[0][0], len(curves) ** 2 * curves[0][1]
            return gain * head / (openness * openness + gain)
        low, high = 0.0, max(head for head, _ in curves)
        for _ in range(14):
            middle = (low + high) / 2
            made = 0.0
            for head, gain in curves:
                if head > middle:
                    made += sqrt((head - middle) * gain)
            lost = backflow * sqrt(max(0.0, middle - inlet_m)) if backflow else 0.0
            if made - lost > openness * sqrt(middle):
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def _electrics(self, t: float, levels: Levels) -> None:
        unbalance = 3.0 * levels.of("phase_unbalance")  # per cent of voltage
        room = self._room()
        for number, pump in enumerate(self.pumps, start=1):
            heat = warm = pump.power = pump.current = 0.0
            if pump.running:
                pump.power = pump.curve.power_kw(pump.flow, pump.n)
                pump.current = motor_current(pump.power, 6.0 * pump.n)
                self._fault_current(pump, number, t, levels)
                heat = 6 + 3.2 * pump.power + 2 * unbalance**2
                warm = 20 * pump.n + 25 * levels.of("bearing", number) ** 2
                warm += min(60.0, 2 * self._dry_s / 60)
                pump.run_h += STEP_S / 3600
                self.energy_kwh += pump.power * STEP_S / 3600
            pump.drive_temp += (room + heat - pump.drive_temp) * STEP_S / 600
            pump.bearing_temp += (room + warm - pump.bearing_temp) * STEP_S / 1200

    def _fault_current(self, pump: PumpState, number: int, t: float, levels: Levels) -> None:
        if not levels:
            return
        if levels.of("dry_run"):
            emptied = levels.of("dry_run") * min(1.0, self._dry_s / 8)
            pump.current += (0.4 * 6.5 - pump.current) * emptied
            pump.power *= 1 - 0.7 * emptied
        s = levels.of("cavitation", number)
        if s:
            pump.current *= 1 - s * (0.10 + 0.03 * gauss(self._ripple, int(t) + 1))

    # ---- what the set reports
    def frozen(self) -> frozenset[str]:
        return frozenset() if self._stuck_at is None else frozenset({"outlet_p"})

    def _room(self) -> float:
        """Room temperature, looked at every ten seconds."""
        look = int(self.t // ROOM_S)
        if look != self._looked:
            t = look * ROOM_S
            daily = 2 * math.sin((self.place.calendar.hour(t) - 9) / 24 * 2 * math.pi)
            self._looked, self._warm = look, 22 + daily + 0.3 * self.place.weather.warmth_c(t)
        return self._warm

    def _pump_values(self, number: int, pump: PumpState) -> dict[str, float]:
        bearing = self._levels.of("bearing", number)
        harsh = 1 + 8 * self._levels.of("cavitation", number) + 10 * bearing
        vib = (0.9 + 0.5 * pump.n**2 + 7.5 * max(0.0, bearing - 0.5) * 2) if pump.running else 0.08
        p = f"p{number}_"
        return {
            p + "run": pump.running, p + "fault": self._tripped,
            p + "freq": pump.n * 50, p + "current": pump.current, p + "power": pump.power,
            p + "drive_temp": pump.drive_temp, p + "drive_fault": 0.0,
            p + "vib_z": vib, p + "vib_x": 0.8 * vib,
            p + "hf_g": 0.12 * harsh if pump.running else 0.01,
            p + "bearing_temp": pump.bearing_temp, p + "starts": pump.starts,
            p + "run_h": pump.run_h,
        }  # fmt: skip

    def _outlet(self) -> float:
        s = self._levels.of("cavitation")
        ripple = self.pressure * 0.05 * s * gauss(self._ripple, int(self.t))
        if self._levels.of("sensor_open"):
            return 0.0  # a broken 4-20 mA loop: the input's lower end
        return self._sensed(self._levels) + (ripple if self._stuck_at is None else 0.0)

    def values(self) -> dict[str, float]:
        unbalance = self._levels.of("phase_unbalance")
        leak = self._levels.of("seal_leak")
        on = any(p.running for p in self.pumps)
        low_inlet = self._tripped or self.inlet < 0.02
        found: dict[str, float] = {
            "outlet_p": self._outlet(), "set_p": SET_MPA, "inlet_p": self.inlet,
            "flow": self.flow, "tank_level": self.tank,
            "auto": True, "remote": False, "low_inlet": low_inlet,
            "tank_low": self.tank < 0.5, "tank_high": self.tank > 2.9,
            "overpressure": self.pressure > 0.75, "flood": leak >= LEAK_SEEN, "mains": True, "door": False,
            "fault_code": DRY_RUNNING if self._tripped else 0,
            "v1": 384 + 8 * unbalance, "v2": 384 - 3 * unbalance, "v3": 384 - 11.5 * unbalance,
            "i_unbalance": 1.5 + 24 * unbalance if on else 0.0,
            "energy": self.energy_kwh, "volume": self.volume_m3,
            "cl": 0.30 + 0.03 * uniform(self._weather, int(self.t // 600)), "turb": 0.25,
            "ph": 7.3, "room_temp": self._room(), "room_rh": 62.0 + 30 * leak,
        }  # fmt: skip
        for number, pump in enumerate(self.pumps, start=1):
            found |= self._pump_values(number, pump)
        return found
