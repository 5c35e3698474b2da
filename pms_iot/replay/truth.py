"""What the engine really said in a window, and what people found out about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.workorders.tables import OrderAlert, WorkOrder


@dataclass(frozen=True, slots=True)
class Actual:
    """An alert on record. point: "" for a rule on silence."""

    rule: str
    asset: str
    point: str
    at_ns: int
    ended_ns: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A finished corrective order with an outcome, and the alerts that it is about."""

    order: int
    asset: str
    outcome: str  # true_fault | sensor_fault | false_alarm | no_fault_found
    opened_ns: int
    finished_ns: int
    alerts: Sequence[Actual]


def alerts_on_record(
    session: Session, assets: Sequence[str], start_ns: int, end_ns: int
) -> list[Actual]:
    """Alerts of these assets that fired in [start, end), in order of time."""
    query = (
        select(Alert, Asset.code)
        .join(Asset, col(Alert.asset_id) == col(Asset.id))
        .where(Alert.opened_at >= from_ns(start_ns), Alert.opened_at < from_ns(end_ns))
        .order_by(col(Alert.opened_at), col(Alert.id))
    )
    wanted = set(assets)
    return [_actual(alert, code) for alert, code in session.exec(query) if code in wanted]


def orders_with_outcome(
    session: Session, assets: Sequence[str], start_ns: int, end_ns: int
) -> list[Judged]:
    """Finished orders with an outcome of which an alert fired in [start, end), by opening time."""
    query = (
        select(WorkOrder, Alert, Asset.code)
        .join(OrderAlert, col(OrderAlert.work_order_id) == col(WorkOrder.id))
        .join(Alert, col(Alert.id) == col(OrderAlert.alert_id))
        .join(Asset, col(Asset.id) == col(WorkOrder.asset_id))
        .where(
            WorkOrder.kind == "corrective",
            col(WorkOrder.outcome).is_not(None),
            OrderAlert.fired_at >= from_ns(start_ns),
            OrderAlert.fired_at < from_ns(end_ns),
        )
        .order_by(col(WorkOrder.opened_at), col(WorkOrder.id), col(Alert.id))
    )
    orders: dict[int, tuple[WorkOrder, str, list[Actual]]] = {}
    wanted = set(assets)
    for order, alert, code in session.exec(query):
        if code in wanted and order.id is not None:
            own = orders.setdefault(order.id, (order, code, []))
            own[2].append(_actual(alert, code))
    return [_judged(order, code, alerts) for order, code, alerts in orders.values()]


def _judged(order: WorkOrder, code: str, alerts: Sequence[Actual]) -> Judged:
    assert order.id is not None and order.outcome is not None
    finished = order.finished_at or order.closed_at or order.opened_at
    return Judged(order.id, code, order.outcome, to_ns(order.opened_at), to_ns(finished), alerts)


def _actual(alert: Alert, code: str) -> Actual:
    ended = to_ns(alert.resolved_at) if alert.resolved_at else None
    return Actual(alert.rule, code, alert.key.rsplit("|", 1)[1], to_ns(alert.opened_at), ended)
