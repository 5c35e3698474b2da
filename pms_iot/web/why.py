"""Why an alert fired, in words: its template id and values become sentences in the reader's language."""

from collections.abc import Mapping
from typing import Any

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.tables import Alert
from pms_iot.assets.points import PointDef
from pms_iot.kernel.clock import from_ns
from pms_iot.web.formats import duration, local_seconds, number
from pms_iot.web.i18n import N_
from pms_iot.web.visit import Visit

_SENTENCES = {
    "above": N_("{point} was {value}, above the limit of {limit}."),
    "below": N_("{point} was {value}, below the limit of {limit}."),
    "outside": N_("{point} was {value}, outside the permitted range; the limit is {limit}."),
    "equals": N_("{point}: {value}."),
    "in": N_("{point}: {value}."),
    "not_equals": N_("{point}: {value}, where {limit} is expected."),
}
_SCORE = N_("{point} was {value}; an alarm is raised above {limit}.")
_EXPECTED = N_("Measured {seen}; expected {low} to {high}.")
_HELD = N_("It held for at least {span}.")
_SILENT = N_("No data since {time}; at most {span} without data is permitted.")


def rule_of(visit: Visit, rule_id: str) -> Rule | None:
    """The rule that made an alert; None if the rule packs no longer have it."""
    pack = visit.deps.packs.get(rule_id.partition(".")[0])
    return next((rule for rule in pack.rules if rule.id == rule_id), None) if pack else None


def title_of(visit: Visit, alert: Alert) -> str:
    """The rule's label; its id if the rule is gone."""
    rule = rule_of(visit, alert.rule)
    return visit.text(rule.label) if rule else alert.rule


def why(visit: Visit, alert: Alert, zone: str) -> str:
    """One to three sentences."""
    values = alert.why
    if values.get("template") == "silent":
        since = local_seconds(from_ns(int(values.get("last_ns", 0))), zone)
        span = duration(float(values.get("for_s", 0)), visit.language)
        return visit.say(_SILENT, time=since, span=span)
    gap = "" if visit.language == "zh" else " "
    return gap.join(_sentences(visit, alert, values))


def _sentences(visit: Visit, alert: Alert, values: Mapping[str, Any]) -> list[str]:
    point = _point(visit, alert, str(values.get("point", "")))
    label = visit.text(point.label) if point else str(values.get("point", ""))
    unit = f" {values['unit']}" if values.get("unit") else ""
    is_score = point is not None and point.derived and "expected" in values
    template = _SCORE if is_score else _SENTENCES.get(str(values.get("template")), _SENTENCES["equals"])  # fmt: skip
    said = [
        visit.say(
            template,
            point=label,
            value=_shown(visit, point, alert.value) + unit,
            limit=_shown(visit, point, alert.limit) + unit,
        )
    ]
    if "expected" in values:
        low, high = (number(float(limit)) for limit in values["expected"])
        seen = number(values.get("seen"))
        said.append(visit.say(_EXPECTED, seen=seen, low=low, high=high))
    if values.get("for_s"):
        span = duration(float(values["for_s"]), visit.language)
        said.append(visit.say(_HELD, span=span))
    return said


def _point(visit: Visit, alert: Alert, key: str) -> PointDef | None:
    pack = visit.deps.packs.get(alert.rule.partition(".")[0])
    return pack.points.get(key) if pack else None


def _shown(visit: Visit, point: PointDef | None, value: float | None) -> str:
    if point is None or value is None:
        return number(value)
    return visit.coded(point, value) or number(value)
