"""Alerts as rows."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from pms_iot.alerts import service as alerts
from pms_iot.alerts.rule import Rule
from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.alerts.transition import Transition
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from tests.store.world import T0, minutes, rule, seed, step


def settle_all(core: Engine, steps: list[Transition]) -> list[str]:
    """The reason given for each."""
    with transaction(core) as session:
        settled = [alerts.settle(session, each, T0) for each in steps]
    return [it.reason if isinstance(it, alerts.AlertChange) else it for it in settled]


def history(session: Session, alert_id: int) -> list[tuple[str, str]]:
    query = select(AlertEvent).where(AlertEvent.alert_id == alert_id).order_by(col(AlertEvent.id))
    return [(event.kind, event.actor) for event in session.exec(query)]


def fired(core: Engine, of: Rule | None = None) -> int:
    with transaction(core) as session:
        (change,) = alerts.record(session, [step("fired", T0, of)], T0)
        return change.alert.id or 0


def test_each_step_is_answered_with_its_reason(core: Engine) -> None:
    seed(core)
    life = [
        step("resolved", minutes(-5)),
        step("fired", T0),
        step("fired", T0),
        step("fired", minutes(1)),
        step("resolved", minutes(5)),
        step("resolved", minutes(5)),
        step("fired", minutes(9)),
    ]
    reasons = ["not_live", "opened", "known", "already_live", "resolved", "not_live", "opened"]
    assert settle_all(core, life) == reasons


def test_replay_of_a_history_changes_nothing(core: Engine) -> None:
    seed(core)
    life = [step("fired", T0), step("resolved", minutes(5)), step("fired", minutes(9))]
    with transaction(core) as session:
        assert len(alerts.record(session, life, T0)) == 3
    with transaction(core) as session:
        before = [row.model_dump() for row in session.exec(select(Alert).order_by(col(Alert.id)))]
    with transaction(core) as session:
        assert alerts.record(session, life[:2], T0) == []
    with transaction(core) as session:
        after = [row.model_dump() for row in session.exec(select(Alert).order_by(col(Alert.id)))]
    assert after == before and len(after) == 2


def test_end_before_the_beginning_belongs_to_an_earlier_alert(core: Engine) -> None:
    seed(core)
    assert settle_all(core, [step("fired", T0), step("resolved", minutes(-1))]) == [
        "opened",
        "not_live",
    ]


def test_row_says_what_was_seen_and_when(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alert = session.get_one(Alert, alert_id)
        assert (alert.opened_at, alert.since) == (T0, T0 - timedelta(minutes=1))
        assert (alert.value, alert.limit, alert.severity) == (85.0, 80.0, "P3")
        assert alert.why["template"] == "above"
        assert history(session, alert_id) == [("fired", "system")]


def test_values_that_json_cannot_hold_do_not_stop_the_alert(core: Engine) -> None:
    seed(core)
    odd = step("fired", T0)
    odd.why.update(expected=[float("nan"), float("inf")], deep={"x": float("-inf")})
    with transaction(core) as session:
        (change,) = alerts.record(session, [odd], T0)
    assert change.alert.why["expected"] == [None, None] and change.alert.why["deep"] == {"x": None}


def test_acknowledgement_is_independent_of_firing_and_stays(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alerts.acknowledge(session, alert_id, "li", minutes(2))
    with transaction(core) as session:
        alerts.acknowledge(session, alert_id, "wang", minutes(3))
        alerts.record(session, [step("fired", T0), step("resolved", minutes(4))], T0)
    with transaction(core) as session:
        alert = session.get_one(Alert, alert_id)
        assert (alert.state, alert.acked_by, alert.acked_at) == ("resolved", "li", minutes(2))
        assert history(session, alert_id) == [
            ("fired", "system"),
            ("acknowledged", "li"),
            ("resolved", "system"),
        ]


def test_next_occurrence_is_not_acknowledged_by_the_last(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alerts.acknowledge(session, alert_id, "li", minutes(2))
        alerts.record(session, [step("resolved", minutes(4)), step("fired", minutes(6))], T0)
        (live,) = alerts.live_alerts(session)
        assert live.id != alert_id and live.acked_at is None


@pytest.mark.parametrize(
    ("hours", "reason", "refusal"),
    [(8.01, "noisy", "too_long"), (0, "noisy", "too_long"), (1, " ", "reason_missing")],
)
def test_shelf_has_limits(core: Engine, hours: float, reason: str, refusal: str) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session, pytest.raises(alerts.ShelvingRefusedError) as refused:
        alerts.shelve(session, alert_id, "li", T0 + timedelta(hours=hours), reason, at=T0)
    assert refused.value.reason == refusal


def test_safety_alert_is_never_shelved(core: Engine) -> None:
    seed(core)
    alert_id = fired(core, rule("entrapment", "P1", safety=True))
    with transaction(core) as session, pytest.raises(alerts.ShelvingRefusedError) as refused:
        alerts.shelve(session, alert_id, "li", minutes(5), "noisy", at=T0)
    assert refused.value.reason == "safety"


def test_resolved_alert_cannot_be_shelved(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alerts.record(session, [step("resolved", minutes(1))], T0)
        with pytest.raises(alerts.ShelvingRefusedError) as refused:
            alerts.shelve(session, alert_id, "li", minutes(9), "noisy", at=minutes(2))
    assert refused.value.reason == "not_live"


def test_chattering_alert_stays_on_its_shelf_until_the_time_is_over(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alerts.shelve(session, alert_id, "li", minutes(60), "noisy", at=T0)
        again = [step("resolved", minutes(5)), step("fired", minutes(10))]
        alerts.record(session, again, minutes(10))
        (live,) = alerts.live_alerts(session)
        assert live.shelved_until == minutes(60)
        later = [step("resolved", minutes(50)), step("fired", minutes(61))]
        alerts.record(session, later, minutes(61))
        (live,) = alerts.live_alerts(session)
        assert live.shelved_until is None


def test_shelved_alert_can_be_brought_back(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        alerts.shelve(session, alert_id, "li", minutes(60), "noisy", at=T0)
        alerts.unshelve(session, alert_id, "li", minutes(5))
    with transaction(core) as session:
        assert session.get_one(Alert, alert_id).shelved_until is None
        kinds = [kind for kind, _ in history(session, alert_id)]
        assert kinds == ["fired", "shelved", "unshelved"]


def test_alert_without_its_rule_is_retired(core: Engine) -> None:
    seed(core)
    alert_id = fired(core)
    with transaction(core) as session:
        (alert,) = alerts.live_alerts(session)
        assert alerts.retire(session, [alert.key, "gone|EL-09|x"], minutes(3)) == [alert_id]
        assert alerts.retire(session, [alert.key], minutes(4)) == []
        assert alerts.live_alerts(session) == []


def test_unknown_alert_is_named(core: Engine) -> None:
    with transaction(core) as session, pytest.raises(NotFoundError, match="alert 77"):
        alerts.acknowledge(session, 77, "li", T0)
