"""Pumps obey the affinity laws and P = rho g Q H / eta."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_simulators.machines.booster_set import CURVE
from pms_simulators.machines.pump_curve import motor_current

RHO_G = 1000 * 9.81


@given(st.floats(1, 24), st.floats(0.5, 1.0))
def test_affinity_laws(flow, n):
    assert CURVE.head(n * flow, n) == pytest.approx(n**2 * CURVE.head(flow, 1.0))
    assert CURVE.power_kw(n * flow, n) == pytest.approx(n**3 * CURVE.power_kw(flow, 1.0))


@given(st.floats(0.1, 30), st.floats(0.6, 1.0))
def test_flow_is_the_inverse_of_head(flow, n):
    assert CURVE.flow(CURVE.head(flow, n), n) == pytest.approx(flow)


def test_power_at_the_best_point_is_hydraulic_power_over_efficiency():
    flow = CURVE.best_m3h
    hydraulic_kw = RHO_G * flow / 3600 * CURVE.head(flow, 1.0) / 1000
    assert CURVE.power_kw(flow, 1.0) - 0.25 == pytest.approx(hydraulic_kw / CURVE.efficiency)


def test_current_is_the_hypotenuse_of_active_and_magnetising_current():
    active = 4000 / (math.sqrt(3) * 380 * 0.9)
    assert motor_current(4.0, 3.0) == pytest.approx(math.sqrt(active**2 + 9))


def test_the_set_serves_power_that_follows_flow_and_frequency(make_device):
    """Read as a client would: from frequency, flow and pressures alone, over a day."""
    device = make_device("booster_set", local="2026-06-02T02:30")
    compared = 0
    for t in range(600, 40000, 300):
        device.advance(t, 10**9)
        r = device.readings()
        running = [i for i in (1, 2, 3) if r[f"p{i}_run"]]
        if len(running) != 1:
            continue
        i, flow = running[0], r["flow"]
        head_m = (r["outlet_p"] - r["inlet_p"]) * 1e6 / RHO_G
        n = r[f"p{i}_freq"] / 50
        hydraulic_kw = RHO_G * flow / 3600 * head_m / 1000
        expected = hydraulic_kw / CURVE.efficiency_at(flow, n) + 0.25 * n**3
        assert r[f"p{i}_power"] == pytest.approx(expected, rel=0.15, abs=0.1)
        compared += 1
    assert compared > 50
