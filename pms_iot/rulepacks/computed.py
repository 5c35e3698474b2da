"""derived.yaml: what a type cannot say of a formula, its inputs and its parameters is checked here."""

from collections.abc import Mapping

from pms_iot.assets.points import PointDef
from pms_iot.derived.computed import Against, ComputedSpec, Relation
from pms_iot.derived.formula import OF_STATES, Formula, Input
from pms_iot.derived.own_median import DAY_S
from pms_iot.derived.physics.catalogue import FORMULAS
from pms_iot.rulepacks.document import Document, Where, did_you_mean
from pms_iot.rulepacks.models import AgainstYaml, ComputedYaml
from pms_iot.rulepacks.rules import build_gates, text

Points = Mapping[str, PointDef]
_GUARD: Mapping[Relation, float] = {"ratio": 0.2, "percent": 20.0}
_SHORTEST_S = 10.0


def build_computed(
    document: Document,
    models: Mapping[str, ComputedYaml],
    points: dict[str, PointDef],
    problems: list[str],
) -> list[ComputedSpec]:
    """The specs; `points` is told of what they make. Mistakes go to `problems`."""
    found: dict[str, ComputedSpec] = {}
    pending = dict(models)
    while pending:
        # Those first whose inputs are known, because a unit may be that of an input.
        ready = [key for key, model in pending.items() if not _sources(model) & pending.keys()]
        for key in ready or list(pending):
            spec = _build(document, key, pending.pop(key), points, problems)
            if spec is not None:
                found[key] = spec
                points[key] = spec.point
    _check_levels(document, found, problems)
    return [found[key] for key in models if key in found]


def _sources(model: ComputedYaml) -> set[str]:
    return {key for said in model.inputs.values() for key in _listed(said)}


def _listed(said: str | list[str]) -> list[str]:
    return [said] if isinstance(said, str) else said


def _build(
    document: Document, key: str, model: ComputedYaml, points: Points, problems: list[str]
) -> ComputedSpec | None:
    before, where = len(problems), ("derived", key)
    formula = FORMULAS.get(model.formula)
    if formula is None:
        what = f"no formula {model.formula!r}{did_you_mean(model.formula, FORMULAS)}"
        problems.append(document.problem((*where, "formula"), what))
        return None
    _check_names(document, (*where, "inputs"), model.inputs, _names(formula), problems)
    for input_ in formula.inputs:
        _check_input(document, (*where, "inputs"), model, input_, points, problems)
    _check_params(document, (*where, "params"), model, formula, problems)
    if model.every < _SHORTEST_S or DAY_S % model.every:
        what = f"must be at least {_SHORTEST_S:g}s and go into a day without rest"
        problems.append(document.problem((*where, "every"), what))
    when = build_gates(document, where, model.when, points, problems)
    if len(problems) > before:
        return None
    unit = _unit(formula, model, points)
    if model.unit is not None and model.unit != unit:
        what = f"{formula.name} gives {unit or 'no unit'!r}, not {model.unit!r}"
        problems.append(document.problem((*where, "unit"), what))
        return None
    point = PointDef(key, text(model.label), unit=unit, period_s=model.every, derived=True)
    return ComputedSpec(
        point=point,
        formula=formula,
        sources=tuple(tuple(_listed(model.inputs[name])) for name in _names(formula)),
        params=tuple(
            model.params.get(name, default or 0.0) for name, default in formula.params.items()
        ),
        every_s=model.every,
        when=when,
        against=_against(model.against),
    )


def _names(formula: Formula) -> list[str]:
    return [input_.name for input_ in formula.inputs]


def _check_names(
    document: Document,
    where: Where,
    said: Mapping[str, object],
    known: list[str],
    problems: list[str],
) -> None:
    for name in said:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it takes {', '.join(known) or 'none'}"
            problems.append(document.problem((*where, name), f"not one of the formula's{hint}"))


def _check_input(
    document: Document,
    where: Where,
    model: ComputedYaml,
    input_: Input,
    points: Points,
    problems: list[str],
) -> None:
    place = (*where, input_.name)
    if input_.name not in model.inputs:
        problems.append(document.problem(place, "is missing"))
        return
    keys = _listed(model.inputs[input_.name])
    if len(keys) > 1 and not input_.many:
        problems.append(document.problem(place, "takes one point"))
    for key in keys:
        if key not in points:
            problems.append(document.problem(place, f"no point {key!r}{did_you_mean(key, points)}"))
        elif (what := _unfit(points[key], input_)) is not None:
            problems.append(document.problem(place, what))


def _unfit(point: PointDef, input_: Input) -> str | None:
    """Why the point cannot be this input, or None."""
    if input_.stat in OF_STATES:
        is_state = point.type == "enum" and point.derived
        return None if is_state else f"{point.key!r} is not an operating state"
    if point.type in ("bool", "enum"):
        return f"{point.key!r} is not a quantity"
    if input_.unit is not None and point.unit != input_.unit:
        wanted, unit = input_.unit or "no unit", point.unit or "no unit"
        return f"{point.key!r} has {unit}, the formula takes {wanted}"
    return None


def _check_params(
    document: Document, where: Where, model: ComputedYaml, formula: Formula, problems: list[str]
) -> None:
    _check_names(document, where, model.params, list(formula.params), problems)
    for name, default in formula.params.items():
        if default is None and name not in model.params:
            problems.append(document.problem((*where, name), "is missing"))


def _unit(formula: Formula, model: ComputedYaml, points: Points) -> str:
    """The unit of the result, as it is set against its own median."""
    first = _listed(model.inputs[formula.inputs[0].name])[0]
    unit = points[first].unit if formula.unit is None else formula.unit
    if model.against is None:
        return unit
    if model.against.relation == "difference":
        return "K" if unit == "°C" else unit
    return "%" if model.against.relation == "percent" else ""


def _against(model: AgainstYaml | None) -> Against | None:
    if model is None:
        return None
    guard = model.guard if model.guard is not None else _GUARD.get(model.relation, 5.0)
    return Against(model.relation, model.days, model.lag, guard, model.relearn)


def _check_levels(
    document: Document, specs: Mapping[str, ComputedSpec], problems: list[str]
) -> None:
    """A computed sample is known only when its window is over: it does not go with younger ones."""
    for key, spec in specs.items():
        sources = [source for keys in spec.sources for source in keys]
        if len(sources) > 1 and any(source in specs for source in sources):
            what = "a computed point goes only alone into another"
            problems.append(document.problem(("derived", key, "inputs"), what))
        for i, gate in enumerate(spec.when):
            if gate.point in specs:
                what = f"{gate.point!r} is computed, it cannot be a gate of another"
                problems.append(document.problem(("derived", key, "when", i, "point"), what))
