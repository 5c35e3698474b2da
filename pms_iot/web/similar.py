"""Alerts like one that is shown, before it, and how they ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset
from pms_iot.workorders.tables import WorkOrder, WorkOrderEvent

WITHIN = timedelta(days=365)
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier alert. note: what was done, as the technician wrote it at the end; empty if nothing."""

    alert: Alert
    asset: Asset
    order: WorkOrder | None
    note: str


@dataclass(frozen=True, slots=True)
class Similar:
    """Earlier alerts of the same rule. outcomes: how their orders ended -> how many, the most first."""

    count: int
    outcomes: Mapping[str, int]
    newest: Sequence[Past]


def similar_on_asset(session: Session, alert: Alert, *, notes: bool) -> Similar:
    """Of the same asset. notes: whether the reader may see what was written in their orders."""
    return _similar(session, alert, Alert.asset_id == alert.asset_id, notes=notes)


def similar_at_site(session: Session, alert: Alert, asset: Asset, *, notes: bool) -> Similar:
    """Of the other assets of the kind at the asset's site."""
    others = select(Asset.id).where(Asset.site_id == asset.site_id, Asset.kind == asset.kind, col(Asset.id) != asset.id)  # fmt: skip
    return _similar(session, alert, col(Alert.asset_id).in_(others), notes=notes)


def _similar(
    session: Session, alert: Alert, whose: ColumnElement[bool] | bool, *, notes: bool
) -> Similar:
    alike = (
        Alert.rule == alert.rule,
        whose,
        col(Alert.opened_at) < alert.opened_at,
        col(Alert.opened_at) >= alert.opened_at - WITHIN,
    )
    per_order = (
        select(col(Alert.work_order_id).label("order_id"), func.count().label("alerts"))
        .where(*alike)
        .group_by(col(Alert.work_order_id))
        .subquery()
    )
    ended = (
        select(WorkOrder.outcome, func.sum(per_order.c.alerts))
        .select_from(per_order)
        .join(WorkOrder, per_order.c.order_id == col(WorkOrder.id), isouter=True)
        .group_by(col(WorkOrder.outcome))
    )
    outcomes = {outcome: int(n) for outcome, n in session.exec(ended)}
    count = sum(outcomes.values())
    known = [(outcome, n) for outcome, n in outcomes.items() if outcome is not None]
    return Similar(
        count=count,
        outcomes=dict(sorted(known, key=lambda item: (-item[1], item[0]))),
        newest=_newest(session, alike, notes=notes) if count else (),
    )


def _newest(
    session: Session, alike: Sequence[ColumnElement[bool] | bool], *, notes: bool
) -> list[Past]:
    first = col(Alert.opened_at).desc(), col(Alert.id).desc()
    newest = select(Alert.id).where(*alike).order_by(*first).limit(SHOWN)  # from the index alone
    query = (
        select(Alert, Asset, WorkOrder)
        .join(Asset, col(Alert.asset_id) == col(Asset.id))
        .join(WorkOrder, col(Alert.work_order_id) == col(WorkOrder.id), isouter=True)
        .where(col(Alert.id).in_(newest))
        .order_by(*first)
    )
    rows = session.exec(query).all()
    written = _written(session, [order.id for _, _, order in rows if order]) if notes else {}
    return [
        Past(alert, asset, order, written.get(order.id, "") if order else "")
        for alert, asset, order in rows
    ]


def _written(session: Session, orders: Sequence[int | None]) -> dict[int | None, str]:
    """What was said of each order when it was finished last."""
    query = select(WorkOrderEvent.work_order_id, WorkOrderEvent.note).where(
        col(WorkOrderEvent.work_order_id).in_(orders),
        WorkOrderEvent.kind == "finish",
        WorkOrderEvent.note != "",
    )
    return dict(session.exec(query.order_by(col(WorkOrderEvent.id))).all())
