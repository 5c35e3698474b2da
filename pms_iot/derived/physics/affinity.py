"""A centrifugal pump against its own curve at any speed.

Affinity laws: with n = frequency / rated frequency, Q ~ n, H ~ n^2, P ~ n^3, so that flow, head and power
at any speed are brought to the rated one and compared with the curve H = H0 - a Q^2 there. Source: Gülich,
Centrifugal Pumps, 3rd ed., 3.4.3 (similarity); ISO 9906:2012, 6.1 (translation to the specified speed).
Flow in m³/h, pressures in MPa, power in kW, frequency in Hz; the results are in %.
"""

import numpy as np

from pms_iot.derived.formula import Floats, Formula, Input

RHO_G = 9810.0  # N/m³, water
M_PER_MPA = 1e6 / RHO_G

_SPEED = Input("freq", unit="Hz")
_FLOW = Input("flow", unit="m³/h")
_OUTLET, _INLET = Input("outlet", unit="MPa"), Input("inlet", unit="MPa")
_CURVE = {"rated_hz": 50.0, "shutoff_m": None, "drop": None}


def head_m(outlet: Floats, inlet: Floats) -> Floats:
    """m, without the velocity head, which is the same on both sides to within a per cent."""
    return (outlet - inlet) * M_PER_MPA


def head_deviation(
    freq: Floats,
    flow: Floats,
    outlet: Floats,
    inlet: Floats,
    *,
    rated_hz: Floats,
    shutoff_m: Floats,
    drop: Floats,
) -> Floats:
    """Head at rated speed beside the curve's at that flow. shutoff_m: H0, m; drop: a, m per (m³/h)²."""
    n = freq / rated_hz
    expected = shutoff_m - drop * (flow / n) ** 2
    return 100 * (head_m(outlet, inlet) / n**2 / np.where(expected > 0, expected, np.nan) - 1)


def speed_deviation(
    freq: Floats,
    flow: Floats,
    outlet: Floats,
    inlet: Floats,
    *,
    rated_hz: Floats,
    shutoff_m: Floats,
    drop: Floats,
) -> Floats:
    """Speed beside the one that the curve needs for this flow at this head."""
    needed = np.sqrt((head_m(outlet, inlet) + drop * flow**2) / shutoff_m)
    return 100 * (freq / rated_hz / needed - 1)


def power_deviation(
    freq: Floats,
    flow: Floats,
    power: Floats,
    *,
    rated_hz: Floats,
    power_0: Floats,
    power_q: Floats,
) -> Floats:
    """Power at rated speed beside P0 + p Q. power_0: P0, kW; power_q: p, kW per m³/h."""
    n = freq / rated_hz
    return 100 * (power / n**3 / (power_0 + power_q * flow / n) - 1)


FORMULAS = (
    Formula("head_deviation", "%", (_SPEED, _FLOW, _OUTLET, _INLET), head_deviation, _CURVE),
    Formula("speed_deviation", "%", (_SPEED, _FLOW, _OUTLET, _INLET), speed_deviation, _CURVE),
    Formula(
        "power_deviation",
        "%",
        (_SPEED, _FLOW, Input("power", unit="kW")),
        power_deviation,
        {"rated_hz": 50.0, "power_0": None, "power_q": None},
    ),
)
