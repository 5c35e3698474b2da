"""A measured value by itself or beside another; mostly to be set against its own median."""

from pms_iot.derived.formula import Floats, Formula, Input


def value(value: Floats) -> Floats:
    """The mean over the window, in its own unit."""
    return value


def temperature_rise(hot: Floats, ambient: Floats) -> Floats:
    """K above the surroundings, both in °C: what a machine's losses make, whatever the weather."""
    return hot - ambient


FORMULAS = (
    Formula("value", None, (Input("value"),), value),
    Formula(
        "temperature_rise",
        "K",
        (Input("hot", unit="°C"), Input("ambient", unit="°C")),
        temperature_rise,
    ),
)
