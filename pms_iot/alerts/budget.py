"""The hard cap on alarms of statistics: what goes beyond the budget is recorded and held.

A rule on a measured value is never held, nor one of safety. All times are sample times, and a verdict
counts from the time after which the detectors heed it: a replay of the same samples holds the same alerts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, or_, select

from pms_iot.alerts.service import note_step
from pms_iot.alerts.tables import Alert
from pms_iot.assets.points import STATISTICAL, is_statistical
from pms_iot.assets.tables import Asset
from pms_iot.feedback.caps import WINDOW, Caps
from pms_iot.feedback.service import TRUE
from pms_iot.feedback.tables import Feedback
from pms_iot.kernel.clock import to_ns

Held = Literal["budget:asset", "budget:site"]
HELD: Sequence[Held] = ("budget:asset", "budget:site")


def may_be_held(alert: Alert) -> bool:
    """Whether the alert is of statistics alone, and no matter of safety."""
    return not alert.safety and is_statistical(alert.key)


def is_held(alert: Alert) -> bool:
    """Whether the budget holds the alert back now."""
    return alert.suppressed_by in HELD


def hold(session: Session, alert: Alert, caps: Caps) -> Held | None:
    """Holds a fresh alert if the budget of its asset or site is used up; says which."""
    if not may_be_held(alert):
        return None
    reason = _used_up(session, alert, alert.opened_at, caps)
    if reason is not None:
        alert.suppressed_by = reason
        session.add(alert)
        note_step(session, alert, alert.opened_at, "suppressed", detail={"by": reason})
        session.flush()
    return reason


def with_room(session: Session, at: datetime, caps: Caps) -> list[int]:
    """Ids of the held alerts that still fire and for which there is room again, the oldest first.

    Of several for which there is room once only the oldest is let go at a time. Only reads.
    """
    query = select(Alert).where(Alert.state == "firing", col(Alert.suppressed_by).in_(HELD))
    oldest = query.order_by(col(Alert.opened_at), col(Alert.key))
    of_asset: dict[int, Alert] = {}
    for alert in session.exec(oldest):
        of_asset.setdefault(alert.asset_id, alert)
    return [a.id or 0 for a in of_asset.values() if _used_up(session, a, at, caps) is None]


def release(session: Session, alert_id: int, at: datetime, caps: Caps) -> Alert | None:
    """Lets a held alert go if it still fires and there is room for it."""
    alert = session.get_one(Alert, alert_id, with_for_update=True, populate_existing=True)
    is_free = _used_up(session, alert, at, caps) is None
    if alert.state != "firing" or not is_held(alert) or not is_free:
        return None
    alert.suppressed_by, alert.released_at = None, at
    session.add(alert)
    note_step(session, alert, at, "released")
    session.flush()
    return alert


def _used_up(session: Session, alert: Alert, at: datetime, caps: Caps) -> Held | None:
    place = col(Alert.asset_id) + 0  # so that the index of the time is used, not that of the asset
    of_asset = place == alert.asset_id
    if unconfirmed(session, of_asset, alert.id, at) >= caps.asset_month:
        return "budget:asset"
    site = select(Asset.site_id).where(Asset.id == alert.asset_id).scalar_subquery()
    of_site = place.in_(select(Asset.id).where(Asset.site_id == site))
    return "budget:site" if unconfirmed(session, of_site, alert.id, at) >= caps.site_month else None


def unconfirmed(session: Session, where: ColumnElement[bool], but: int | None, at: datetime) -> int:
    """How many other alerts of statistics people were shown in `WINDOW` up to `at` that nobody has confirmed."""
    opened_at, released_at = col(Alert.opened_at), col(Alert.released_at)
    at_once = (func.coalesce(released_at, opened_at) == opened_at, opened_at)
    later = (released_at != opened_at, released_at)
    found = 0
    for which, shown_at in (at_once, later):  # each by the index of its time
        query = (
            select(func.count())
            .select_from(Alert)
            .where(
                where,
                which,
                shown_at > at - WINDOW,
                shown_at <= at,
                col(Alert.id) != but,
                col(Alert.safety).is_(False),
                statistical(),
                or_(col(Alert.suppressed_by).is_(None), col(Alert.suppressed_by).not_in(HELD)),
                ~confirmed_by(to_ns(at)),
            )
        )
        found += session.exec(query).one()
    return found


def statistical() -> ColumnElement[bool]:
    """Alerts on computed points that say how improbable something is."""
    return or_(*(col(Alert.key).like(f"%.{suffix}") for suffix in STATISTICAL))


def confirmed_by(at_ns: int) -> ColumnElement[bool]:
    """Alerts of which the last verdict that held at that sample time is that something was wrong indeed."""
    last, later = aliased(Feedback), aliased(Feedback)
    verdicts = ("judged", "withdrawn")
    newer = select(later.id).where(
        col(later.alert_id) == col(last.alert_id),
        col(later.kind).in_(verdicts),
        col(later.after_ns) < at_ns,
        col(later.number) > col(last.number),
    )
    return (
        select(last.id)
        .where(
            col(last.alert_id) == col(Alert.id),
            last.kind == "judged",
            col(last.outcome).in_(TRUE),
            col(last.after_ns) < at_ns,
            ~newer.exists(),
        )
        .exists()
    )
