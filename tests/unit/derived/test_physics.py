"""Formulas beside figures worked out elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from pms_simulators.machines.pump_curve import MPA_PER_M, PumpCurve

from pms_iot.derived.formula import OF_STATES
from pms_iot.derived.physics.catalogue import FORMULAS

CURVE = PumpCurve(shutoff_m=58.0, drop=0.0372, best_m3h=20.0, efficiency=0.68)
NAMEPLATE = {"shutoff_m": 58.0, "drop": 0.0372, "rated_hz": 50.0}
NS = np.array([0.7, 0.85, 1.0])


def of(name: str, *inputs: object, **params: float) -> np.ndarray:
    arrays = [np.atleast_1d(np.asarray(each, np.float64)) for each in inputs]
    return FORMULAS[name].compute(*arrays, **{k: np.array([v]) for k, v in params.items()})


def flows(at_rated: float) -> np.ndarray:
    """The same point of the curve at each speed: Q ~ n."""
    return at_rated * NS


def outlet(flow: np.ndarray, curve: PumpCurve = CURVE, inlet: float = 0.2) -> np.ndarray:
    return np.array([inlet + curve.head(q, n) * MPA_PER_M for q, n in zip(flow, NS, strict=True)])


def test_healthy_pump_lies_on_its_curve_at_any_speed() -> None:
    flow = flows(15.0)
    for name in ("head_deviation", "speed_deviation"):
        found = of(name, 50 * NS, flow, outlet(flow), [0.2] * 3, **NAMEPLATE)
        assert found == pytest.approx([0, 0, 0], abs=1e-9)


def test_worn_impeller_shows_its_lost_head_at_any_speed() -> None:
    flow = flows(15.0)
    worn = PumpCurve(58.0 * 0.9, 0.0372, 20.0, 0.68)
    found = of("head_deviation", 50 * NS, flow, outlet(flow, worn), [0.2] * 3, **NAMEPLATE)
    expected = 100 * (-5.8 / (58 - 0.0372 * 225))
    assert found == pytest.approx([expected] * 3)


def test_clogged_pump_needs_more_speed_for_the_same_flow() -> None:
    """It holds 0.35 MPa at 15 m³/h; clogged to 0.7 of its flow its curve falls twice as steeply."""
    head, flow = 0.35 / MPA_PER_M, 15.0
    clean, clogged = (np.sqrt((head + drop * flow**2) / 58) for drop in (0.0372, 0.0372 / 0.49))
    found = of("speed_deviation", 50 * clogged, flow, 0.55, 0.2, **NAMEPLATE)
    assert found == pytest.approx([100 * (clogged / clean - 1)])
    assert found[0] > 8


def test_power_follows_the_cube_of_the_speed() -> None:
    """6.6 kW at 50 Hz and 20 m³/h are 6.6 * 0.8³ at 40 Hz and 16 m³/h."""
    curve = {"power_0": 3.0, "power_q": 0.18, "rated_hz": 50.0}
    assert of("power_deviation", 50.0, 20.0, 6.6, **curve) == pytest.approx([0])
    assert of("power_deviation", 40.0, 16.0, 6.6 * 0.512, **curve) == pytest.approx([0])
    assert of("power_deviation", 40.0, 16.0, 6.6 * 0.512 * 1.1, **curve) == pytest.approx([10])


def test_efficiency_is_hydraulic_over_electric_power() -> None:
    """Textbook: 100 m³/h against 50 m with 20 kW: 9810 * 100 / 3600 * 50 W = 13.6 kW, 68.1 %."""
    found = of("pump_efficiency", 100.0, 0.1 + 50 * 9810 / 1e6, 0.1, 20.0)
    assert found == pytest.approx([68.125])
    with np.errstate(all="raise"):
        assert np.isnan(of("pump_efficiency", 10.0, 0.5, 0.1, 0.0))


@pytest.mark.parametrize(
    ("name", "inputs", "params", "expected"),
    [
        ("specific_energy", (6.0, 20.0), {}, 0.3),
        ("specific_energy", (6.0, 0.0), {}, np.nan),
        ("trip_energy", (1.5, 60.0), {}, 25.0),
        ("trip_energy", (1.5, 0.0), {}, np.nan),
        ("pressure_deviation", (0.561, 0.55), {}, 2.0),
        ("pressure_deviation", (0.561, 0.0), {}, np.nan),
        ("pressure_fall", (-12.0,), {}, 0.2),
        ("pit_inflow", (2.0,), {"area_m2": 1.5}, 3.0),
        ("starts_per_hour", (4.0,), {}, 4.0),
        ("run_share", (0.25,), {}, 25.0),
        ("run_length", (0.25, 3.0), {}, 300.0),
        ("run_length", (0.0, 0.0), {}, np.nan),
        ("counts_per_hour", (30.0,), {}, 30.0),
        ("counts_per_hour", (-1e6,), {}, np.nan),
        ("temperature_rise", (65.0, 27.0), {}, 38.0),
        ("value", (2.5,), {}, 2.5),
    ],
)
def test_formula(
    name: str, inputs: tuple[float, ...], params: dict[str, float], expected: float
) -> None:
    assert of(name, *inputs, **params) == pytest.approx([expected], nan_ok=True)


def test_every_formula_is_tested_and_says_what_it_takes() -> None:
    source = Path(__file__).read_text()
    for name, formula in FORMULAS.items():
        assert f'"{name}"' in source
        assert formula.compute.__doc__
        assert len({input_.name for input_ in formula.inputs}) == len(formula.inputs)
        assert all(input_.unit is None for input_ in formula.inputs if input_.stat in OF_STATES)
