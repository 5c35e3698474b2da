"""The lift moves, heats and opens its doors as a lift does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_simulators.machines.elevator import ACCEL_MPS2, RATED_MPS, Move, motor_heating
from scipy.integrate import cumulative_trapezoid, solve_ivp

TAU_S = 35 * 60


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 99), st.floats(0, 99))
def test_position_integrates_speed_and_speed_keeps_its_limits(a, b):
    move = Move(0.0, a, b)
    t = np.linspace(0, move.end_s, 1001)
    position, speed, accel = np.array([move.at(x) for x in t]).T
    assert np.all(np.abs(speed) <= RATED_MPS + 1e-9)
    assert np.all(np.abs(accel) <= ACCEL_MPS2 + 1e-9)
    assert position[-1] == pytest.approx(b, abs=1e-6)
    np.testing.assert_allclose(a + cumulative_trapezoid(speed, t, initial=0), position, atol=0.01)


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_motor_heats_with_its_time_constant(severity):
    ambient, duty, start = 25.0, 0.8, 40.0
    final = ambient + 35 * duty * (1 + 1.5 * severity)
    temp = start
    for minute in range(1, 121):
        for _ in range(60):
            temp = motor_heating(temp, ambient, duty, severity, 1.0)
        assert temp == pytest.approx(final + (start - final) * math.exp(-minute * 60 / TAU_S))
    solved = solve_ivp(lambda _, y: (final - y) / TAU_S, (0, 7200), [start], rtol=1e-9)
    assert temp == pytest.approx(solved.y[0, -1], abs=1e-3)


def test_a_day_has_the_trips_of_a_residential_lift(make_device):
    device = make_device("elevator", local="2026-06-02T00:00")
    first = device.readings()
    device.advance(86400, 10**6)
    last = device.readings()
    assert 300 <= last["runs"] - first["runs"] <= 900
    assert last["door_cycles"] - first["door_cycles"] >= last["runs"] - first["runs"] - 1
    assert last["energy"] > first["energy"]
    assert 2 <= last["run_hours"] - first["run_hours"] <= 8


def test_a_rush_hour_of_trips_is_consistent(make_device):
    device = make_device("elevator", local="2026-06-02T07:30")
    before = device.readings()
    for t in range(1, 5400):
        device.advance(t, 10)
        r = device.readings()
        assert abs(r["car_speed"]) <= 1.75 + 0.02  # rated speed and sensor noise
        # Trapezoid rule over one second; the speed turns a corner at most twice in it.
        mean = (before["car_speed"] + r["car_speed"]) / 2
        assert abs(r["position"] - before["position"] - mean) <= 0.25
        if r["run"]:
            assert r["door_closed"]
            assert r["lock_chain"]
            assert r["brake_open"]
        if r["door_open"] or r["door_state"] in (6, 7):
            assert r["car_speed"] == 0
            assert r["door_zone"]
        before = r


def test_current_tells_up_from_down_by_the_unbalanced_load(make_device):
    """An empty car is lighter than its counterweight: going down it must be pulled."""
    device = make_device("elevator", local="2026-06-02T07:00")
    currents = {"up": [], "down": []}
    for t in range(1, 7200):
        device.advance(t, 10)
        r = device.readings()
        if abs(r["car_speed"]) > 1.7 and r["load"] < 1:
            currents["up" if r["up"] else "down"].append((r["motor_current"], r["dc_bus"]))
    up, down = (np.mean(currents[k], axis=0) for k in ("up", "down"))
    assert down[0] > up[0] + 1
    assert up[1] > 560 > down[1]  # the bus rises while the drive brakes
