"""states.yaml and derived.yaml become what `pms_iot.derived` works from."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from pms_iot.assets.points import PointDef
from pms_iot.derived.spec import CircleError, DerivedSpecs
from pms_iot.derived.state import CODES, REPEAT_S, STATES, Clause, StateSpec
from pms_iot.kernel.text import Text
from pms_iot.rulepacks.computed import build_computed
from pms_iot.rulepacks.document import Document, Where, did_you_mean
from pms_iot.rulepacks.models import ClauseYaml, ComputedYaml, StateYaml, parse
from pms_iot.rulepacks.rules import build_gates, text
from pms_iot.telemetry.condition import Gate

Points = Mapping[str, PointDef]
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_Model = TypeVar("_Model", bound=BaseModel)


def build_derived(
    states: Document | None, computed: Document | None, points: Points, problems: list[str]
) -> tuple[DerivedSpecs, Points]:
    """What both files derive from `points` and from one another; their mistakes go to `problems`.

    The points that are derived come with it, those that are wrong too, or every rule on them would seem
    wrong as well.
    """
    files = ((states, "states"), (computed, "derived"))
    made: dict[str, PointDef] = {}
    for document, top in files:  # all are known before the first is read: order does not matter
        made |= _named(document, top, {**points, **made}, problems)
    named = {**points, **made}
    measured = {
        key: point for key, point in named.items() if key not in _content(computed, "derived")
    }
    found = _states(
        states, measured, problems
    )  # a computed value is late: no state follows from it
    named |= {spec.point.key: spec.point for spec in found}
    models = _items(computed, "derived", ComputedYaml, problems)
    built = build_computed(computed, models, named, problems) if computed is not None else []
    specs = DerivedSpecs(tuple(found), tuple(built))
    try:
        specs.levels()
    except CircleError as circle:
        document, top = next(f for f in files if f[0] and circle.keys[0] in _content(*f))
        assert document is not None
        what = "needs itself: " + " -> ".join(circle.keys)
        problems.append(document.problem((top, circle.keys[0]), what))
        return DerivedSpecs(), made
    return specs, made | {point.key: point for point in specs.points()}


def _content(document: Document | None, top: str) -> dict[Any, Any]:
    content = document.content.get(top) if document is not None else None
    return content if isinstance(content, dict) else {}


def _named(
    document: Document | None, top: str, taken: Points, problems: list[str]
) -> dict[str, PointDef]:
    """What the file derives, right or wrong."""
    found: dict[str, PointDef] = {}
    if document is not None and not isinstance(document.content.get(top, {}), dict):
        problems.append(document.problem((top,), "must be a mapping"))
    for key in _content(document, top):
        assert document is not None
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            what = "must begin with a letter and consist of small letters, digits and _"
            problems.append(document.problem((top, key), what))
        elif key in taken:
            problems.append(document.problem((top, key), "is already a point"))
        else:
            type_ = "enum" if top == "states" else "number"
            found[key] = PointDef(key, Text(key, key), type=type_, derived=True)
    return found


def _items(
    document: Document | None, top: str, model: type[_Model], problems: list[str]
) -> dict[str, _Model]:
    if document is None:
        return {}
    content = _content(document, top)
    parsed = {
        key: parse(model, document, (top, key), value, problems) for key, value in content.items()
    }
    return {f"{key}": item for key, item in parsed.items() if item is not None}


def _states(document: Document | None, points: Points, problems: list[str]) -> list[StateSpec]:
    found: list[StateSpec] = []
    for key, model in _items(document, "states", StateYaml, problems).items():
        assert document is not None
        where: Where = ("states", key, "order")
        order = [
            _clause(document, (*where, i), clause, points, problems)
            for i, clause in enumerate(model.order)
        ]
        point = PointDef(
            key=key,
            label=text(model.label),
            type="enum",
            period_s=REPEAT_S,
            values=_words([clause.state for clause in order]),
            derived=True,
        )
        found.append(StateSpec(point, tuple(order), model.hold))
    return found


def _words(codes: Sequence[int]) -> Mapping[int, Text]:
    """Of the states that can occur; unknown always can."""
    return {code: STATES[code] for code in sorted({0, *codes})}


def _clause(
    document: Document, where: Where, model: ClauseYaml, points: Points, problems: list[str]
) -> Clause:
    if model.is_ not in CODES:
        what = f"no state {model.is_!r}{did_you_mean(model.is_, CODES)}"
        problems.append(document.problem((*where, "is"), what))
    when = build_gates(document, where, model.when, points, problems)
    past: tuple[Gate, ...] = ()
    if len(when) == len(model.when):
        past = tuple(
            Gate(gate.point, gate.condition, said.within)
            for gate, said in zip(when, model.when, strict=True)
            if said.within is not None
        )
    return Clause(CODES.get(model.is_, 0), when, past)
