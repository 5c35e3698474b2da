"""What a rule pack says of a point that is computed by a formula, window by window."""

from dataclasses import dataclass
from typing import Literal

from pms_iot.assets.points import PointDef
from pms_iot.derived.formula import Formula
from pms_iot.telemetry.condition import Gate

Relation = Literal["ratio", "percent", "difference"]


@dataclass(frozen=True, slots=True)
class Against:
    """The result is set against the median of its own days; nothing is said before there are three.

    days: how many daily medians count, and lag: how many newer ones are passed over (as far as there are
    that many), so that a slow wear does not pull its own measure along. guard: a day whose median is
    further than this from the median of those before (in the result's own terms: a ratio or share of
    it, % of it, or its unit) is not learned, until `relearn` days in a row were: then that is normal.
    """

    relation: Relation
    days: int = 7
    lag: int = 21
    guard: float = 0.2
    relearn: int = 28


@dataclass(frozen=True, slots=True)
class ComputedSpec:
    """`formula` over windows of every_s seconds; its sample stands at the end of the window.

    sources: for each input of the formula its points, of which more than one are added up. params:
    values in the order of the formula's. when: only samples at which all gates are open count.
    """

    point: PointDef
    formula: Formula
    sources: tuple[tuple[str, ...], ...]
    params: tuple[float, ...] = ()
    every_s: float = 300.0
    when: tuple[Gate, ...] = ()
    against: Against | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The points that it follows from, each once."""
        gates = [gate.point for gate in self.when]
        return tuple(dict.fromkeys([key for keys in self.sources for key in keys] + gates))
