"""What a rule pack derives from measured points, and in which order that has to be done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pms_iot.assets.points import PointDef
from pms_iot.derived.computed import ComputedSpec
from pms_iot.derived.state import StateSpec

Spec = StateSpec | ComputedSpec


@dataclass(frozen=True, slots=True)
class DerivedSpecs:
    """All that is derived of a kind; the points of one may be the inputs of another."""

    states: tuple[StateSpec, ...] = ()
    computed: tuple[ComputedSpec, ...] = ()

    def points(self) -> list[PointDef]:
        return [spec.point for spec in (*self.states, *self.computed)]

    def levels(self) -> list[list[Spec]]:
        """The specs such that each needs only points of levels before its own."""
        specs: Mapping[str, Spec] = {s.point.key: s for s in (*self.states, *self.computed)}
        depths: dict[str, int] = {}
        for key in specs:
            _depth(key, specs, depths, ())
        count = max(depths.values(), default=-1) + 1
        return [[specs[key] for key in specs if depths[key] == level] for level in range(count)]


class CircleError(ValueError):
    """Derived points that need one another; `keys` begins and ends with the same one."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(" -> ".join(keys))
        self.keys = keys


def _depth(
    key: str, specs: Mapping[str, Spec], depths: dict[str, int], way: tuple[str, ...]
) -> int:
    if key in way:
        raise CircleError((*way[way.index(key) :], key))
    if key not in depths:
        needs = [need for need in specs[key].inputs if need in specs]
        below = [_depth(need, specs, depths, (*way, key)) for need in needs]
        depths[key] = max(below, default=-1) + 1
    return depths[key]
