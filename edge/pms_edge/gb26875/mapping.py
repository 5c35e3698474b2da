"""What a profile adds to the built-in points of a fire panel behind a transmission device."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from pms_edge.gb26875.objects import Analog, System


class AnalogKey(NamedTuple):
    """Which analog value: component type, zone and point, and kind of value (tables 7 and 8)."""

    component: int
    zone: int
    point: int
    kind: int


class AnalogPoint(NamedTuple):
    """The point it becomes: `scale` turns the unit of table 8 into the point's; range as well."""

    name: str
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf


class PanelMap(NamedTuple):
    """`systems` are asked for their state when the device comes on line."""

    systems: tuple[System, ...]
    analogs: Mapping[AnalogKey, AnalogPoint]


def analog_key(analog: Analog) -> AnalogKey:
    component = analog.component
    return AnalogKey(component.type, component.zone, component.point, analog.kind)
