"""Verdicts on their way from work orders to the detectors."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from pms_iot.alerts import budget
from pms_iot.alerts import service as alerts
from pms_iot.alerts.rule import Rule
from pms_iot.alerts.tables import Alert
from pms_iot.alerts.transition import Transition, alert_key
from pms_iot.assets.tables import Point
from pms_iot.feedback import service as feedback
from pms_iot.feedback.caps import WINDOW, Caps
from pms_iot.feedback.tables import Feedback
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import IllegalMoveError
from pms_iot.workorders import service as workorders
from tests.store.world import minutes, order_of, rule, seed, technician

UNUSUAL = rule("unusual", "P4")
HOT = rule("hot", "P3")
DANGER = rule("danger", "P1", safety=True)


def points(session: Session, asset_id: int) -> dict[str, int]:
    """A measured point and the score of a detector."""
    rows = [
        Point(asset_id=asset_id, key="temp", label_zh="温", label_en="Temp"),
        Point(asset_id=asset_id, key="temp.excess", label_zh="超", label_en="Excess", derived=True),
    ]
    session.add_all(rows)
    session.flush()
    return {row.key: row.id or 0 for row in rows}


def fire(
    session: Session, of: Rule, point: str, series: int, at: Any, asset_id: int = 1
) -> tuple[int, int]:
    """(alert, order) of a rule that fires on a point, without any budget."""
    change = alert_of(session, of, point, series, at, asset_id)
    alert = change.alert
    outcome = workorders.raise_fault(
        session,
        alert_id=alert.id or 0,
        asset_id=asset_id,
        asset_code=f"EL-0{asset_id}",
        rule_id=of.id,
        label=of.label,
        severity=of.severity,
        safety=of.safety,
        link=False,
        skill=of.skill,
        at=at,
        series=series,
    )
    alerts.attach_order(session, alert, outcome.order_id, outcome.verdict, at)
    return alert.id or 0, outcome.order_id


def alert_of(
    session: Session, of: Rule, point: str, series: int, at: Any, asset_id: int = 1
) -> alerts.AlertChange:
    code = f"EL-0{asset_id}"
    transition = Transition(
        kind="fired",
        key=alert_key(of.id, code, point),
        rule=of,
        asset=code,
        asset_id=asset_id,
        series=series,
        at_ns=to_ns(at),
        since_ns=to_ns(at),
        value=2.0,
        limit=1.0,
        why={"template": "above"},
    )
    (change,) = alerts.record(session, [transition], at)
    return change


def clear(session: Session, alert_id: int, at: Any) -> None:
    alert = session.get_one(Alert, alert_id)
    alert.state, alert.resolved_at = "resolved", at
    session.add(alert)
    session.flush()
    workorders.telemetry_recovered(session, alert_id=alert_id, at=at)


def finish(session: Session, order_id: int, outcome: str, at: Any) -> None:
    if order_of(session, order_id).status == "new":
        workorders.take(session, order_id, "zhang", at, technician_id=technician(session))
        workorders.start(session, order_id, "zhang", at)
    workorders.finish(session, order_id, "zhang", at, outcome=outcome)


def said(session: Session) -> list[tuple[int, str, str]]:
    rows = session.exec(select(Feedback).order_by(col(Feedback.id)))
    return [(row.alert_id, row.kind, row.outcome) for row in rows]


@pytest.fixture
def both(core: Engine) -> tuple[Engine, dict[str, int], int, int]:
    """An order about the alarm of a score and the alarm of a measured value."""
    seed(core)
    with transaction(core) as session:
        ids = points(session, 1)
        unusual, order = fire(session, UNUSUAL, "temp.excess", ids["temp.excess"], minutes(0))
        fire(session, HOT, "temp", ids["temp"], minutes(1))
    return core, ids, unusual, order


def test_an_outcome_is_a_verdict_on_the_score_alone(both: Any) -> None:
    core, ids, unusual, order = both
    with transaction(core) as session:
        finish(session, order, "sensor_fault", minutes(5))
        assert said(session) == [(unusual, "judged", "sensor_fault")]
        row = session.exec(select(Feedback)).one()
        assert (row.series, row.actor, row.at) == (ids["temp.excess"], "zhang", minutes(5))
        assert feedback.verdict_of(session, unusual) == "sensor_fault"


def test_the_verdict_is_of_the_same_transaction(both: Any) -> None:
    core, _, _, order = both
    with pytest.raises(InterruptedError), transaction(core) as session:
        finish(session, order, "false_alarm", minutes(5))
        raise InterruptedError
    with transaction(core) as session:
        assert said(session) == [] and order_of(session, order).status == "new"


def test_a_manager_who_reopens_withdraws_the_verdict(both: Any) -> None:
    core, _, unusual, order = both
    with transaction(core) as session:
        finish(session, order, "false_alarm", minutes(5))
        workorders.reopen(session, order, "boss", minutes(6), note="look again")
        assert feedback.verdict_of(session, unusual) is None
        finish(session, order, "true_fault", minutes(9))
        assert said(session) == [
            (unusual, "judged", "false_alarm"),
            (unusual, "withdrawn", "false_alarm"),
            (unusual, "judged", "true_fault"),
        ]


def test_telemetry_doubts_a_repair_but_no_verdict_and_the_same_outcome_counts_once(
    both: Any,
) -> None:
    core, _, unusual, order = both
    with transaction(core) as session:
        finish(session, order, "false_alarm", minutes(5))
        (judged,) = workorders.verify(session, minutes(20), 300)
        assert judged.verdict == "reopened"
        finish(session, order, "false_alarm", minutes(25))
        assert said(session) == [(unusual, "judged", "false_alarm")]
        workorders.verify(session, minutes(40), 300)
        finish(session, order, "true_fault", minutes(45))
        assert feedback.verdict_of(session, unusual) == "true_fault"


def test_an_outcome_is_corrected_even_when_the_order_is_closed(both: Any) -> None:
    core, _, unusual, order = both
    with transaction(core) as session:
        with pytest.raises(IllegalMoveError):
            workorders.correct(session, order, "boss", minutes(1), outcome="true_fault", note="x")
        finish(session, order, "true_fault", minutes(5))
        workorders.close(session, order, "boss", minutes(6), note="seen")
        with pytest.raises(workorders.EvidenceRefusedError, match="outcome_missing"):
            workorders.correct(session, order, "boss", minutes(7), outcome="done", note="x")
        with pytest.raises(workorders.EvidenceRefusedError, match="reason_missing"):
            workorders.correct(session, order, "boss", minutes(7), outcome="false_alarm", note=" ")
        workorders.correct(session, order, "boss", minutes(7), outcome="false_alarm", note="x")
        assert order_of(session, order).outcome == "false_alarm"
        assert feedback.verdict_of(session, unusual) == "false_alarm"


@pytest.mark.parametrize(
    ("of", "point", "reason", "refusal"),
    [
        (UNUSUAL, "temp.excess", " ", "reason_missing"),
        (HOT, "temp", "new motor", "measured"),
        (DANGER, "temp", "new motor", "safety"),
        (UNUSUAL, "temp.excess", "new motor", None),
    ],
)
def test_only_the_level_of_a_score_is_taken_for_normal(
    core: Engine, of: Rule, point: str, reason: str, refusal: str | None
) -> None:
    seed(core)
    with transaction(core) as session:
        alert, _ = fire(session, of, point, points(session, 1)[point], minutes(0))
        if refusal is not None:
            with pytest.raises(alerts.AcceptanceRefusedError, match=refusal):
                alerts.accept(session, alert, "boss", reason, minutes(1))
            assert said(session) == []
            return
        alerts.accept(session, alert, "boss", reason, minutes(1))
        assert said(session) == [(alert, "accepted", "")]
        clear(session, alert, minutes(2))
        with pytest.raises(alerts.AcceptanceRefusedError, match="not_live"):
            alerts.accept(session, alert, "boss", reason, minutes(3))


def test_numbers_follow_the_order_in_which_rows_become_visible(core: Engine) -> None:
    """Two processes write at a time; who began first may commit last, and must still be heard."""
    seed(core, "EL-01", "EL-02")
    with transaction(core) as session:
        first, second = (points(session, asset)["temp.excess"] for asset in (1, 2))
        slow, _ = fire(session, UNUSUAL, "temp.excess", first, minutes(0))
        fast, _ = fire(session, UNUSUAL, "temp.excess", second, minutes(0), 2)
    written, go_on = threading.Event(), threading.Event()

    def hesitate() -> None:
        with transaction(core) as session:
            feedback.accept(session, alert_id=slow, series=first, actor="a", at=minutes(1))
            written.set()
            assert go_on.wait(20)

    thread = threading.Thread(target=hesitate)
    thread.start()
    assert written.wait(20)
    if core.dialect.name == "postgresql":
        _accept_and_number(core, fast, second)
        go_on.set()
        thread.join(20)
    else:  # SQLite lets one write at a time: the second waits until the first has committed
        go_on.set()
        thread.join(20)
        _accept_and_number(core, fast, second)
    with transaction(core) as session:
        feedback.number_new(session, lambda _series: 0)
        heard = feedback.said_after(session, 0)
        assert sorted(one.series for one in heard) == sorted((first, second))
        assert [one.number for one in heard] == [1, 2]
        assert not feedback.waits(session, 2) and feedback.waits(session, 1)


def _accept_and_number(core: Engine, alert_id: int, series: int) -> None:
    with transaction(core) as session:
        feedback.accept(session, alert_id=alert_id, series=series, actor="b", at=minutes(2))
    with transaction(core) as session:
        feedback.number_new(session, lambda _series: 0)


def test_a_verdict_holds_from_when_it_was_said_or_from_the_newest_sample(both: Any) -> None:
    core, _, _, order = both
    with transaction(core) as session:
        finish(session, order, "false_alarm", minutes(5))
        feedback.number_new(session, lambda _series: to_ns(minutes(3)))
        finish_again(session, order, "true_fault", minutes(7))
        feedback.number_new(session, lambda _series: to_ns(minutes(30)))
        after = [one.after_ns for one in feedback.said_after(session, 0)]
        assert after == [to_ns(minutes(5)), to_ns(minutes(30)), to_ns(minutes(30))]
        assert feedback.last_before(session, minutes(6) + WINDOW, WINDOW) == 1
        assert feedback.last_before(session, minutes(1), WINDOW) == 0


def finish_again(session: Session, order: int, outcome: str, at: Any) -> None:
    workorders.reopen(session, order, "boss", at, note="look again")
    workorders.finish(session, order, "zhang", at, outcome=outcome)


def test_limits_are_noted_when_they_have_moved(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        series = points(session, 1)["temp.excess"]
        limits = {series: feedback.Limit(6.0, 1.0)}
        assert feedback.moved(session, limits) == limits
        feedback.note_limits(session, limits, minutes(0))
        assert feedback.moved(session, {series: feedback.Limit(6.01, 1.0)}) == {}
        more = {series: feedback.Limit(6.6, 1.0)}
        assert feedback.moved(session, more) == more
        feedback.note_limits(session, more, minutes(1))
        assert feedback.moved(session, more) == {}


# -- the cap -------------------------------------------------------------------------------


@pytest.fixture
def unusual_at(core: Engine) -> Callable[..., str | None]:
    """unusual_at(days, asset) -> by what the alarm of that day is held."""
    seed(core, "EL-01", "EL-02", "EL-03")
    with transaction(core) as session:
        series = [points(session, asset)["temp.excess"] for asset in (1, 2, 3)]

    def fires(day: float, asset: int = 1, of: Rule = UNUSUAL, point: str = "temp.excess"):
        at = minutes(0) + timedelta(days=day)
        with transaction(core) as session:
            change = alert_of(session, of, point, series[asset - 1], at, asset)
            held = budget.hold(session, change.alert, Caps(asset_month=2, site_month=3))
            clear(session, change.alert.id or 0, at + timedelta(hours=1))
            return held

    return fires


def test_an_asset_and_a_site_have_a_cap_and_time_makes_room(unusual_at: Any) -> None:
    assert [unusual_at(day) for day in (0, 1)] == [None, None]
    assert unusual_at(2) == "budget:asset"
    assert unusual_at(3, asset=2) is None
    assert unusual_at(4, asset=2) == "budget:site"
    assert unusual_at(29.9) == "budget:asset"
    assert unusual_at(30.5) is None, "the first alarm is a month old, what was held never counted"


def test_safety_and_measured_values_are_never_held(unusual_at: Any) -> None:
    for day in range(3):
        unusual_at(day)
    assert unusual_at(4, of=HOT, point="temp") is None
    assert unusual_at(5, of=DANGER) is None, "not even on a score"
    assert unusual_at(6) == "budget:asset"


def test_alarms_before_their_time_do_not_count(unusual_at: Any) -> None:
    """Samples of the past come late; what is decided of them depends on no later alarm."""
    assert [unusual_at(day) for day in (10, 11)] == [None, None]
    assert unusual_at(5) is None


@pytest.mark.parametrize(
    ("outcome", "held"),
    [
        ("true_fault", None),
        ("sensor_fault", None),
        ("false_alarm", "budget:asset"),
        ("no_fault_found", "budget:asset"),
    ],
)
def test_what_people_confirm_makes_room_from_the_verdicts_time_on(
    core: Engine, unusual_at: Any, outcome: str, held: str | None
) -> None:
    assert [unusual_at(0), unusual_at(1)] == [None, None]
    day = timedelta(days=1)
    with transaction(core) as session:
        series = session.exec(select(Alert.point_id).where(Alert.id == 1)).one()
        assert series is not None
        feedback.judge(session, alert_id=1, series=series, outcome=outcome, actor="zhang", at=minutes(0) + 2 * day)  # fmt: skip
    assert unusual_at(3) == "budget:asset", "the detectors have not heard it yet"
    with transaction(core) as session:
        feedback.number_new(session, lambda _series: to_ns(minutes(0) + 4 * day))
    assert unusual_at(3.5) == "budget:asset", "it holds for what comes after"
    assert unusual_at(5) == held
    with transaction(core) as session:
        feedback.withdraw(session, alert_id=1, actor="boss", at=minutes(0) + 6 * day)
        feedback.number_new(session, lambda _series: 0)
    assert unusual_at(7) == "budget:asset"


def test_a_held_alarm_is_released_once_there_is_room(core: Engine, unusual_at: Any) -> None:
    assert [unusual_at(0), unusual_at(1)] == [None, None]
    caps = Caps(asset_month=2, site_month=10)
    day = timedelta(days=1)
    with transaction(core) as session:
        series = session.exec(select(Alert.point_id).where(Alert.id == 1)).one() or 0
        alert = alert_of(session, UNUSUAL, "temp.excess", series, minutes(0) + 2 * day).alert
        assert budget.hold(session, alert, caps) == "budget:asset"
        assert alert not in alerts.without_order(session, minutes(0) + 3 * day)
        assert budget.with_room(session, minutes(0) + 29 * day, caps) == []
        assert budget.release(session, alert.id or 0, minutes(0) + 29 * day, caps) is None
        later = minutes(1) + 30 * day
        assert budget.with_room(session, later, caps) == [alert.id]
        released = budget.release(session, alert.id or 0, later, caps)
        assert released is not None and released.released_at == later
        assert alert in alerts.without_order(session, later)
        assert budget.release(session, alert.id or 0, later, caps) is None, "once"
