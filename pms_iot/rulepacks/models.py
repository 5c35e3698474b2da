"""The shape of the files of a rule pack. What a key means stands at the type that it becomes."""

import re
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pms_iot.alerts.rule import Severity
from pms_iot.assets.points import PointType
from pms_iot.derived.computed import Relation
from pms_iot.maintenance.plan import Evidence
from pms_iot.rulepacks.document import Document, Where, did_you_mean

_UNIT_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: object) -> float:
    """Seconds of `90s`, `5m`, `2h`, `3d` or a plain number. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(duration).strip())
    if found is None or isinstance(duration, bool):
        raise ValueError(f"{duration!r} is not a duration such as 90s, 5m, 2h or 3d")
    return float(found[1]) * _UNIT_S[found[2]]


def _number(value: object) -> object:
    return float(value) if isinstance(value, bool) else value  # `equals: true` is 1


Duration = Annotated[float, BeforeValidator(seconds)]
Number = Annotated[float, BeforeValidator(_number), Field(strict=True, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, strict=True)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextYaml(Strict):
    zh: Words
    en: Words


class CounterYaml(Strict):
    """The width of a counter: `modulus` in the point's unit, or `bits` or `digits` times `step`."""

    modulus: Annotated[Number, Field(gt=0)] | None = None
    bits: Annotated[int, Field(ge=8, le=64, strict=True)] | None = None
    digits: Annotated[int, Field(ge=1, le=15, strict=True)] | None = None
    step: Annotated[Number, Field(gt=0)] | None = None
    most_per_h: Annotated[Number, Field(gt=0)] | None = None


class PointYaml(Strict):
    label: TextYaml
    type: PointType = "number"
    unit: str = ""
    range: tuple[Number, Number] | None = None
    period_s: Annotated[float, Field(gt=0)] | None = None
    values: dict[int, TextYaml] = {}
    counter: CounterYaml | None = None


class ConditionYaml(Strict):
    above: Number | None = None
    below: Number | None = None
    outside: tuple[Number, Number] | None = None
    equals: Number | None = None
    not_equals: Number | None = None
    in_: Annotated[list[Number], Field(min_length=1)] | None = Field(None, alias="in")


class GateYaml(ConditionYaml):
    point: Words
    for_: Duration = Field(0.0, alias="for")


class RuleYaml(ConditionYaml):
    label: TextYaml
    point: Words | None = None
    points: Annotated[list[Words], Field(min_length=1)] | None = None
    clear: Number | tuple[Number, Number] | None = None
    for_: Duration = Field(0.0, alias="for")
    clear_for: Duration = 0.0
    when: list[GateYaml] = []
    severity: Severity
    safety: bool = False
    work_order: bool = True
    skill: str = ""
    silent_for: Duration | None = None
    cause: TextYaml
    consequence: TextYaml
    response: TextYaml


class DetectorYaml(Strict):
    detector: Words
    points: Annotated[list[Words], Field(min_length=1)]
    warmup: Duration | None = None
    quiet: Duration = 0.0
    window: Duration = 60.0
    min_change: Annotated[float, Field(ge=0)] = 0.0
    limit: Number | None = None
    direction: Literal["up", "down"] = "up"
    horizon: Duration = 90 * 86_400.0
    when: list[GateYaml] = []
    by: Words | None = None
    blank: Duration = 0.0
    budget: Annotated[float, Field(gt=0)] = 1.0
    name: Words | None = None
    label: TextYaml | None = None
    params: dict[str, Number] = {}


class StateGateYaml(GateYaml):
    within: Duration | None = None


class ClauseYaml(Strict):
    is_: Words = Field(alias="is")
    when: list[StateGateYaml] = []


class StateYaml(Strict):
    label: TextYaml
    order: Annotated[list[ClauseYaml], Field(min_length=1)]
    hold: Duration = 0.0


class AgainstYaml(Strict):
    relation: Relation = Field(alias="as")
    days: Annotated[int, Field(ge=1, le=28, strict=True)] = 7
    lag: Annotated[int, Field(ge=0, le=27, strict=True)] = 21
    guard: Annotated[Number, Field(gt=0)] | None = None
    relearn: Annotated[int, Field(ge=1, strict=True)] = 28


class ComputedYaml(Strict):
    label: TextYaml
    formula: Words
    inputs: dict[str, Words | Annotated[list[Words], Field(min_length=1)]]
    params: dict[str, Number] = {}
    unit: str | None = None
    every: Duration = 300.0
    when: list[GateYaml] = []
    against: AgainstYaml | None = None


class IntervalYaml(Strict):
    days: Annotated[int, Field(gt=0)] | None = None
    months: Annotated[int, Field(gt=0)] | None = None


class MeterYaml(Strict):
    point: Words | None = None
    points: Annotated[list[Words], Field(min_length=1)] | None = None
    every: Annotated[float, Field(gt=0)]
    unit: str = ""


class WindowYaml(Strict):
    early_days: Annotated[int, Field(ge=0)] = 0
    late_days: Annotated[int, Field(ge=0)] = 0


class LineYaml(Strict):
    id: Words
    zh: Words
    en: Words
    evidence: Evidence = "none"


class PlanYaml(Strict):
    code: Words
    label: TextYaml
    every: IntervalYaml | None = None
    meter: MeterYaml | None = None
    window: WindowYaml = WindowYaml()
    statutory: bool = False
    skill: str = ""
    people: Annotated[int, Field(gt=0)] = 1
    priority: Severity = "P4"
    source: str = ""
    checklist: list[LineYaml] = []
    includes: list[Words] = []


class InputYaml(Strict):
    """Samples of one point: from `start`, one each `step`; `70x30` is thirty times 70, `nan` a bad one."""

    start: Duration = 0.0
    step: Duration
    values: Annotated[list[str | float], Field(min_length=1)]


class ExpectYaml(Strict):
    rule: Words
    point: Words | None = None
    fires_at: Duration
    resolves_at: Duration | None = None


class CaseYaml(Strict):
    asset: Words = "ASSET"
    rules: list[Words] | None = None
    input: dict[str, InputYaml]
    expect: list[ExpectYaml]


_Model = TypeVar("_Model", bound=BaseModel)

_WORDS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
}


def parse(
    model: type[_Model], document: Document, where: Where, value: Any, problems: list[str]
) -> _Model | None:
    """`value`, found at `where`, as the model; None if it is not one. All its mistakes go to `problems`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for mistake in error.errors(include_url=False):
            path = _path(mistake["loc"], value)
            problems.append(document.problem((*where, *path), _say(model, path, dict(mistake))))
        return None


def _path(loc: Where, value: Any) -> Where:
    """Where the mistake stands in the file: pydantic's location without the names of union members."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(value, dict) and (part in value or last):
            path.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return tuple(path)


def _say(model: type[BaseModel], path: Where, mistake: dict[str, Any]) -> str:
    kind = mistake["type"]
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(path[-1], _keys(model, path[:-1]))}"
    if kind == "literal_error":
        return f"{mistake['input']!r} is not one of {mistake['ctx']['expected']}"
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    return str(_WORDS.get(kind, mistake["msg"]))


def _keys(model: type[BaseModel], path: Where) -> list[str]:
    """The keys that a file may have at `path` below a value of `model`."""
    for part in path:
        field = model.model_fields.get(f"{part}")
        inner = _inner(field.annotation) if field is not None else None
        model = inner or model  # a position in a list or a free key: still the same model
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _inner(arg))), None)
