"""Pressure against what it should be, and how fast it falls when nothing pumps.

Source: pressure decay test of a closed section; a check valve that does not close lets the header fall by
0.1 to 0.3 MPa a minute after the pump has stopped.
"""

import numpy as np

from pms_iot.derived.formula import Floats, Formula, Input


def pressure_deviation(pressure: Floats, setpoint: Floats) -> Floats:
    """% of the setpoint, both in MPa."""
    return 100 * (pressure / np.where(setpoint > 0, setpoint, np.nan) - 1)


def pressure_fall(pressure: Floats) -> Floats:
    """MPa/min, positive when it falls, of the change in MPa per hour."""
    return -pressure / 60


FORMULAS = (
    Formula(
        "pressure_deviation",
        "%",
        (Input("pressure", unit="MPa"), Input("setpoint", unit="MPa")),
        pressure_deviation,
    ),
    Formula(
        "pressure_fall",
        "MPa/min",
        (Input("pressure", "slope", "MPa"),),
        pressure_fall,
        covered=0.3,
    ),
)
