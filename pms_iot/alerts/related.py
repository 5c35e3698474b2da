"""Which points of a kind of equipment belong together, as far as an explanation needs to know it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


def _nothing() -> Mapping[str, str]:
    return {}


def _no_parts() -> Mapping[str, tuple[str, ...]]:
    return {}


@dataclass(frozen=True, slots=True)
class Related:
    """Of one kind. state_of: point or asset model -> the point with the operating state by which it is
    judged. parts: asset model -> the points that it predicts."""

    state_of: Mapping[str, str] = field(default_factory=_nothing)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=_no_parts)


class _Named(Protocol):
    @property
    def key(self) -> str: ...


class _Spec(Protocol):
    @property
    def points(self) -> tuple[_Named, ...]: ...
    @property
    def name(self) -> str: ...
    @property
    def by(self) -> str: ...


def related_by(specs: Iterable[_Spec]) -> Related:
    """What the detectors of a kind tell of its points: `by` names a state, `name` an asset model."""
    state_of: dict[str, str] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for spec in specs:
        keys = tuple(point.key for point in spec.points)
        name, by = spec.name, spec.by
        if name:
            parts[name] = keys
        for key in (*keys, name):
            if by and key:
                state_of.setdefault(key, by)
    return Related(state_of, parts)
