"""alerts.yaml and detectors.yaml become rules and detector specs; what a type cannot say is checked here."""

from collections.abc import Mapping, Sequence

from pms_iot.alerts.rule import Condition, Gate, Rule
from pms_iot.assets.points import PointDef, is_statistical
from pms_iot.detection.spec import MODEL, NAMES, DetectorSpec
from pms_iot.kernel.text import Text
from pms_iot.rulepacks.document import Document, Where, did_you_mean
from pms_iot.rulepacks.models import ConditionYaml, DetectorYaml, GateYaml, RuleYaml, TextYaml
from pms_iot.telemetry.condition import Operator

Points = Mapping[str, PointDef]
_OPERATORS: tuple[Operator, ...] = ("above", "below", "outside", "equals", "not_equals", "in")
_LEARNED = ("anomaly", "drift", MODEL)


def text(model: TextYaml) -> Text:
    return Text(model.zh, model.en)


def build_rule(
    document: Document, kind: str, name: str, model: RuleYaml, points: Points, problems: list[str]
) -> Rule | None:
    """The rule, or None if it is wrong; its mistakes go to `problems`."""
    before, where = len(problems), ("rules", name)
    keys = tuple(model.points or ([model.point] if model.point else []))
    if model.silent_for is not None:
        condition = None
        _check_silent(document, where, model, problems)
    else:
        condition = _condition(document, where, model, problems, clear=model.clear)
        _check_points(document, where, model, keys, points, problems)
    when = build_gates(document, where, model.when, points, problems)
    _refuse_statistics(document, where, model, keys, problems)
    if len(problems) > before:
        return None
    return Rule(
        id=f"{kind}.{name}",
        kind=kind,
        label=text(model.label),
        points=keys,
        condition=condition,
        severity=model.severity,
        cause=text(model.cause),
        consequence=text(model.consequence),
        response=text(model.response),
        skill=model.skill,
        for_s=model.for_,
        clear_for_s=model.clear_for,
        when=when,
        safety=model.safety,
        work_order=model.work_order,
        silent_for_s=model.silent_for,
    )


def build_detector(
    document: Document, where: Where, model: DetectorYaml, points: Points, problems: list[str]
) -> DetectorSpec:
    """The spec, without the points that do not exist; mistakes go to `problems`."""
    if model.detector not in NAMES:
        what = f"no detector {model.detector!r}{did_you_mean(model.detector, NAMES)}"
        problems.append(document.problem((*where, "detector"), what))
    if model.detector in _LEARNED and model.warmup is None:
        problems.append(document.problem((*where, "warmup"), "is missing"))
    for i, key in enumerate(model.points):
        _check_point(document, (*where, "points", i), key, points, problems)
    _check_model(document, where, model, points, problems)
    if model.detector == "missing":
        for key in ("by", "when"):
            if getattr(model, key):
                problems.append(document.problem((*where, key), "does not go with missing"))
    if model.by is not None:
        _check_point(document, (*where, "by"), model.by, points, problems)
    elif model.blank:
        problems.append(document.problem((*where, "blank"), "goes only with by"))
    _check_forecast(document, where, model, problems)
    return DetectorSpec(
        detector=model.detector if model.detector in NAMES else "rate",
        points=tuple(points[key] for key in model.points if key in points),
        warmup_s=model.warmup or 0.0,
        quiet_s=model.quiet,
        window_s=_window_s(model),
        min_change=model.min_change,
        when=build_gates(document, where, model.when, points, problems),
        params=model.params,
        by=model.by or "",
        blank_s=model.blank,
        budget=model.budget,
        limit=model.limit or 0.0,
        rising=model.direction == "up",
        horizon_s=model.horizon,
        name=model.name or "",
        label=text(model.label) if model.label else Text("", ""),
    )


_FORECAST_KEYS = ("limit", "direction", "horizon")
_FORECAST_WINDOW_S, _FORECAST_MOST_S = 30 * 86_400.0, 60 * 86_400.0


def _window_s(model: DetectorYaml) -> float:
    if model.detector == "forecast" and "window" not in model.model_fields_set:
        return _FORECAST_WINDOW_S
    return model.window


def _check_forecast(
    document: Document, where: Where, model: DetectorYaml, problems: list[str]
) -> None:
    if model.detector != "forecast":
        for key in (key for key in _FORECAST_KEYS if key in model.model_fields_set):
            problems.append(document.problem((*where, key), "goes only with detector: forecast"))
        return
    if model.limit is None:
        problems.append(document.problem((*where, "limit"), "is missing"))
    if not 0 < _window_s(model) <= _FORECAST_MOST_S:
        problems.append(document.problem((*where, "window"), "must be at most 60d"))
    if model.horizon <= 0:
        problems.append(document.problem((*where, "horizon"), "must be above 0"))


def _check_model(
    document: Document, where: Where, model: DetectorYaml, points: Points, problems: list[str]
) -> None:
    """A model has a name and a label of its own, and points that are no counters; others have neither."""
    for key in ("name", "label"):
        given = getattr(model, key) is not None
        if model.detector == MODEL and not given:
            problems.append(document.problem((*where, key), "is missing"))
        elif given and model.detector != MODEL:
            problems.append(document.problem((*where, key), f"goes only with detector: {MODEL}"))
    if model.detector != MODEL:
        return
    types = [points[key].type if key in points else "number" for key in model.points]
    for i, type_ in enumerate(types):
        if type_ == "counter":
            problems.append(document.problem((*where, "points", i), "a counter only grows"))
    if "number" not in types:
        problems.append(document.problem((*where, "points"), "has no number to judge"))


def _check_silent(document: Document, where: Where, model: RuleYaml, problems: list[str]) -> None:
    """A rule on silence looks at no value."""
    for key in ("point", "points", "clear", *_OPERATORS):
        if _given(model, key) is not None:
            problems.append(document.problem((*where, key), "does not go with silent_for"))


def _check_points(
    document: Document,
    where: Where,
    model: RuleYaml,
    keys: tuple[str, ...],
    points: Points,
    problems: list[str],
) -> None:
    if (model.point is None) == (model.points is None):
        problems.append(document.problem(where, "needs exactly one of point, points, silent_for"))
    for i, key in enumerate(keys):
        place = (*where, "point") if model.point else (*where, "points", i)
        _check_point(document, place, key, points, problems)


def _check_point(
    document: Document, where: Where, key: str, points: Points, problems: list[str]
) -> None:
    if key not in points:
        problems.append(document.problem(where, f"no point {key!r}{did_you_mean(key, points)}"))


def _refuse_statistics(
    document: Document,
    where: Where,
    model: RuleYaml,
    keys: tuple[str, ...],
    problems: list[str],
) -> None:
    """What danger to people hangs on is measured: statistics may be wrong and have a budget of alarms."""
    if model.safety:
        what = "a rule with safety: true looks at"
    elif model.severity == "P1":
        what = "a rule of severity P1 looks at"
    else:
        return
    places = (
        [(*where, "point")] if model.point else [(*where, "points", i) for i in range(len(keys))]
    )
    places += [(*where, "when", i, "point") for i in range(len(model.when))]
    for place, key in zip(places, [*keys, *(gate.point for gate in model.when)], strict=True):
        if is_statistical(key):
            problems.append(document.problem(place, f"{what} {key!r}, which is statistics"))


def _given(model: ConditionYaml, key: str) -> object:
    return getattr(model, "in_" if key == "in" else key)


def _condition(
    document: Document,
    where: Where,
    model: ConditionYaml,
    problems: list[str],
    *,
    clear: float | tuple[float, float] | None = None,
) -> Condition | None:
    """The condition, or None if there is not exactly one operator or its limits make no sense."""
    given = [op for op in _OPERATORS if _given(model, op) is not None]
    if len(given) != 1:
        said = ", ".join(given) or "none"
        what = f"needs exactly one of {', '.join(_OPERATORS)}; it has {said}"
        problems.append(document.problem(where, what))
        return None
    what = _senseless(model, clear)
    if what is not None:
        key = "clear" if clear is not None else given[0]
        problems.append(document.problem((*where, key), what))
        return None
    return _limits(model, clear)


def _senseless(model: ConditionYaml, clear: float | tuple[float, float] | None) -> str | None:
    """Why limit and clear cannot be meant, or None. Clear lies on the healthy side of the limit."""
    if model.outside is not None:
        low, high = model.outside
        if low >= high:
            return "low must be less than high"
        if clear is None:
            return None
        if not isinstance(clear, tuple):
            return "must be [low, high], as outside is"
        return None if low <= clear[0] < clear[1] <= high else "must lie inside outside"
    if clear is None:
        return None
    limit = model.above if model.above is not None else model.below
    if limit is None:
        return "goes only with above, below and outside"
    if isinstance(clear, tuple):
        return "must be one number"
    if model.above is not None:
        return None if clear <= limit else f"must not be above the limit {limit:g}"
    return None if clear >= limit else f"must not be below the limit {limit:g}"


def _limits(model: ConditionYaml, clear: float | tuple[float, float] | None) -> Condition:
    if model.above is not None:
        back = clear if isinstance(clear, float) else model.above
        return Condition("above", high=model.above, clear_high=back)
    if model.below is not None:
        back = clear if isinstance(clear, float) else model.below
        return Condition("below", low=model.below, clear_low=back)
    if model.outside is not None:
        (low, high), back = model.outside, clear if isinstance(clear, tuple) else model.outside
        return Condition("outside", low=low, high=high, clear_low=back[0], clear_high=back[1])
    if model.equals is not None:
        return Condition("equals", values=(model.equals,))
    if model.not_equals is not None:
        return Condition("not_equals", values=(model.not_equals,))
    return Condition("in", values=tuple(model.in_ or ()))


def build_gates(
    document: Document,
    where: Where,
    models: Sequence[GateYaml],
    points: Points,
    problems: list[str],
) -> tuple[Gate, ...]:
    """The gates of the list `when` at `where`, without those that are wrong."""
    gates: list[Gate] = []
    for i, model in enumerate(models):
        place = (*where, "when", i)
        _check_point(document, (*place, "point"), model.point, points, problems)
        condition = _condition(document, place, model, problems)
        if condition is not None:
            gates.append(Gate(model.point, condition, model.for_))
    return tuple(gates)
