"""What would have fired beside what did, and beside what people found.

The same alert: same rule, asset and point, and their times overlap or begin within SAME_NS. An alert and an
order belong together if the asset is the same and one of the order's alerts is of the same rule or of the
same measured point, and the alert fired between LEAD_NS before the order was opened and its end.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pms_iot.feedback.service import TRUE
from pms_iot.replay.run import Fired
from pms_iot.replay.truth import Actual, Judged

SAME_NS = 600 * 10**9
LEAD_NS = 14 * 86_400 * 10**9
_MONTH_NS = 30 * 86_400 * 10**9
_EVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule: how often it would have fired, and what is known of that."""

    rule: str
    severity: str
    count: int
    per_asset_month: float
    first_ns: int | None
    last_ns: int | None
    median_s: float | None  # of those that ended
    true: int  # belong to an order whose fault was confirmed
    false: int  # to one that found none
    unjudged: int
    new: int
    same: int
    gone: int  # fired in reality and not here


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order with an outcome. rule: that of the earliest alert that belongs to it; None: it has none.

    lead_s: from that alert to the opening of the order; negative if it came later. other: whether anything
    else fired on the asset in that time.
    """

    order: int
    asset: str
    outcome: str
    opened_ns: int
    rule: str | None
    lead_s: float | None
    other: bool


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert, fired in the replay (`new`, `same`) or in reality only (`gone`)."""

    status: str
    rule: str
    asset: str
    point: str
    at_ns: int
    ended_ns: int | None
    value: float | None
    verdict: str  # the outcome of the order that it belongs to, or ""
    order: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """hit, missed: confirmed faults. repeated, avoided: orders for nothing."""

    rules: Sequence[RuleLine]
    orders: Sequence[OrderLine]
    alerts: Sequence[AlertLine]
    hit: int
    missed: int
    repeated: int
    avoided: int
    median_lead_s: float | None


def compare(
    fired: Sequence[Fired],
    actual: Sequence[Actual],
    judged: Sequence[Judged],
    *,
    asset_months: dict[str, float],
) -> Comparison:
    """asset_months: kind -> assets times months of 30 days."""
    same, gone = _matched(fired, actual)
    verdicts = [_verdict(alert, judged) for alert in fired]
    orders = [_order_line(order, fired) for order in judged]
    alerts = [
        AlertLine(
            "same" if i in same else "new",
            alert.rule.id,
            alert.asset,
            alert.point,
            alert.at_ns,
            alert.ended_ns,
            alert.value,
            verdict.outcome if verdict else "",
            verdict.order if verdict else None,
        )
        for i, (alert, verdict) in enumerate(zip(fired, verdicts, strict=True))
    ]
    alerts += [
        AlertLine("gone", a.rule, a.asset, a.point, a.at_ns, a.ended_ns, None, "", None)
        for a in gone
    ]
    leads = [o.lead_s for o in orders if o.outcome in TRUE and o.lead_s is not None]
    counts = Counter((order.outcome in TRUE, order.rule is not None) for order in orders)
    return Comparison(
        rules=_rule_lines(fired, alerts, gone, asset_months),
        orders=orders,
        alerts=sorted(alerts, key=lambda a: (a.at_ns, a.rule, a.asset, a.point)),
        hit=counts[True, True],
        missed=counts[True, False],
        repeated=counts[False, True],
        avoided=counts[False, False],
        median_lead_s=median(leads) if leads else None,
    )


def asset_months(assets_of_kind: dict[str, int], start_ns: int, end_ns: int) -> dict[str, float]:
    return {kind: n * (end_ns - start_ns) / _MONTH_NS for kind, n in assets_of_kind.items()}


def _matched(fired: Sequence[Fired], actual: Sequence[Actual]) -> tuple[set[int], Sequence[Actual]]:
    """Numbers of the fired alerts that fired in reality too, and those that did only there."""
    waiting: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, alert in enumerate(fired):
        waiting[alert.rule.id, alert.asset, alert.point].append(i)
    same: set[int] = set()
    gone: list[Actual] = []
    for real in actual:
        candidates = waiting[real.rule, real.asset, real.point]
        found = next((i for i in candidates if _meet(fired[i], real)), None)
        if found is None:
            gone.append(real)
        else:
            candidates.remove(found)
            same.add(found)
    return same, gone


def _meet(alert: Fired, real: Actual) -> bool:
    if abs(alert.at_ns - real.at_ns) <= SAME_NS:
        return True
    ended, real_ended = alert.ended_ns or _EVER, real.ended_ns or _EVER
    return alert.at_ns <= real_ended and real.at_ns <= ended


def _belongs(alert: Fired, order: Judged) -> bool:
    if not _in_time(alert, order):
        return False
    base = alert.point.split(".", 1)[0]
    return any(
        alert.rule.id == one.rule or (base and base == one.point.split(".", 1)[0])
        for one in order.alerts
    )


def _in_time(alert: Fired, order: Judged) -> bool:
    begun = order.opened_ns - LEAD_NS <= alert.at_ns <= order.finished_ns
    lasted = alert.ended_ns is None or alert.ended_ns >= order.opened_ns - LEAD_NS
    return alert.asset == order.asset and begun and lasted


def _verdict(alert: Fired, judged: Sequence[Judged]) -> Judged | None:
    """The order that the alert belongs to: the first that was opened after it, or the last before."""
    own = [order for order in judged if _belongs(alert, order)]
    after = [order for order in own if order.opened_ns >= alert.at_ns]
    return after[0] if after else own[-1] if own else None


def _order_line(order: Judged, fired: Sequence[Fired]) -> OrderLine:
    own = next((alert for alert in fired if _belongs(alert, order)), None)
    return OrderLine(
        order.order,
        order.asset,
        order.outcome,
        order.opened_ns,
        own.rule.id if own else None,
        (order.opened_ns - own.at_ns) / 1e9 if own else None,
        any(_in_time(alert, order) and not _belongs(alert, order) for alert in fired),
    )


def _rule_lines(
    fired: Sequence[Fired],
    alerts: Sequence[AlertLine],
    gone: Sequence[Actual],
    months: dict[str, float],
) -> list[RuleLine]:
    severities = {alert.rule.id: alert.rule.severity for alert in fired}
    lost = Counter(real.rule for real in gone)
    lines: list[RuleLine] = []
    for rule in sorted({*severities, *lost}):
        own = [a for a in alerts if a.rule == rule and a.status != "gone"]
        spans = [(a.ended_ns - a.at_ns) / 1e9 for a in own if a.ended_ns is not None]
        judged = Counter(a.verdict in TRUE for a in own if a.verdict)
        lines.append(
            RuleLine(
                rule=rule,
                severity=severities.get(rule, ""),
                count=len(own),
                per_asset_month=len(own) / max(months.get(rule.partition(".")[0], 0.0), 1e-9),
                first_ns=own[0].at_ns if own else None,
                last_ns=own[-1].at_ns if own else None,
                median_s=median(spans) if spans else None,
                true=judged[True],
                false=judged[False],
                unjudged=sum(not a.verdict for a in own),
                new=sum(a.status == "new" for a in own),
                same=sum(a.status == "same" for a in own),
                gone=lost[rule],
            )
        )
    return sorted(lines, key=lambda line: (-line.count, line.rule))
