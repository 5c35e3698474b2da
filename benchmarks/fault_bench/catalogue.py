"""faults.yaml as objects, checked against the simulators' catalogue and the packs' rules."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pms_simulators.faults import CATALOGUE, Burst, Exponential, Law, Ramp, Step
from pms_simulators.scenario import per_day, seconds
from ruamel.yaml import YAML

from pms_iot.rulepacks import RulePack

FILE = Path(__file__).with_name("faults.yaml")
FULL_AFTER_TAUS = 3.912  # e^-3.912 = 0.02, where an exponential law begins
HALF_DAY_S, DAY_S = 43200.0, 86400.0


@dataclass(frozen=True)
class FaultCase:
    """One fault of one kind and what is expected of the pack. See faults.yaml for the meanings.

    scale_s: length of the law as the bench plays it: a ramp's rise, an exponential's tau, 0 for a step.
    """

    kind: str
    name: str
    shape: str
    scale_s: float
    watch_s: float
    domain_s: float
    within_s: float
    own: tuple[str, ...]
    related: tuple[str, ...]

    def law(self, key: int) -> Law:
        match self.shape:
            case "ramp":
                return Ramp(self.scale_s)
            case "exp":
                return Exponential(self.scale_s)
            case "burst":
                return Burst(self.scale_s, key)
            case _:
                return Step()

    def hurried(self, factor: float) -> "FaultCase":
        """The same with a ramp or an exponential of `factor` times the length, and watched as long after it."""
        if not self.full_s or factor == 1:
            return self
        shorter_s = (1 - factor) * self.full_s
        return replace(self, scale_s=factor * self.scale_s, watch_s=self.watch_s - shorter_s)

    @property
    def full_s(self) -> float:
        """Seconds from the onset until the law reaches its full severity; 0 for a step or a burst."""
        return {"ramp": self.scale_s, "exp": FULL_AFTER_TAUS * self.scale_s}.get(self.shape, 0.0)


def load_cases(packs: Mapping[str, RulePack]) -> list[FaultCase]:
    """Every fault of every simulated kind. Raises ValueError if one is missing or a rule does not exist."""
    content: dict[str, Any] = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    cases = [
        _case(kind, name, spec, [rule.id.partition(".")[2] for rule in packs[kind].rules])
        for kind, faults in content.items()
        for name, spec in faults.items()
    ]
    named = {(case.kind, case.name) for case in cases}
    known = {(kind, name) for kind in CATALOGUE if kind != "replay" for name in CATALOGUE[kind]}
    if named != known:
        raise ValueError(f"{FILE.name} and the simulators disagree on {sorted(named ^ known)}")
    return cases


def _case(kind: str, name: str, spec: dict[str, Any], rules: Sequence[str]) -> FaultCase:
    found = re.fullmatch(r"(step|ramp|exp|burst)(?: (\S+))?", spec["law"])
    if found is None:
        raise ValueError(f"{kind}.{name}: {spec['law']!r} is not a law")
    shape, scale = found[1], found[2]
    scale_s = 0.0 if scale is None else per_day(scale) if shape == "burst" else seconds(scale)
    full_s = FULL_AFTER_TAUS * scale_s if shape == "exp" else scale_s if shape == "ramp" else 0.0
    return FaultCase(
        kind=kind,
        name=name,
        shape=shape,
        scale_s=scale_s,
        watch_s=seconds(spec["watch"]) if "watch" in spec else full_s + HALF_DAY_S,
        domain_s=seconds(spec["domain"]) if "domain" in spec else full_s,
        within_s=seconds(spec["within"]) if "within" in spec else 0.0,
        own=_named(f"{kind}.{name}", spec["own"], rules),
        related=_named(f"{kind}.{name}", spec["related"], rules),
    )


def _named(where: str, names: Sequence[str], rules: Sequence[str]) -> tuple[str, ...]:
    """The rules of these names and patterns."""
    strange = {name for name in names if "*" not in name} - {*rules}
    if strange:
        raise ValueError(f"{where}: the pack has no rules {sorted(strange)}")
    return tuple(rule for name in names for rule in fnmatch.filter(rules, name))
