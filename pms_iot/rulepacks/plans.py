"""maintenance.yaml becomes plan templates, with the checklists of the plans that they include."""

from collections.abc import Mapping

from pms_iot.assets.points import PointDef
from pms_iot.kernel.text import Text
from pms_iot.maintenance.plan import ChecklistLine, Interval, Meter, PlanTemplate
from pms_iot.rulepacks.document import Document, Where, did_you_mean
from pms_iot.rulepacks.models import IntervalYaml, LineYaml, MeterYaml, PlanYaml
from pms_iot.rulepacks.rules import text


def build_plans(
    document: Document,
    kind: str,
    models: Mapping[str, PlanYaml],
    points: Mapping[str, PointDef],
    problems: list[str],
) -> tuple[PlanTemplate, ...]:
    """All plans that make sense; mistakes go to `problems`."""
    found: list[PlanTemplate] = []
    for name, model in models.items():
        where = ("plans", name)
        lines = _checklist(document, name, models, problems, ())
        _refuse_doubles(document, where, lines, problems)
        if model.every is None and model.meter is None:
            problems.append(document.problem(where, "needs every, meter or both"))
        found.append(
            PlanTemplate(
                id=f"{kind}.{name}",
                kind=kind,
                code=model.code,
                label=text(model.label),
                every=_interval(document, where, model.every, problems),
                meter=_meter(document, where, model.meter, points, problems),
                early_days=model.window.early_days,
                late_days=model.window.late_days,
                statutory=model.statutory,
                skill=model.skill,
                people=model.people,
                priority=model.priority,
                source=model.source,
                checklist=tuple(ChecklistLine(x.id, Text(x.zh, x.en), x.evidence) for x in lines),
            )
        )
    return tuple(found)


def _checklist(
    document: Document,
    name: str,
    models: Mapping[str, PlanYaml],
    problems: list[str],
    outer: tuple[str, ...],
) -> list[LineYaml]:
    """The lines of the included plans, then the plan's own. A plan included twice counts once."""
    lines: dict[int, LineYaml] = {}
    for i, other in enumerate(models[name].includes):
        where = ("plans", name, "includes", i)
        if other not in models:
            problems.append(
                document.problem(where, f"no plan {other!r}{did_you_mean(other, models)}")
            )
        elif other == name or other in outer:
            problems.append(document.problem(where, f"{other!r} would include itself"))
        else:
            included = _checklist(document, other, models, problems, (*outer, name))
            lines |= {id(line): line for line in included}
    lines |= {id(line): line for line in models[name].checklist}
    return list(lines.values())


def _refuse_doubles(
    document: Document, where: Where, lines: list[LineYaml], problems: list[str]
) -> None:
    ids = [line.id for line in lines]
    for key in sorted({key for key in ids if ids.count(key) > 1}):
        problems.append(document.problem((*where, "checklist"), f"id {key!r} stands here twice"))


def _interval(
    document: Document, where: Where, model: IntervalYaml | None, problems: list[str]
) -> Interval | None:
    if model is None:
        return None
    if (model.days is None) == (model.months is None):
        what = "needs exactly one of days, months"
        problems.append(document.problem((*where, "every"), what))
    return Interval(model.days, model.months)


def _meter(
    document: Document,
    where: Where,
    model: MeterYaml | None,
    points: Mapping[str, PointDef],
    problems: list[str],
) -> Meter | None:
    if model is None:
        return None
    if (model.point is None) == (model.points is None):
        problems.append(document.problem((*where, "meter"), "needs exactly one of point, points"))
    keys = tuple(model.points or ([model.point] if model.point else []))
    for key in keys:
        place = (*where, "meter")
        if key not in points:
            what = f"no point {key!r}{did_you_mean(key, points)}"
            problems.append(document.problem(place, what))
        elif points[key].unit != model.unit:
            what = f"unit is {model.unit!r}, but {key} is in {points[key].unit!r}"
            problems.append(document.problem((*place, "unit"), what))
    return Meter(keys, model.every, model.unit)
