"""Reads `rules/<kind>/*.yaml` into typed objects and reports everything that is wrong with them at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from pms_iot.alerts.rule import Rule
from pms_iot.assets.points import PointDef
from pms_iot.derived.spec import DerivedSpecs
from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.text import Text
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.rulepacks.counters import build_counter, check_counter
from pms_iot.rulepacks.derived import build_derived
from pms_iot.rulepacks.document import (
    Document,
    PackError,
    Where,
    did_you_mean,
    read_document,
)
from pms_iot.rulepacks.models import DetectorYaml, PlanYaml, PointYaml, RuleYaml, TextYaml, parse
from pms_iot.rulepacks.plans import build_plans
from pms_iot.rulepacks.rules import build_detector, build_rule, text

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RulePack:
    """All that is known of one kind of equipment. `points` holds the derived points too."""

    kind: str
    label: Text
    points: Mapping[str, PointDef]
    rules: tuple[Rule, ...]
    detectors: tuple[DetectorSpec, ...]
    plans: tuple[PlanTemplate, ...]
    derived: DerivedSpecs


def load_packs(root: Path) -> dict[str, RulePack]:
    """Kind -> pack, of every folder of `root`. Raises PackError with all mistakes of all files."""
    problems: list[str] = []
    folders = sorted(child for child in root.iterdir() if child.is_dir()) if root.is_dir() else []
    if not folders:
        raise PackError([f"{root}: no rule packs here"])
    packs = {folder.name: _Folder(folder, problems).pack() for folder in folders}
    if problems:
        raise PackError(problems)
    return packs


def load_pack(folder: Path, replaced: Mapping[str, Path] | None = None) -> RulePack:
    """The pack of one kind. replaced: file name -> the file that is read in its place. Raises PackError."""
    problems: list[str] = []
    pack = _Folder(folder, problems, replaced).pack()
    if problems:
        raise PackError(problems)
    return pack


class _Folder:
    """One folder `rules/<kind>`, read file by file."""

    def __init__(
        self, folder: Path, problems: list[str], replaced: Mapping[str, Path] | None = None
    ) -> None:
        self._folder, self._problems = folder, problems
        self._kind = folder.name
        self._replaced = replaced or {}

    def pack(self) -> RulePack:
        label, points = self._points()
        derived, made = self._derived(points)
        points.update(made)
        detectors = self._detectors(points)
        for spec in detectors:
            points.update((point.key, point) for point in spec.derived_points())
        rules = self._rules(points)
        self._check_profiles(points)
        plans = self._plans(points)
        return RulePack(self._kind, label, points, rules, detectors, plans, derived)

    def _read(self, name: str, *, keys: tuple[str, ...]) -> Document | None:
        """A file of the folder whose top level is a mapping with no keys but these; None if there is none."""
        file = self._replaced.get(name, self._folder / name)
        if not file.exists():
            return None
        own = f"{self._folder.parent.name}/{self._kind}/{name}"
        shown = str(file) if name in self._replaced else own
        document = read_document(file, shown, self._problems)
        if document is None:
            return None
        if not isinstance(document.content, dict):
            self._problems.append(document.problem((), "must be a mapping"))
            return None
        for key in document.content.keys() - set(keys):
            hint = did_you_mean(key, keys)
            self._problems.append(document.problem((key,), f"unknown key{hint}"))
        return document

    def _items(self, document: Document, key: str, model: type[_Model]) -> dict[str, _Model]:
        """The values of the mapping `key`, each judged for itself, without those that are wrong."""
        content = document.content.get(key) or {}
        if not isinstance(content, dict):
            self._problems.append(document.problem((key,), "must be a mapping"))
            return {}
        return {
            name: item
            for name, value in content.items()
            if (item := self._parse(model, document, (key, name), value)) is not None
        }

    def _parse(
        self, model: type[_Model], document: Document, where: Where, value: Any
    ) -> _Model | None:
        return parse(model, document, where, value, self._problems)

    def _points(self) -> tuple[Text, dict[str, PointDef]]:
        document = self._read("points.yaml", keys=("kind", "label", "points"))
        if document is None:
            if not (self._folder / "points.yaml").exists():
                place = f"{self._folder.parent.name}/{self._kind}/points.yaml"
                self._problems.append(f"{place}:1: is missing")
            return Text(self._kind, self._kind), {}
        if document.content.get("kind") != self._kind:
            self._problems.append(document.problem(("kind",), f"must be {self._kind!r}"))
        label = self._parse(TextYaml, document, ("label",), document.content.get("label"))
        points = self._items(document, "points", PointYaml)
        for key, point in points.items():
            if point.range is not None and point.range[0] >= point.range[1]:
                where = ("points", key, "range")
                self._problems.append(document.problem(where, "low must be less than high"))
            check_counter(document, key, point, self._problems)
        # A point that is wrong is still known, or every rule on it would seem wrong too.
        found = _named(document.content.get("points"))
        found |= {key: _point(key, point) for key, point in points.items()}
        return text(label) if label else Text(self._kind, self._kind), found

    def _derived(
        self, points: Mapping[str, PointDef]
    ) -> tuple[DerivedSpecs, Mapping[str, PointDef]]:
        states = self._read("states.yaml", keys=("states",))
        computed = self._read("derived.yaml", keys=("derived",))
        return build_derived(states, computed, points, self._problems)

    def _detectors(self, points: Mapping[str, PointDef]) -> tuple[DetectorSpec, ...]:
        document = self._read("detectors.yaml", keys=("detectors",))
        if document is None:
            return ()
        content = document.content.get("detectors") or []
        if not isinstance(content, list):
            self._problems.append(document.problem(("detectors",), "must be a list"))
            return ()
        found: list[DetectorSpec] = []
        for i, value in enumerate(content):
            where = ("detectors", i)
            model = self._parse(DetectorYaml, document, where, value)
            if model is not None:
                found.append(build_detector(document, where, model, points, self._problems))
        self._refuse_doubles(document, found)
        return tuple(found)

    def _refuse_doubles(self, document: Document, specs: list[DetectorSpec]) -> None:
        seen: set[str] = set()
        for i, spec in enumerate(specs):
            keys = [point.key for point in spec.derived_points()]
            double = next((key for key in keys if key in seen), None)
            if double is not None:
                what = f"{double!r} is already made by an earlier detector"
                self._problems.append(document.problem(("detectors", i), what))
            seen.update(keys)

    def _rules(self, points: Mapping[str, PointDef]) -> tuple[Rule, ...]:
        document = self._read("alerts.yaml", keys=("rules",))
        if document is None:
            return ()
        models = self._items(document, "rules", RuleYaml)
        rules = [
            build_rule(document, self._kind, name, model, points, self._problems)
            for name, model in models.items()
        ]
        return tuple(rule for rule in rules if rule is not None)

    def _plans(self, points: Mapping[str, PointDef]) -> tuple[PlanTemplate, ...]:
        document = self._read("maintenance.yaml", keys=("plans",))
        if document is None:
            return ()
        models = self._items(document, "plans", PlanYaml)
        return build_plans(document, self._kind, models, points, self._problems)

    def _check_profiles(self, points: Mapping[str, PointDef]) -> None:
        """Register maps are the gateways' business (`pms-edge check`); here only the names must agree."""
        for file in sorted(self._folder.glob("devices/*.yaml")):
            shown = f"{self._folder.parent.name}/{self._kind}/devices/{file.name}"
            document = read_document(file, shown, self._problems)
            if document is None or not isinstance(document.content, dict):
                continue
            if document.content.get("measurement") != self._kind:
                self._problems.append(document.problem(("measurement",), f"must be {self._kind!r}"))
            for i, entry in enumerate(document.content.get("points") or []):
                name = entry.get("name") if isinstance(entry, dict) else None
                nameplate = isinstance(entry, dict) and entry.get("type") == "string"
                if name not in points and not nameplate:
                    what = f"no point {name!r} in points.yaml{did_you_mean(name, points)}"
                    self._problems.append(document.problem(("points", i, "name"), what))


def _named(points: Any) -> dict[str, PointDef]:
    """What the points are called and counted in, right or wrong."""
    raw: dict[Any, Any] = points if isinstance(points, dict) else dict.fromkeys(points or ())
    units = {
        key: value.get("unit") if isinstance(value, dict) else "" for key, value in raw.items()
    }
    return {
        f"{key}": PointDef(f"{key}", Text(f"{key}", f"{key}"), unit=f"{unit or ''}")
        for key, unit in units.items()
    }


def _point(key: str, model: PointYaml) -> PointDef:
    low, high = model.range or (None, None)
    return PointDef(
        key=key,
        label=text(model.label),
        type=model.type,
        unit=model.unit,
        low=low,
        high=high,
        period_s=model.period_s,
        values={code: text(words) for code, words in model.values.items()},
        counter=build_counter(model),
    )
