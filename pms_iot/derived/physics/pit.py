"""Water balance of a pit: what flows in while nothing pumps out. Source: conservation of volume, Q = A dh/dt."""

from pms_iot.derived.formula import Floats, Formula, Input


def pit_inflow(level: Floats, *, area_m2: Floats) -> Floats:
    """m³/h of the rise in m per hour and the plan area of the pit."""
    return area_m2 * level


FORMULAS = (
    Formula(
        "pit_inflow",
        "m³/h",
        (Input("level", "slope", "m"),),
        pit_inflow,
        {"area_m2": None},
        covered=0.3,
    ),
)
