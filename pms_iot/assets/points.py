"""What a kind of equipment can measure, as its rule pack says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pms_iot.kernel.text import Text

PointType = Literal["number", "bool", "enum", "counter"]


STATISTICAL = ("anomaly", "excess")
"""Suffixes of computed points that say how improbable something is, not how much of it there is."""


def is_statistical(key: str) -> bool:
    """Whether a point of this key says that something is improbable: right most of the time, never always."""
    return key.rpartition(".")[2] in STATISTICAL and "." in key


def _no_values() -> Mapping[int, Text]:
    return {}


@dataclass(frozen=True, slots=True)
class CounterDef:
    """How a cumulative counter behaves, in the unit of its point.

    modulus: the count at which it begins at zero again; None: not known, it is guessed from the
    usual register widths. most_per_h: the most that it can really advance in an hour; None: not known.
    step: by how much the reading grows at a time.
    """

    modulus: float | None = None
    most_per_h: float | None = None
    step: float = 1.0


@dataclass(frozen=True, slots=True)
class PointDef:
    """One measured or computed quantity of a kind of equipment.

    low and high are physical limits in `unit`; values names the codes of an enum; derived marks
    what a detector computes; counter says more of a point of type counter.
    """

    key: str
    label: Text
    type: PointType = "number"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    period_s: float | None = None
    values: Mapping[int, Text] = field(default_factory=_no_values)
    derived: bool = False
    counter: CounterDef | None = None
