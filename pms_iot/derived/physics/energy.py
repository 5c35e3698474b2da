"""What the work of a machine costs.

Sources: specific energy of pumping as in ISO/ASME 14414:2019 (pump system energy assessment), in kWh per m³;
overall efficiency of a pump unit as in ISO 9906:2012, 3.2.20: hydraulic power rho g Q H over the electric
power taken in; energy of a lift per trip in the sense of ISO 25745-1:2012, Wh, standby included.
"""

import numpy as np

from pms_iot.derived.formula import Floats, Formula, Input
from pms_iot.derived.physics.affinity import RHO_G, head_m


def specific_energy(power: Floats, flow: Floats) -> Floats:
    """kWh/m³ of power in kW and flow in m³/h; undefined without flow."""
    return power / np.where(flow > 0, flow, np.nan)


def pump_efficiency(flow: Floats, outlet: Floats, inlet: Floats, power: Floats) -> Floats:
    """% of the power in kW that becomes flow (m³/h) against head (pressures in MPa)."""
    hydraulic_kw = RHO_G * flow / 3600 * head_m(outlet, inlet) / 1000
    return 100 * hydraulic_kw / np.where(power > 0, power, np.nan)


def trip_energy(energy: Floats, trips: Floats) -> Floats:
    """Wh per trip, of what both counters (kWh, trips) grew by."""
    return 1000 * energy / np.where(trips > 0, trips, np.nan)


FORMULAS = (
    Formula(
        "specific_energy",
        "kWh/m³",
        (Input("power", unit="kW", many=True), Input("flow", unit="m³/h")),
        specific_energy,
        covered=0.5,
    ),
    Formula(
        "pump_efficiency",
        "%",
        (
            Input("flow", unit="m³/h"),
            Input("outlet", unit="MPa"),
            Input("inlet", unit="MPa"),
            Input("power", unit="kW"),
        ),
        pump_efficiency,
    ),
    Formula(
        "trip_energy",
        "Wh",
        (Input("energy", "gain", "kWh"), Input("trips", "gain", "")),
        trip_energy,
        covered=0.5,
    ),
)
