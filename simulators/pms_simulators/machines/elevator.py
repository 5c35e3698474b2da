"""A 1000 kg, 1.75 m/s residential lift (domain reference 1.4 A): traffic, motion, doors, heat."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from pms_simulators.faults import NO_FAULT, Levels
from pms_simulators.machines.machine import STEP_S, Machine, Placement
from pms_simulators.registers import Field, bits
from pms_simulators.signals import drift, gauss, generator, uniform
from pms_simulators.traffic import RIDES_ON_FREE_DAYS, RIDES_PER_HOUR, is_free

BOTTOM, TOP, LOBBY = -2, 33, 1
FLOOR_M = 2.85
RATED_MPS, ACCEL_MPS2 = 1.75, 0.8
RESCUE_MPS, RELEVEL_MPS, CREEP_MPS, CREEP_M = 0.15, 0.25, 0.15, 1.3
DOOR_ZONE_M = 0.1
MOTOR_TAU_S = 35 * 60.0
AMBIENT_S = 10.0
STANDING_DUTY = 0.45  # drive, brake coil and magnetising losses while the car stands
DRAG_DUTY = 0.3  # a dragging brake or a failed fan heats the motor even between trips
BALANCE_LOAD = 45.0  # per cent of rated load that the counterweight balances
RUNS_PER_DAY, MOVING_H_PER_DAY, KWH_PER_DAY = 560, 3.9, 16.0

NORMAL = 1
DOOR_CLOSED, DOOR_OPEN, DOOR_CLOSING, DOOR_OPENING = 0, 1, 6, 7
FAULT_LEVEL = {0: 0, 9: 5, 22: 1, 30: 4, 37: 5, 39: 3, 41: 5, 42: 5, 48: 5, 49: 5}


class Phase(Enum):
    IDLE = auto()
    MOVING = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    STOPPED = auto()  # between floors
    CREEPING = auto()  # uncontrolled, doors open
    LOCKED = auto()  # after an uncontrolled movement


class Ride(NamedTuple):
    at_s: float
    origin: int
    target: int
    load: float


@dataclass(frozen=True)
class Move:
    """A trapezoid speed profile from `a_m` to `b_m`, beginning at `start_s`."""

    start_s: float
    a_m: float
    b_m: float
    top_mps: float = RATED_MPS

    @property
    def _peak(self) -> float:
        return min(self.top_mps, math.sqrt(ACCEL_MPS2 * abs(self.b_m - self.a_m)))

    @property
    def end_s(self) -> float:
        peak = self._peak
        return self.start_s + (abs(self.b_m - self.a_m) / peak + peak / ACCEL_MPS2 if peak else 0)

    def at(self, t: float) -> tuple[float, float, float]:
        """(position m, speed m/s, acceleration m/s2) at `t`, signed, clamped to the profile."""
        sign = 1.0 if self.b_m >= self.a_m else -1.0
        peak, span = self._peak, self.end_s - self.start_s
        x = min(max(t - self.start_s, 0.0), span)
        ramp = peak / ACCEL_MPS2
        if x < ramp:
            done, speed, accel = ACCEL_MPS2 * x * x / 2, ACCEL_MPS2 * x, ACCEL_MPS2
        elif x <= span - ramp:
            done, speed, accel = peak * (x - ramp / 2), peak, 0.0
        else:
            rest = span - x
            done = abs(self.b_m - self.a_m) - ACCEL_MPS2 * rest * rest / 2
            speed, accel = ACCEL_MPS2 * rest, -ACCEL_MPS2
        return self.a_m + sign * done, sign * speed, sign * accel


def motor_heating(temp: float, ambient: float, duty: float, severity: float, dt_s: float) -> float:
    """Temperature after dt: dT/dt = (Tamb + 35 duty (1 + 1.5 s) - T) / tau, tau = 35 min."""
    final = ambient + 35 * duty * (1 + 1.5 * severity)
    return final + (temp - final) * math.exp(-dt_s / MOTOR_TAU_S)


def floor_m(floor: int) -> float:
    return (floor - BOTTOM) * FLOOR_M


def nearest_floor(position_m: float) -> int:
    return min(TOP, max(BOTTOM, round(position_m / FLOOR_M) + BOTTOM))


class Elevator(Machine):
    kind = "elevator"
    fields = (
        Field(0, "car_speed", "i16", 0.001, 0.004),
        Field(1, "rated_speed", "u16", 0.001),
        Field(2, "dc_bus", "u16", 0.1, 2.0),
        Field(3, "motor_current", "u16", 0.1, 0.1),
        Field(4, "floor", "i16"),
        Field(5, "position", "u16", 0.01),
        Field(6, "load", "u16", 0.1, 0.3),
        *bits(7, "run up down door_zone door_closed door_open curtain occupied overload full "
                 "safety_chain lock_chain brake_open mains intercom alarm_button"),
        Field(8, "mode", "u16"),
        Field(9, "door_state", "u16"),
        Field(10, "fault_code", "u16"),
        Field(11, "fault_level", "u16"),
        Field(12, "level_err", "i16"),
        Field(13, "door_open_t", "u16", 0.01),
        Field(14, "door_close_t", "u16", 0.01),
        Field(15, "door_reopen_h", "u16"),
        Field(16, "brake_release_ms", "u16"),
        Field(17, "brake_apply_ms", "u16"),
        Field(18, "brake_slip", "u16", 0.1),
        Field(19, "motor_temp", "i16", 0.1, 0.3),
        Field(20, "mr_temp", "i16", 0.1, 0.15),
        Field(21, "car_vib", "u16", 0.1),
        Field(22, "rope_slip", "u16", 0.1),
        Field(23, "ups_v", "u16", 0.1, 0.03),
        Field(24, "runs", "u32"),
        Field(26, "run_hours", "u32", 0.1),
        Field(28, "door_cycles", "u32"),
        Field(30, "rope_bends", "u32"),
        Field(32, "energy", "u32", 0.1),
        Field(34, "rssi", "i16", 1.0, 1.0),
    )  # fmt: skip
    alarm_bits = frozenset(
        {"mains", "safety_chain", "alarm_button", "intercom", "overload", "curtain"}
    )

    def __init__(self, place: Placement, begin_s: float) -> None:
        super().__init__(place, begin_s)
        self._traffic = place.key("traffic")
        self._trip_noise = place.key("trip")
        self._chance = place.key("chance")
        self._weather = place.key("weather")
        self._looked, self._warm = -1, 0.0
        self._rides: deque[Ride] = deque()
        self._hour = math.floor(begin_s / 3600) - 1
        self.phase, self.phase_end = Phase.IDLE, math.inf
        self.position, self.speed, self.accel = floor_m(LOBBY), 0.0, 0.0
        self._move: Move | None = None
        self._ride: Ride | None = None
        self._boarded = False
        self.load = 0.0
        self._reopens: deque[float] = deque()
        self._curtain = False
        self.dark_since = math.inf
        self._trapped_at = math.inf
        self._lock_trip = False
        self._overheated = False
        self._levels: Levels = NO_FAULT
        self._begin_counters(begin_s)
        self._begin_trip_values()
        self.motor_temp = self._ambient() + 35 * (STANDING_DUTY + 0.55 * MOVING_H_PER_DAY / 24)

    def _begin_counters(self, begin_s: float) -> None:
        days = begin_s / 86400
        old = 900 + self.place.seed % 300  # days in service before the scenario
        self.runs = int((old + days) * RUNS_PER_DAY)
        self.door_cycles = int(self.runs * 1.05)
        self.run_hours = (old + days) * MOVING_H_PER_DAY
        self.energy_kwh = (old + days) * KWH_PER_DAY
        self.ups_v = 27.0

    def _begin_trip_values(self) -> None:
        self._land(NO_FAULT)
        self._door_times(NO_FAULT)

    # ---- one step
    def step(self, t: float) -> None:
        self.t = t
        self._levels = levels = self.place.faults.levels(t)
        self._arrivals(t)
        self._power(t, levels.of("power_loss"))
        self._incidents(t, levels)
        self._depart(t)
        while self.phase_end <= t:
            self._finish_phase(self.phase_end)
        self._kinematics(t)
        self._heat(levels.of("motor_overheat"))
        self._count()

    def _arrivals(self, t: float) -> None:
        """Rides of each hour come from that hour's own generator: a restart sees the same."""
        hour = int(t // 3600)
        while self._hour < hour:
            self._hour += 1
            self._rides.extend(r for r in self._rides_of(self._hour) if r.at_s > t - 300)

    def _rides_of(self, hour: int) -> list[Ride]:
        rng = generator(self._traffic, hour)
        middle_s = hour * 3600 + 1800
        clock_hour = int(self.place.calendar.hour(middle_s))
        free = is_free(self.place.calendar.day(middle_s))
        mean = (RIDES_ON_FREE_DAYS if free else RIDES_PER_HOUR)[clock_hour]
        count = max(0, round(mean + math.sqrt(mean) * rng.uniform(-1, 1)))
        times = sorted(hour * 3600 + rng.uniform(0, 3600) for _ in range(count))
        return [self._ride_at(at, clock_hour, rng.random, rng.randint) for at in times]

    @staticmethod
    def _ride_at(
        at: float, hour: int, chance: Callable[[], float], pick: Callable[[int, int], int]
    ) -> Ride:
        home = pick(3, TOP)
        ground = LOBBY if chance() < 0.75 else pick(BOTTOM, 0)
        leaving = chance() < (0.85 if 6 <= hour < 10 else 0.2 if 16 <= hour < 21 else 0.5)
        load = 7.0 * pick(1, 5 if hour in (7, 8, 17, 18) else 3)
        return Ride(at, home, ground, load) if leaving else Ride(at, ground, home, load)

    def _depart(self, t: float) -> None:
        waiting = self._rides and self._rides[0].at_s <= t
        out_of_order = self._overheated or self.dark_since < math.inf
        if self.phase is not Phase.IDLE or not waiting or out_of_order:
            return
        self._ride, self._boarded = self._rides.popleft(), False
        self._head_for(self._ride.origin, t)

    def _head_for(self, floor: int, t: float, top_mps: float = RATED_MPS) -> None:
        target = floor_m(floor)
        if abs(target - self.position) < 0.001:
            self._open(t)
            return
        self._move = Move(t, self.position, target, top_mps)
        self.phase, self.phase_end = Phase.MOVING, self._move.end_s
        self.runs += 1

    def _finish_phase(self, at: float) -> None:
        match self.phase:
            case Phase.MOVING:
                self.position, self._move = floor_m(nearest_floor(self._target())), None
                self._land(self._levels)
                self._open(at)
            case Phase.OPENING:
                self._exchange()
                stay = 4.0 + 4.0 * uniform(self._chance, int(at * 10))
                self.phase, self.phase_end = Phase.OPEN, at + stay
            case Phase.OPEN:
                self._close_or_hold(at)
            case Phase.CLOSING:
                self._closed(at)
            case Phase.STOPPED:
                self._lock_trip = False
                self._head_for(nearest_floor(self.position), at, RELEVEL_MPS)
            case Phase.CREEPING:
                self.position = self._target()
                self._move, self.phase, self.phase_end = None, Phase.LOCKED, math.inf
            case Phase.IDLE | Phase.LOCKED:
                self.phase_end = math.inf

    def _target(self) -> float:
        return self._move.b_m if self._move else self.position

    def _open(self, at: float) -> None:
        self._door_times(self._levels)
        self.phase, self.phase_end = Phase.OPENING, at + self.door_open_t

    def _exchange(self) -> None:
        """Passengers leave or enter."""
        floor, ride = nearest_floor(self.position), self._ride
        if ride is None or self.dark_since < math.inf:
            self.load = 0.0
        elif self._boarded and floor == ride.target:
            self.load, self._ride, self._boarded = 0.0, None, False
        elif not self._boarded and floor == ride.origin:
            self.load, self._boarded = ride.load, True

    def _close_or_hold(self, at: float) -> None:
        blocked = self._levels.of("door_obstruction")
        if not self._curtain and uniform(self._chance, int(at)) < blocked:
            self._curtain = True
            tries = 3 + int(6 * uniform(self._chance, int(at) + 1))
            self._reopens.extend(at + 10.0 * i for i in range(tries))
            hold_s = 130 + 120 * uniform(self._chance, int(at) + 2)
            self.phase_end = at + hold_s
            return
        self._curtain = False
        self.phase, self.phase_end = Phase.CLOSING, at + self.door_close_t

    def _closed(self, at: float) -> None:
        self.door_cycles += 1
        if uniform(self._chance, int(at * 10) + 5) < 0.02 + 0.23 * self._levels.of("door_wear"):
            self._reopens.append(at)
            self._open(at)
            return
        if self._ride and self._boarded:
            self._head_for(self._ride.target, at)
        elif self._ride and nearest_floor(self.position) != self._ride.origin:
            self._head_for(self._ride.origin, at)
        else:
            self.phase, self.phase_end = Phase.IDLE, math.inf

    # ---- faults that interrupt a trip
    def _power(self, t: float, lost: float) -> None:
        if lost and self.dark_since == math.inf:
            self.dark_since = t
            if self.phase is Phase.MOVING:
                self._head_for(nearest_floor(self.position), t, RESCUE_MPS)
        elif not lost and self.dark_since < math.inf:
            self.dark_since, self._ride, self._boarded = math.inf, None, False
            if self.phase is Phase.OPEN:
                self.phase_end = t
        if lost and self.phase in (Phase.OPEN, Phase.CLOSING):  # the rescue drive leaves them open
            self.phase, self.phase_end = Phase.OPEN, math.inf
        self.ups_v += ((25.2 if lost else 27.0) - self.ups_v) * STEP_S / 1800

    def _incidents(self, t: float, levels: Levels) -> None:
        self._entrapment(t, levels.of("entrapment"))
        self._uncontrolled(t, levels.of("uncontrolled_move"))
        hazard = 0.02 * levels.of("lock_intermittent")
        if hazard and self._at_speed() and uniform(self._chance, int(t) + 7) < hazard:
            self._lock_trip = True
            self._stop(t + 10 + 50 * uniform(self._chance, int(t) + 8))

    def _at_speed(self) -> bool:
        between = abs(self.position - floor_m(nearest_floor(self.position))) > 0.4
        return self.phase is Phase.MOVING and abs(self.speed) > 1.0 and between

    def _stop(self, until: float) -> None:
        self._move, self.speed, self.accel = None, 0.0, 0.0
        self.phase, self.phase_end = Phase.STOPPED, until

    def _entrapment(self, t: float, level: float) -> None:
        trapped = self._trapped_at < math.inf
        if not level and trapped:
            self._trapped_at, self.phase_end = math.inf, t
        elif level and not trapped and self._at_speed():
            self._trapped_at, self.load = t, max(self.load, 14.0)
            self._stop(math.inf)
        elif level and not trapped and self.phase is Phase.IDLE:
            floor = nearest_floor(self.position)
            target = floor + 8 if floor < 12 else floor - 8
            self._ride, self._boarded, self.load = Ride(t, floor, target, 14.0), True, 14.0
            self._head_for(target, t)

    def _uncontrolled(self, t: float, level: float) -> None:
        away = self.phase in (Phase.CREEPING, Phase.LOCKED)
        if not level and away:
            self._head_for(nearest_floor(self.position), t, RELEVEL_MPS)
        elif level and not away and self.phase is Phase.OPEN:
            up = nearest_floor(self.position) < TOP
            self._move = Move(t, self.position, self.position + (CREEP_M if up else -CREEP_M),
                              CREEP_MPS)  # fmt: skip
            self.phase, self.phase_end = Phase.CREEPING, self._move.end_s
        elif level and self.phase is Phase.IDLE:
            self._open(t)

    # ---- continuous quantities
    def _kinematics(self, t: float) -> None:
        if self._move is None:
            self.speed = self.accel = 0.0
        else:
            self.position, self.speed, self.accel = self._move.at(t)

    def _heat(self, severity: float) -> None:
        moving = 1.0 if self._move and self.phase is Phase.MOVING else 0.0
        duty = STANDING_DUTY + (1 - STANDING_DUTY) * moving + DRAG_DUTY * severity
        self.motor_temp = motor_heating(self.motor_temp, self._ambient(), duty, severity, STEP_S)
        if self.motor_temp > 110:
            self._overheated = True
        elif self.motor_temp < 90:
            self._overheated = False

    def _ambient(self) -> float:
        """Machine room, looked at every ten seconds."""
        look = int(self.t // AMBIENT_S)
        if look != self._looked:
            t = look * AMBIENT_S
            hour = self.place.calendar.hour(t)
            daily = 3 * math.sin((hour - 9) / 24 * 2 * math.pi) + drift(self._weather, t, 7200)
            self._looked, self._warm = look, 25 + daily + 0.5 * self.place.weather.warmth_c(t)
        return self._warm

    def _count(self) -> None:
        if self.phase is Phase.MOVING:
            self.run_hours += STEP_S / 3600
        watts = 150 + (400 + 380 * self._current() if self._move else 0)
        self.energy_kwh += watts * STEP_S / 3.6e6
        while self._reopens and self._reopens[0] < self.t - 3600:
            self._reopens.popleft()

    def _current(self) -> float:
        """Motor current, A: friction and the unbalanced load, more while accelerating."""
        if self.phase is not Phase.MOVING:
            return 0.0
        sign = 1 if self.speed >= 0 else -1
        torque = 0.12 + sign * (self.load - BALANCE_LOAD) / 100 + 0.35 * sign * self.accel
        drag = 2.5 * self._levels.of("motor_overheat")
        return min(28.0, 4.5 + 18 * abs(torque) + drag)

    def _dc_bus(self) -> float:
        if self.dark_since < math.inf:
            return 540 * math.exp(-(self.t - self.dark_since))
        sign = 1 if self.speed >= 0 else -1
        braking = self._move is not None and sign * (self.load - BALANCE_LOAD) < -5
        return 590.0 if braking else 540.0 - 0.5 * self._current()

    # ---- values per trip and door cycle
    def _land(self, levels: Levels) -> None:
        def noise(number: int) -> float:
            return gauss(self._trip_noise, self.runs * 16 + number)

        s = levels.of("level_drift")
        self.level_err = 35 * s + (2 + 4 * s) * noise(0)
        s = levels.of("brake_wear")
        self.brake_release_ms = 220 + 200 * s + 8 * noise(1)
        self.brake_apply_ms = 170 + 150 * s + 6 * noise(2)
        self.brake_slip = 1 + 14 * s + 0.2 * noise(3)
        self.rope_slip = 2 + 28 * levels.of("rope_slip") + 0.3 * noise(4)
        self.car_vib = 8 + 27 * levels.of("guide_wear") + 0.8 * noise(5)

    def _door_times(self, levels: Levels) -> None:
        s = levels.of("door_wear")
        spread = 0.05 * (1 + 2 * s)
        index = self.door_cycles * 4
        slower = 1 + 0.8 * s
        self.door_open_t = 2.6 * slower + spread * gauss(self._trip_noise, index + 1)
        self.door_close_t = 3.2 * slower + spread * gauss(self._trip_noise, index + 2)

    # ---- what the controller reports
    def _fault_code(self) -> int:
        if self.dark_since < math.inf:
            return 9
        if self._trapped_at < math.inf:
            return 41
        if self.phase in (Phase.CREEPING, Phase.LOCKED):
            return 30
        if self._lock_trip:
            return 42
        if self._overheated:
            return 39
        return self._wear_code()

    def _wear_code(self) -> int:
        limits = (("brake_wear", 0.95, 37), ("door_wear", 0.9, 48), ("level_drift", 0.8, 22))
        for name, limit, code in limits:
            if self._levels.of(name) > limit:
                return code
        return 0

    def _door_state(self) -> int:
        doors = {
            Phase.OPENING: DOOR_OPENING,
            Phase.OPEN: DOOR_OPEN,
            Phase.CLOSING: DOOR_CLOSING,
            Phase.CREEPING: DOOR_OPEN,
            Phase.LOCKED: DOOR_OPEN,
        }
        return doors.get(self.phase, DOOR_CLOSED)

    def _status(self) -> dict[str, float]:
        door, trapped_s = self._door_state(), self.t - self._trapped_at
        run = self.phase is Phase.MOVING
        off_floor = abs(self.position - floor_m(nearest_floor(self.position)))
        pressed = trapped_s >= 20 + uniform(self._chance, 3) * 100
        return {
            "run": run, "up": self.speed > 0, "down": self.speed < 0,
            "door_zone": off_floor < DOOR_ZONE_M,
            "door_closed": door == DOOR_CLOSED, "door_open": door == DOOR_OPEN,
            "curtain": self._curtain, "occupied": self.load > 0,
            "overload": self.load > 105, "full": self.load > 80,
            "safety_chain": self._trapped_at == math.inf and self._fault_code() != 30,
            "lock_chain": door == DOOR_CLOSED and not self._lock_trip,
            "brake_open": run or self.phase is Phase.CREEPING,
            "mains": self.dark_since == math.inf,
            "intercom": pressed and trapped_s >= 150, "alarm_button": pressed,
        }  # fmt: skip

    def values(self) -> dict[str, float]:
        code = self._fault_code()
        return self._status() | {
            "car_speed": self.speed, "rated_speed": RATED_MPS, "dc_bus": self._dc_bus(),
            "motor_current": self._current(), "floor": nearest_floor(self.position),
            "position": self.position, "load": self.load, "mode": NORMAL,
            "door_state": self._door_state(), "fault_code": code,
            "fault_level": FAULT_LEVEL[code], "level_err": self.level_err,
            "door_open_t": self.door_open_t, "door_close_t": self.door_close_t,
            "door_reopen_h": sum(1 for at in self._reopens if at <= self.t),
            "brake_release_ms": self.brake_release_ms, "brake_apply_ms": self.brake_apply_ms,
            "brake_slip": self.brake_slip, "motor_temp": self.motor_temp,
            "mr_temp": self._ambient(), "car_vib": self.car_vib, "rope_slip": self.rope_slip,
            "ups_v": self.ups_v, "runs": self.runs, "run_hours": self.run_hours,
            "door_cycles": self.door_cycles, "rope_bends": self.runs * 3,
            "energy": self.energy_kwh, "rssi": -75.0,
        }  # fmt: skip
