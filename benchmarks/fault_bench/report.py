"""What the runs come to: found, how soon, how long before failure, and false alarms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import median
from typing import Any

from benchmarks.fault_bench.catalogue import DAY_S, FaultCase
from benchmarks.fault_bench.fleet import Fired, KindResult, Outcome


@dataclass(frozen=True)
class Found:
    """One fault at one severity. `own` and `any_`: runs in which an own rule, or an own or related one, fired.

    delay_s: median from the onset to the first of any of them, own_delay_s to the first own one.
    lead: median share of the law's length that was left then, None for a step. late: runs that
    missed the time that a safety fault allows. first: the rule that most often came first.
    """

    runs: int
    own: int
    any_: int
    delay_s: float | None
    own_delay_s: float | None
    lead: float | None
    late: int
    first: str


@dataclass(frozen=True)
class FalseAlarms:
    """Alerts of healthy machines, by what the rule looks at. shown: of the statistical ones, those that the
    budget of the product let people see."""

    asset_months: float
    statistical: int
    shown: int
    deterministic: int
    rules: dict[str, int]


@dataclass(frozen=True)
class KindReport:
    faults: dict[str, dict[str, Found]]
    false_alarms: FalseAlarms


Report = dict[str, KindReport]


def report_kind(result: KindResult) -> KindReport:
    """By fault and severity (as text, e.g. `0.6`)."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in result.outcomes:
        groups.setdefault((outcome.case.name, f"{outcome.severity:g}"), []).append(outcome)
    faults: dict[str, dict[str, Found]] = {}
    for (name, severity), outcomes in groups.items():
        faults.setdefault(name, {})[severity] = _found(outcomes)
    alarms = result.false_alarms
    false = FalseAlarms(
        asset_months=round(result.asset_months, 3),
        statistical=sum(alarm.statistical for alarm in alarms),
        shown=sum(alarm.statistical and isfinite(alarm.shown_at_s) for alarm in alarms),
        deterministic=sum(not alarm.statistical for alarm in alarms),
        rules=dict(sorted(Counter(alarm.rule for alarm in alarms).items())),
    )
    return KindReport(faults, false)


def _found(outcomes: Sequence[Outcome]) -> Found:
    case = outcomes[0].case
    own = [_first(o, case.own) for o in outcomes]
    any_ = [_first(o, (*case.own, *case.related)) for o in outcomes]
    delay = _median(f.shown_at_s - o.onset_s for f, o in zip(any_, outcomes, strict=True) if f)
    own_delay = _median(f.shown_at_s - o.onset_s for f, o in zip(own, outcomes, strict=True) if f)
    rules = Counter(f.rule for f in any_ if f)
    return Found(
        runs=len(outcomes),
        own=sum(f is not None for f in own),
        any_=sum(f is not None for f in any_),
        delay_s=delay,
        own_delay_s=own_delay,
        lead=round(1 - delay / case.full_s, 3) if case.full_s and delay is not None else None,
        late=sum(_is_late(case, f, o) for f, o in zip(own, outcomes, strict=True)),
        first=rules.most_common(1)[0][0] if rules else "",
    )


def _first(outcome: Outcome, rules: Iterable[str]) -> Fired | None:
    wanted = set(rules)
    named = (fired for fired in outcome.fired if fired.rule in wanted)
    return min(named, key=lambda fired: fired.shown_at_s, default=None)


def _is_late(case: FaultCase, first: Fired | None, outcome: Outcome) -> bool:
    if not case.within_s:
        return False
    return first is None or first.shown_at_s - outcome.onset_s > case.within_s


def _median(values: Iterable[float]) -> float | None:
    known = sorted(values)
    return round(median(known), 1) if known else None


def to_json(report: Mapping[str, KindReport]) -> dict[str, Any]:
    return {kind: asdict(part) for kind, part in report.items()}


def from_json(content: Mapping[str, Any]) -> Report:
    return {
        kind: KindReport(
            {
                name: {severity: Found(**found) for severity, found in of_fault.items()}
                for name, of_fault in part["faults"].items()
            },
            FalseAlarms(**part["false_alarms"]),
        )
        for kind, part in content.items()
    }


def table(report: Mapping[str, KindReport], cases: Iterable[FaultCase]) -> str:
    """Markdown: one line per fault, then the false alarms."""
    domain = {(case.kind, case.name): case.domain_s for case in cases}
    severities = sorted({s for part in report.values() for f in part.faults.values() for s in f})
    head = [f"found at {s} (own)" for s in severities]
    lines = [
        "| kind | fault | " + " | ".join(head) + " | delay | lead | first |",
        "|---|---|" + "---|" * len(severities) + "---|---|---|",
    ]
    for kind, part in report.items():
        for name, found in part.faults.items():
            cells = [_cell(found.get(s)) for s in severities]
            worst = found[max(found)]
            lead = _lead(worst, domain.get((kind, name), 0.0))
            ends = [_duration(worst.delay_s), lead, worst.first]
            lines.append(f"| {kind} | {name} | " + " | ".join([*cells, *ends]) + " |")
    lines += [
        "",
        "| kind | asset-months | statistical | shown | deterministic | by rule |",
        "|---|---|---|---|---|---|",
    ]
    for kind, part in report.items():
        false = part.false_alarms
        rules = ", ".join(f"{rule} {count}" for rule, count in false.rules.items())
        lines.append(
            f"| {kind} | {false.asset_months:g} | {false.statistical / false.asset_months:.1f} | "
            f"{false.shown / false.asset_months:.1f} | {false.deterministic / false.asset_months:.1f} | {rules} |"
        )
    return "\n".join(lines)


def _cell(found: Found | None) -> str:
    return "" if found is None else f"{found.any_}/{found.runs} ({found.own})"


def _lead(found: Found, domain_s: float) -> str:
    """Share of the law that was left, and what that is of the domain's length."""
    if found.lead is None:
        return ""
    return f"{100 * found.lead:.0f} % ({found.lead * domain_s / DAY_S:.0f} d)"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (2 * DAY_S, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / DAY_S:.1f} d"
