"""What points.yaml says of a counter: how wide it is and how fast it can run."""

from collections.abc import Iterable, Mapping

from pms_iot.assets.points import CounterDef, PointDef
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.rulepacks.document import Document
from pms_iot.rulepacks.models import CounterYaml, PointYaml

# A clock of working hours cannot run faster than time itself.
_TIME_PER_H = {"h": 1.0, "min": 60.0, "s": 3600.0}


def check_counter(document: Document, key: str, point: PointYaml, problems: list[str]) -> None:
    """Mistakes that the shape alone does not show go to `problems`."""
    counter = point.counter
    if counter is None:
        return
    where = ("points", key, "counter")
    if point.type != "counter":
        problems.append(document.problem(where, f"type is {point.type!r}, not 'counter'"))
    widths = [name for name in ("modulus", "bits", "digits") if getattr(counter, name) is not None]
    if len(widths) > 1:
        what = f"at most one of modulus, bits, digits; here are {', '.join(widths)}"
        problems.append(document.problem(where, what))


def build_counter(point: PointYaml) -> CounterDef | None:
    """None for a point that is no counter."""
    if point.type != "counter":
        return None
    said = point.counter or CounterYaml()
    return CounterDef(
        _modulus(said), said.most_per_h or _TIME_PER_H.get(point.unit), said.step or 1.0
    )


def _modulus(said: CounterYaml) -> float | None:
    step = said.step or 1.0
    if said.bits is not None:
        return 2.0**said.bits * step
    if said.digits is not None:
        return 10.0**said.digits * step
    return said.modulus


def counters_of_plans(
    plans: Iterable[PlanTemplate], points: Mapping[str, Mapping[str, PointDef]]
) -> dict[tuple[str, str], CounterDef]:
    """The counters by which plans fall due, by (kind, point). points: kind -> key -> point."""
    metered = [(plan.kind, key) for plan in plans if plan.meter for key in plan.meter.points]
    found = {(kind, key): points[kind][key].counter for kind, key in metered}
    return {where: counter for where, counter in found.items() if counter is not None}
