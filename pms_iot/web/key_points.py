"""Which few values stand for an asset where there is no room for all."""

from collections.abc import Sequence

from pms_iot.web.status import LiveValue

KEY_POINTS = {
    "elevator": ("floor", "mode", "load", "motor_temp"),
    "booster_set": ("outlet_p", "set_p", "inlet_p", "tank_level"),
    "fire_pump": ("system_p", "suction_p", "pool_level", "main_run"),
    "drainage_pump": ("pit_level", "inflow", "p1_run", "p2_run"),
    "fire_panel": ("normal", "fire", "fault", "disabled"),
    "water_pump": ("flow", "pressure", "temperature", "current"),
    "power_meter": ("power", "v_l1", "i_l1", "energy_import"),
    "gateway": ("online", "spool_rows", "spool_age_s", "devices_bad"),
}
SHOWN = 4


def key_values(kind: str, values: Sequence[LiveValue]) -> list[LiveValue]:
    """The values of the kind's key points; for a kind without any, its first measured numbers."""
    by_point = {value.info.point: value for value in values if not value.info.derived}
    chosen = [by_point[key] for key in KEY_POINTS.get(kind, ()) if key in by_point]
    numbers = [value for value in by_point.values() if value.info.type == "number"]
    return (chosen or numbers)[:SHOWN]
