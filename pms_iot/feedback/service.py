"""Verdicts written down by work orders and alerts, and taken by the main path. Each call is part of the
caller's transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func
from sqlmodel import Session, col, or_, select

from pms_iot.feedback.tables import DetectorLimit, Feedback
from pms_iot.kernel.clock import to_ns

Kind = Literal["judged", "withdrawn", "accepted"]
TRUE = ("true_fault", "sensor_fault")  # the detector was right: something was not as it should be
_NOTICEABLE = 0.01  # share by which a limit must move to be noted again


@dataclass(frozen=True, slots=True)
class Said:
    """One row of the queue as the detectors hear it: it holds for samples later than `after_ns`."""

    number: int
    kind: str
    series: int
    outcome: str
    after_ns: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What one row did to the limit of its series; None where the detector has no limit."""

    number: int
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    """limit: score above which an alarm is raised now; target: false alarms a month that it aims at."""

    limit: float
    target: float


def judge(
    session: Session, *, alert_id: int, series: int, outcome: str, actor: str, at: datetime
) -> None:
    """The order of an alarm has an outcome. The same again changes nothing; another replaces it."""
    before = verdict_of(session, alert_id)
    if before == outcome:
        return
    withdraw(session, alert_id=alert_id, actor=actor, at=at)
    _add(session, "judged", series, alert_id, actor, at, outcome=outcome)


def withdraw(session: Session, *, alert_id: int, actor: str, at: datetime) -> None:
    """The outcome of the alarm's order no longer holds; nothing if there is none."""
    last = _last(session, alert_id)
    if last is not None and last.kind == "judged":
        _add(session, "withdrawn", last.series, alert_id, actor, at, outcome=last.outcome)


def accept(session: Session, *, alert_id: int, series: int, actor: str, at: datetime) -> None:
    """Somebody takes the present level of the series for normal."""
    _add(session, "accepted", series, alert_id, actor, at)


def verdict_of(session: Session, alert_id: int) -> str | None:
    """The outcome that holds for an alarm now, None without one."""
    last = _last(session, alert_id)
    return last.outcome if last is not None and last.kind == "judged" else None


def of_alert(session: Session, alert_id: int) -> Sequence[Feedback]:
    """All that was said of an alarm, in order."""
    query = select(Feedback).where(Feedback.alert_id == alert_id)
    return session.exec(query.order_by(col(Feedback.id))).all()


def _last(session: Session, alert_id: int) -> Feedback | None:
    said = select(Feedback).where(
        Feedback.alert_id == alert_id, col(Feedback.kind).in_(("judged", "withdrawn"))
    )
    return session.exec(said.order_by(col(Feedback.id).desc())).first()


def _add(
    session: Session,
    kind: Kind,
    series: int,
    alert_id: int,
    actor: str,
    at: datetime,
    *,
    outcome: str = "",
) -> None:
    row = Feedback(kind=kind, series=series, alert_id=alert_id, outcome=outcome, actor=actor, at=at)
    session.add(row)
    session.flush()  # in this order


# -- the main path's side ------------------------------------------------------------------


def waits(session: Session, heard: int) -> bool:
    """Whether there is anything that was not yet taken, or taken and not heard."""
    new = select(Feedback.id).where(
        or_(col(Feedback.number).is_(None), col(Feedback.number) > heard)
    )
    return session.exec(new.limit(1)).first() is not None


def number_new(session: Session, newest_ns: Callable[[int], int]) -> None:
    """Takes what is new: numbers it, one after the other. Only the main path does this.

    newest_ns: series -> time of the newest sample of its asset that was concluded from. What is said
    now holds from then on, or from the time at which it was said if that is later.
    """
    new = select(Feedback).where(col(Feedback.number).is_(None)).order_by(col(Feedback.id))
    rows = session.exec(new.with_for_update()).all()
    last = session.exec(select(func.max(Feedback.number))).one()
    for number, row in enumerate(rows, start=(last or 0) + 1):
        row.number, row.after_ns = number, max(newest_ns(row.series), to_ns(row.at))
        session.add(row)
    session.flush()


def said_after(session: Session, number: int) -> list[Said]:
    """What was taken after that number, in order; for a main path that starts again."""
    query = select(Feedback).where(col(Feedback.number) > number)
    return [_said(row) for row in session.exec(query.order_by(col(Feedback.number)))]


def last_before(session: Session, at: datetime, span: timedelta) -> int:
    """The number of the last row said more than `span` ago: what detectors without a past need not hear."""
    old = select(func.max(Feedback.number)).where(col(Feedback.at) < at - span)
    return session.exec(old).one() or 0


def _said(row: Feedback) -> Said:
    assert row.number is not None and row.after_ns is not None
    return Said(row.number, row.kind, row.series, row.outcome, row.after_ns)


def note_effects(session: Session, effects: Iterable[Effect]) -> None:
    """Writes down what was done to the limits."""
    by_number = {effect.number: effect for effect in effects}
    query = select(Feedback).where(col(Feedback.number).in_(by_number))
    for row in session.exec(query):
        effect = by_number[row.number or 0]
        row.heard, row.limit_before, row.limit_after = True, effect.before, effect.after
        session.add(row)
    session.flush()


def moved(session: Session, limits: Mapping[int, Limit]) -> dict[int, Limit]:
    """The limits that are not on record or have moved noticeably since."""
    noted = {row.series: row for row in session.exec(select(DetectorLimit))} if limits else {}
    return {
        series: now
        for series, now in limits.items()
        if (row := noted.get(series)) is None
        or _moved(row.limit, now.limit)
        or _moved(row.target, now.target)
    }


def note_limits(session: Session, limits: Mapping[int, Limit], at: datetime) -> None:
    """Keeps the limits for whoever shows them."""
    for series, now in limits.items():
        session.merge(DetectorLimit(series=series, limit=now.limit, target=now.target, at=at))
    session.flush()


def _moved(old: float, new: float) -> bool:
    return abs(new - old) > _NOTICEABLE * abs(old)
