"""Alerts as rows: what the rules found, and what people did about it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlmodel import Session, col, or_, select

from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.alerts.transition import Transition
from pms_iot.assets.points import is_statistical
from pms_iot.feedback import service as feedback
from pms_iot.kernel.clock import from_ns
from pms_iot.kernel.db import insert_new
from pms_iot.kernel.errors import NotFoundError, PmsError

MAX_SHELF = timedelta(hours=8)  # one shift: domain reference 4, after ISA-18.2
Reason = Literal["opened", "known", "already_live", "resolved", "not_live"]


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A transition that changed the alert it is about."""

    kind: Literal["fired", "resolved"]
    alert: Alert
    transition: Transition
    reason: Reason


class ShelvingRefusedError(PmsError):
    """An alert may not be put aside; `reason` is safety | too_long | reason_missing | not_live."""

    def __init__(self, alert_id: int, reason: str) -> None:
        super().__init__(f"alert {alert_id} may not be shelved: {reason}")
        self.alert_id = alert_id
        self.reason = reason


class AcceptanceRefusedError(PmsError):
    """A level may not be taken for normal; `reason` is safety | measured | not_live | reason_missing."""

    def __init__(self, alert_id: int, reason: str) -> None:
        super().__init__(f"the level of alert {alert_id} may not be taken for normal: {reason}")
        self.alert_id = alert_id
        self.reason = reason


def record(session: Session, transitions: Iterable[Transition], now: datetime) -> list[AlertChange]:
    """Writes the transitions down, in their order; returns those that changed something.

    A replay of the same transitions changes nothing, nor does the end of an alert that is not live.
    """
    settled = [settle(session, transition, now) for transition in transitions]
    return [change for change in settled if isinstance(change, AlertChange)]


def settle(session: Session, transition: Transition, now: datetime) -> AlertChange | Reason:
    """Applies one transition: the change, or the reason why there is none.

    `opened`, `resolved` come as a change. `known`: this very occurrence is on record.
    `already_live`: another occurrence of the same key is firing. `not_live`: nothing to resolve.
    """
    if transition.kind == "fired":
        return _fire(session, transition, now)
    return _resolve(session, transition)


def _fire(session: Session, transition: Transition, now: datetime) -> AlertChange | Reason:
    opened_at = from_ns(transition.at_ns)
    fresh = _row(transition, opened_at)
    while True:  # another process may end the live alert between the statements
        alert_id = insert_new(session, fresh)
        if alert_id is not None:
            alert = _alert(session, alert_id)
            note_step(
                session, alert, opened_at, "fired", detail={"value": _storable(transition.value)}
            )
            _stay_shelved(session, alert, now)
            session.flush()
            return AlertChange("fired", alert, transition, "opened")
        if _find(session, transition.key, opened_at) is not None:
            return "known"
        if _live(session, transition.key) is not None:
            return "already_live"


def _row(transition: Transition, opened_at: datetime) -> Alert:
    return Alert(
        key=transition.key,
        rule=transition.rule.id,
        asset_id=transition.asset_id,
        point_id=transition.series,
        severity=transition.rule.severity,
        safety=transition.rule.safety,
        state="firing",
        opened_at=opened_at,
        since=from_ns(transition.since_ns),
        value=_storable(transition.value),
        limit=_storable(transition.limit),
        why=_storable(transition.why),
    )


def _storable(value: Any) -> Any:
    """The value with NaN and infinities as None, for JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value


def _resolve(session: Session, transition: Transition) -> AlertChange | Reason:
    alert = _live(session, transition.key)
    at = from_ns(transition.at_ns)
    if alert is None or at < alert.opened_at:
        return "not_live"
    alert.state, alert.resolved_at = "resolved", at
    session.add(alert)
    note_step(session, alert, at, "resolved", detail={"value": _storable(transition.value)})
    session.flush()
    return AlertChange("resolved", alert, transition, "resolved")


def retire(session: Session, keys: Iterable[str], at: datetime) -> list[int]:
    """Ends live alerts that no rule watches any more (rules or assets changed); returns their ids."""
    query = select(Alert).where(col(Alert.key).in_(list(keys)), Alert.state == "firing")
    alerts = session.exec(query.with_for_update()).all()
    for alert in alerts:
        alert.state, alert.resolved_at = "resolved", at
        session.add(alert)
        note_step(session, alert, at, "resolved", detail={"reason": "rule gone"})
    session.flush()
    return [alert.id for alert in alerts if alert.id is not None]


def _stay_shelved(session: Session, alert: Alert, now: datetime) -> None:
    """A shelf holds for the condition, not for one occurrence: a chattering alert stays on it."""
    earlier = select(Alert).where(Alert.key == alert.key, col(Alert.shelved_until) > now)
    shelved = session.exec(earlier.order_by(col(Alert.opened_at).desc())).first()
    if shelved is None or shelved.shelved_until is None:
        return
    alert.shelved_until = shelved.shelved_until
    session.add(alert)
    detail = {"until": alert.shelved_until.isoformat(), "as_alert": shelved.id}
    note_step(session, alert, alert.opened_at, "shelved", detail=detail)


def attach_order(
    session: Session, alert: Alert, work_order_id: int, verdict: str, at: datetime
) -> None:
    """Notes which work order the alert belongs to, and whether it opened it or joined it."""
    alert.work_order_id = work_order_id
    session.add(alert)
    note_step(
        session, alert, at, "work_order", detail={"work_order": work_order_id, "verdict": verdict}
    )
    session.flush()


def acknowledge(session: Session, alert_id: int, actor: str, at: datetime) -> Alert:
    """Notes who has seen the alert, firing or not. The first one stays; a second changes nothing."""
    alert = _alert(session, alert_id, for_change=True)
    if alert.acked_at is None:
        alert.acked_at, alert.acked_by = at, actor
        session.add(alert)
        note_step(session, alert, at, "acknowledged", actor=actor)
        session.flush()
    return alert


def shelve(
    session: Session, alert_id: int, actor: str, until: datetime, reason: str, *, at: datetime
) -> Alert:
    """Puts a firing alert aside for at most a shift; it comes back by itself.

    Raises ShelvingRefusedError. Fire, entrapment and the like are never put aside.
    """
    alert = _alert(session, alert_id, for_change=True)
    if refusal := _refusal(alert, until, reason, at):
        raise ShelvingRefusedError(alert_id, refusal)
    alert.shelved_until = until
    session.add(alert)
    detail = {"until": until.isoformat(), "reason": reason.strip()}
    note_step(session, alert, at, "shelved", actor=actor, detail=detail)
    session.flush()
    return alert


def _refusal(alert: Alert, until: datetime, reason: str, at: datetime) -> str | None:
    if alert.safety:
        return "safety"
    if alert.state != "firing":
        return "not_live"
    if not reason.strip():
        return "reason_missing"
    return None if at < until <= at + MAX_SHELF else "too_long"


def is_shelved(alert: Alert, at: datetime) -> bool:
    """Whether somebody has put the alert aside until after `at`."""
    return alert.shelved_until is not None and alert.shelved_until > at


def unshelve(session: Session, alert_id: int, actor: str, at: datetime) -> Alert:
    """Brings a shelved alert back before its time."""
    alert = _alert(session, alert_id, for_change=True)
    if alert.shelved_until is not None:
        alert.shelved_until = None
        session.add(alert)
        note_step(session, alert, at, "unshelved", actor=actor)
        session.flush()
    return alert


def without_order(session: Session, at: datetime) -> Sequence[Alert]:
    """Firing alerts that no work order knows of and that nobody and nothing has put aside (any more)."""
    query = select(Alert).where(
        Alert.state == "firing",
        col(Alert.work_order_id).is_(None),
        col(Alert.suppressed_by).is_(None),
        or_(col(Alert.shelved_until).is_(None), col(Alert.shelved_until) <= at),
    )
    return session.exec(query.order_by(col(Alert.id))).all()


def accept(session: Session, alert_id: int, actor: str, reason: str, at: datetime) -> Alert:
    """Somebody takes the present level for normal: the detector is told, and learns it.

    The alert ends when the detector's score falls. Raises AcceptanceRefusedError: only the alarm of a
    detector's score can be accepted, while it fires, and never one of safety.
    """
    alert = _alert(session, alert_id, for_change=True)
    if refusal := _no_acceptance(alert, reason):
        raise AcceptanceRefusedError(alert_id, refusal)
    assert alert.point_id is not None
    note_step(session, alert, at, "accepted", actor=actor, detail={"reason": reason.strip()})
    feedback.accept(session, alert_id=alert_id, series=alert.point_id, actor=actor, at=at)
    return alert


def _no_acceptance(alert: Alert, reason: str) -> str | None:
    if alert.safety:
        return "safety"
    if alert.point_id is None or not is_statistical(alert.key):
        return "measured"
    if alert.state != "firing":
        return "not_live"
    return None if reason.strip() else "reason_missing"


def live_alerts(session: Session) -> Sequence[Alert]:
    """All firing alerts, shelved ones included, the oldest first."""
    query = select(Alert).where(Alert.state == "firing")
    return session.exec(query.order_by(col(Alert.opened_at), col(Alert.id))).all()


def _alert(session: Session, alert_id: int, *, for_change: bool = False) -> Alert:
    alert = session.get(Alert, alert_id, with_for_update=for_change or None)
    if alert is None:
        raise NotFoundError("alert", alert_id)
    return alert


def _find(session: Session, key: str, opened_at: datetime) -> Alert | None:
    query = select(Alert).where(Alert.key == key, Alert.opened_at == opened_at)
    return session.exec(query).one_or_none()


def _live(session: Session, key: str) -> Alert | None:
    query = select(Alert).where(Alert.key == key, Alert.state == "firing").with_for_update()
    return session.exec(query, execution_options={"populate_existing": True}).one_or_none()


def note_step(
    session: Session,
    alert: Alert,
    at: datetime,
    kind: str,
    *,
    actor: str = "system",
    detail: Mapping[str, object] | None = None,
) -> None:
    assert alert.id is not None
    event = AlertEvent(alert_id=alert.id, at=at, kind=kind, actor=actor, detail=dict(detail or {}))
    insert_new(session, event)  # the same step at the same instant is one step
