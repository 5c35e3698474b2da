"""Every fault moves the point that domain reference 2 names; without a fault nothing does."""

import math

import pytest
from pms_simulators.device import MACHINES
from pms_simulators.faults import CATALOGUE, Burst, Exponential, Fault, Ramp, Step

ONSET_S = 600.0

# (kind, fault, law, minutes within which the cue appears, cue)
CUES = [
    ("elevator", "door_wear", Step(), 15, lambda r: r["door_open_t"] > 3.5),
    ("elevator", "door_obstruction", Step(), 15, lambda r: r["curtain"] and r["door_open"]),
    ("elevator", "level_drift", Step(), 15, lambda r: r["level_err"] > 20),
    ("elevator", "brake_wear", Step(), 15, lambda r: r["brake_slip"] > 10),
    ("elevator", "motor_overheat", Step(), 60, lambda r: r["motor_temp"] > 80),
    ("elevator", "rope_slip", Step(), 15, lambda r: r["rope_slip"] > 20),
    ("elevator", "guide_wear", Step(), 15, lambda r: r["car_vib"] > 20),
    ("elevator", "lock_intermittent", Step(), 60, lambda r: r["fault_code"] == 42),
    ("elevator", "entrapment", Step(), 5,
     lambda r: not r["run"] and not r["door_zone"] and r["occupied"] and r["alarm_button"]),
    ("elevator", "power_loss", Step(), 1, lambda r: not r["mains"] and r["dc_bus"] < 50),
    ("elevator", "uncontrolled_move", Step(), 10,
     lambda r: abs(r["car_speed"]) > 0.1 and r["door_open"] and not r["door_zone"]),
    ("booster_set", "cavitation", Step(), 5,
     lambda r: r["p1_hf_g"] > 0.5 and r["inlet_p"] < 0.15),
    ("booster_set", "bearing", Exponential(600.0), 60,
     lambda r: r["p1_hf_g"] > 0.6 and r["p1_vib_z"] > 7.1),
    ("booster_set", "clogging", Step(), 30, lambda r: r["p1_freq"] > 45 and r["flow"] < 20),
    ("booster_set", "dry_run", Step(), 5, lambda r: r["outlet_p"] < 0.3 and r["low_inlet"]),
    ("booster_set", "short_cycling", Step(), 5, lambda r: not r["p1_run"]),
    ("booster_set", "phase_unbalance", Step(), 5, lambda r: r["i_unbalance"] > 20),
    ("booster_set", "pipe_burst", Step(), 5, lambda r: r["outlet_p"] < 0.44 and r["flow"] > 60),
    ("booster_set", "pressure_drift", Step(), 10,
     lambda r: r["p1_freq"] > 44 and r["flow"] < 17 and abs(r["outlet_p"] - 0.55) < 0.03),
    ("booster_set", "seal_leak", Ramp(1800.0), 30, lambda r: r["flood"]),
    ("booster_set", "sensor_open", Step(), 1, lambda r: r["outlet_p"] == 0 and r["flow"] > 3),
    ("fire_pump", "churn_loss", Step(), 5, lambda r: r["churn_p"] < 1 and r["test_result"] == 3),
    ("fire_pump", "bearing", Step(), 5, lambda r: r["vib"] > 6.6),
    ("fire_pump", "fail_to_start", Step(), 5, lambda r: r["main_fault"] and r["test_result"] == 2),
    ("fire_pump", "left_in_manual", Step(), 1, lambda r: not r["auto"]),
    ("fire_pump", "weak_battery", Step(), 5, lambda r: r["diesel_batt_a"] < 16),
    ("fire_pump", "suction_valve_closed", Step(), 5,
     lambda r: r["suction_p"] < 0 and not r["suction_valve_open"] and r["main_run"]),
    ("fire_pump", "jockey_short_cycling", Step(), 40, lambda r: r["jockey_starts_h"] > 15),
    ("fire_pump", "tank_low", Step(), 120, lambda r: r["pool_level"] < 3.5),
    ("fire_pump", "phase_loss", Step(), 1, lambda r: r["phase_fault"] and r["v3"] < 350),
    ("drainage_pump", "ragging", Step(), 60, lambda r: r["p1_current"] > 1.15 * 5.5),
    ("drainage_pump", "seal_leak", Ramp(1800.0), 30, lambda r: r["p1_seal_kohm"] < 50),
    ("drainage_pump", "check_valve", Step(), 60, lambda r: r["p1_reverse"]),
    ("drainage_pump", "dry_run", Step(), 60, lambda r: r["p1_run"] and r["p1_current"] < 2.5),
    ("drainage_pump", "high_inflow", Step(), 10, lambda r: r["overflow"]),
    ("drainage_pump", "sensor_stuck", Step(), 60,
     lambda r: r["high_float"] and r["pit_level"] < 1.2),
    ("drainage_pump", "winding_overheat", Step(), 45,
     lambda r: r["p1_ptc_ohm"] > 3000 and r["p1_fault"]),
    ("fire_panel", "fire_alarm", Step(), 5,
     lambda r: r["fire"] and r["fire_n"] >= 2 and r["feedback_n"] >= 3 and r["first_addr"]),
    ("fire_panel", "false_alarm", Burst(240.0, 3), 60, lambda r: r["fire_n"] == 1),
    ("fire_panel", "device_fault", Step(), 2, lambda r: r["fault"] and r["fault_n"] == 1),
    ("fire_panel", "ground_fault", Ramp(1800.0), 30, lambda r: r["earth_kohm"] < 50),
    ("fire_panel", "loop_open", Step(), 2, lambda r: r["loop1_state"] == 1 and r["fault"]),
    ("fire_panel", "loop_short", Step(), 2,
     lambda r: r["loop0_state"] == 2 and r["loop0_expected"] - r["loop0_present"] == 20),
    ("fire_panel", "battery_low", Ramp(1800.0), 30,
     lambda r: r["batt_v"] < 24 and r["battery_fault"]),
    ("fire_panel", "mains_fail", Step(), 2, lambda r: r["mains_fault"] and r["batt_ma"] < -300),
    ("fire_panel", "valve_closed", Step(), 1, lambda r: r["supervisory_n"] == 1),
    ("fire_panel", "manual_mode", Step(), 1, lambda r: r["manual"] and not r["auto"]),
    ("fire_panel", "points_disabled", Step(), 1, lambda r: r["disabled_n"] == 6),
    ("fire_panel", "network_loss", Step(), 6, lambda r: r["heartbeat_age"] > 300),
    ("fire_panel", "detector_dirty", Ramp(1800.0), 30, lambda r: r["dirty_n"] >= 5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "law", "minutes", "cue"), CUES, ids=[f"{c[0]}-{c[1]}" for c in CUES]
)
def test_a_fault_shows_its_cue_and_only_after_its_onset(make_device, kind, name, law, minutes, cue):
    device = make_device(kind, Fault(name, ONSET_S, math.inf, 1.0, law))
    seen_at = None
    for t in range(1, int(ONSET_S + minutes * 60) + 1):
        device.advance(t, 10)
        if cue(device.readings()):
            seen_at = t
            break
    assert seen_at is not None
    assert seen_at >= ONSET_S


@pytest.mark.parametrize(
    ("kind", "point"), [("booster_set", "outlet_p"), ("drainage_pump", "pit_level")]
)
def test_a_stuck_sensor_repeats_one_value_while_the_plant_goes_on(make_device, kind, point):
    device = make_device(kind, Fault("sensor_stuck", ONSET_S, ONSET_S + 3600, 1.0, Step()))
    values = {"before": set(), "stuck": set(), "after": set()}
    for t in range(1, 2 * 3600, 5):
        device.advance(t, 10)
        when = "before" if t < ONSET_S else "stuck" if t < ONSET_S + 3600 else "after"
        values[when].add(device.readings()[point])
    assert len(values["stuck"]) == 1
    assert len(values["before"]) > 3
    assert len(values["after"]) > 3


@pytest.mark.parametrize(("name", "pump"), [("impeller_wear", 1), ("check_valve", 2)])
def test_a_worn_or_leaking_set_takes_more_power_for_the_same_water(make_device, name, pump):
    """A worn impeller makes less head; water that leaks back through pump 2 is pumped twice."""
    sick = make_device("booster_set", Fault(name, ONSET_S, math.inf, 1.0, Step(), pump))
    sound = make_device("booster_set")
    for device in (sick, sound):
        device.advance(ONSET_S + 1800, 10**9)
    a, b = sick.readings(), sound.readings()
    assert not a["p2_run"]
    assert a["flow"] == pytest.approx(b["flow"], rel=0.05)
    assert a["p1_power"] > 1.1 * b["p1_power"]
    assert a["p1_freq"] > 1.03 * b["p1_freq"]


def test_every_fault_of_the_catalogue_is_tried_here():
    tried = {(kind, name) for kind, name, *_ in CUES}
    tried |= {("booster_set", "impeller_wear"), ("booster_set", "check_valve")}
    tried |= {(kind, "sensor_stuck") for kind in ("booster_set", "drainage_pump")}
    named = {(kind, name) for kind in MACHINES for name in CATALOGUE[kind]}
    assert named - tried == {(kind, "comms_loss") for kind in MACHINES}  # test_modbus_server


# Limits of domain reference 1.4 that a healthy machine must keep in a whole day.
HEALTHY = {
    "elevator": {
        "car_speed": (-1.77, 1.77), "motor_current": (0, 28), "load": (0, 100),
        "level_err": (-10, 10), "door_open_t": (2.0, 3.5), "door_close_t": (2.5, 4.0),
        "brake_release_ms": (150, 350), "brake_apply_ms": (100, 250), "brake_slip": (0, 3),
        "motor_temp": (20, 80), "mr_temp": (5, 40), "car_vib": (0, 15), "rope_slip": (0, 5),
        "ups_v": (24, 28), "dc_bus": (500, 680), "fault_code": (0, 0), "safety_chain": (1, 1),
        "mains": (1, 1), "alarm_button": (0, 0), "curtain": (0, 0), "door_reopen_h": (0, 6),
    },
    "booster_set": {
        "outlet_p": (0.50, 0.60), "inlet_p": (0.15, 0.35), "flow": (0, 60),
        "tank_level": (1.0, 2.8), "fault_code": (0, 0), "p1_freq": (0, 50), "p1_current": (0, 15),
        "p1_power": (0, 7.5), "p1_drive_temp": (5, 70), "p1_vib_z": (0, 3.2), "p1_hf_g": (0, 0.3),
        "p1_bearing_temp": (5, 70), "v1": (353, 407), "v2": (353, 407), "v3": (353, 407),
        "i_unbalance": (0, 5), "low_inlet": (0, 0), "p1_fault": (0, 0), "overpressure": (0, 0),
        "cl": (0.05, 2), "turb": (0, 1), "ph": (6.5, 8.5), "room_temp": (5, 40),
    },
    "fire_pump": {
        "system_p": (0.94, 1.06), "suction_p": (0.02, 0.10), "pool_level": (3.9, 4.1),
        "auto": (1, 1), "main_fault": (0, 0), "jockey_starts_h": (0, 4), "start_time": (0, 30),
        "diesel_batt_b": (24, 27.6), "fuel": (67, 100), "coolant": (20, 95), "vib": (0, 3.2),
        "bearing_temp": (5, 70), "days_since_test": (0, 7), "test_result": (1, 1),
        "churn_p": (0.99, 1.1), "suction_valve_open": (1, 1), "discharge_valve_open": (1, 1),
        "v1": (353, 407), "phase_fault": (0, 0), "diesel_batt_a": (16, 27.6),
    },
    "drainage_pump": {
        "pit_level": (0.3, 1.2), "high_float": (0, 0), "overflow": (0, 0), "inflow": (0, 15),
        "p1_current": (0, 6.3), "p1_seal_kohm": (50, 2000), "p1_ptc_ohm": (0, 1500),
        "p1_reverse": (0, 0), "p1_cycle_s": (60, 400), "p1_fault": (0, 0), "mains": (1, 1),
    },
    "fire_panel": {
        "normal": (1, 1), "fire_n": (0, 0), "fault_n": (0, 0), "disabled_n": (0, 0),
        "supervisory_n": (0, 0), "feedback_n": (0, 0), "mains_v": (198, 242),
        "batt_v": (26.0, 27.6), "batt_ma": (-50, 50), "earth_kohm": (100, 2000), "auto": (1, 1),
        "heartbeat_age": (0, 90), "duty_reply_s": (0, 60), "loop0_ma": (50, 250),
        "loop0_v": (22, 28), "loop0_state": (0, 0), "hydrant_end_p": (0.10, 1),
        "sprinkler_end_p": (0.05, 1), "batt_mohm": (0, 56),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", MACHINES)
def test_a_healthy_day_reaches_no_alarm(make_device, kind):
    """From Sunday 20:00, so that Monday's rush hours and the weekly pump test are in it."""
    device = make_device(kind, local="2026-06-07T20:00")
    for t in range(7, 86400, 7):
        device.advance(t, 10)
        readings = device.readings()
        for point, (low, high) in HEALTHY[kind].items():
            assert low <= readings[point] <= high, (point, readings[point], t)


@pytest.mark.parametrize("kind", MACHINES)
def test_a_seed_repeats_a_run_whatever_the_pace_of_reading(make_device, kind):
    """The same values at the same simulated times, stepped singly, in jumps, or read in between."""
    fault = Fault(next(iter(CATALOGUE[kind])), 900.0, 2400.0, 0.8, Ramp(300.0))
    slow, fast = make_device(kind, fault), make_device(kind, fault)
    other = make_device(kind, fault, seed=8)
    differs = False
    for t in range(60, 3600, 60):
        for part in (20, 40, 60):
            slow.advance(t - 60 + part, 7)
            slow.readings()
            slow.advance(t - 60 + part, 100)
        fast.advance(t, 100)
        other.advance(t, 100)
        assert slow.readings() == fast.readings()
        differs |= other.readings() != fast.readings()
    assert differs


@pytest.mark.parametrize("kind", MACHINES)
def test_a_late_start_joins_a_scenario_sensibly(make_device, kind):
    """A run that begins ten hours in has the counters and the fault of one that ran through."""
    now_s = 36000.0
    fault = Fault("comms_loss", now_s - 600, now_s + 600, 1.0, Step())
    through, joined = make_device(kind, fault), make_device(kind, fault, now_s=now_s)
    through.advance(now_s, 10**9)
    joined.advance(now_s, 10**9)
    assert joined.at_s() == through.at_s() == now_s
    assert joined.silent()
    a, b = through.readings(), joined.readings()
    for key in ("runs", "run_hours", "p1_starts", "p1_run_h", "volume", "main_starts", "energy"):
        if key in a:
            assert b[key] == pytest.approx(a[key], rel=0.01), key
    for key in ("motor_temp", "p1_bearing_temp", "outlet_p", "system_p", "batt_v"):
        if key in a:
            assert b[key] == pytest.approx(a[key], rel=0.15), key
