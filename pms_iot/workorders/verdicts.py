"""The outcome of a corrective order is a verdict on each computed point whose alarm led to it."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from pms_iot.assets.tables import Point
from pms_iot.feedback import service as feedback
from pms_iot.workorders.tables import OrderAlert


def judge(session: Session, order_id: int, outcome: str, actor: str, at: datetime) -> None:
    """The order is finished. An outcome given again for the same alarm is the same verdict."""
    for link in _computed(session, order_id):
        assert link.series is not None
        feedback.judge(
            session,
            alert_id=link.alert_id,
            series=link.series,
            outcome=outcome,
            actor=actor,
            at=at,
        )


def withdraw(session: Session, order_id: int, actor: str, at: datetime) -> None:
    """Somebody does not believe the outcome."""
    for link in _computed(session, order_id):
        feedback.withdraw(session, alert_id=link.alert_id, actor=actor, at=at)


def _computed(session: Session, order_id: int) -> Sequence[OrderAlert]:
    """The order's alarms on points that were computed, not measured."""
    query = (
        select(OrderAlert)
        .join(Point, col(Point.id) == col(OrderAlert.series))
        .where(OrderAlert.work_order_id == order_id, col(Point.derived).is_(True))
        .order_by(col(OrderAlert.id))
    )
    return session.exec(query).all()
