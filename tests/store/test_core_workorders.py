"""Work orders: from fault to verified repair, and their evidence."""

import io
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import IllegalMoveError, NotFoundError
from pms_iot.kernel.text import Text
from pms_iot.workorders import service as workorders
from pms_iot.workorders.order import due_at
from pms_iot.workorders.tables import ChecklistItem, Photo, WorkOrder, WorkOrderEvent
from tests.store.world import (
    T0,
    fire,
    minutes,
    order_of,
    recover,
    repair,
    rule,
    seed,
    technician,
)

VERIFY_S = 300.0
VIBRATION = rule("vibration", "P2")
HUMMING = rule("humming", "P4")


def history(session: Session, order_id: int) -> list[str]:
    query = select(WorkOrderEvent).where(WorkOrderEvent.work_order_id == order_id)
    return [event.kind for event in session.exec(query.order_by(col(WorkOrderEvent.id)))]


# -- one order per fault -------------------------------------------------------------------


def test_fault_opens_one_order_with_its_times(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        outcome = fire(session, T0, VIBRATION)
        order = order_of(session, outcome.order_id)
    assert outcome.verdict == "opened"
    assert (order.origin, order.status, order.priority) == ("fault:EL-01", "new", "P2")
    assert (order.title_zh, order.title_en) == ("电机过热", "Motor overheating")
    assert order.arrive_by == T0 + timedelta(hours=1)
    assert order.due_at == T0 + timedelta(hours=8)


def test_further_alerts_fold_into_the_live_order(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        second = fire(session, minutes(1), HUMMING)
        order = order_of(session, first.order_id)
    assert (second.order_id, second.verdict) == (first.order_id, "folded")
    assert (order.priority, order.due_at) == ("P3", due_at("P3", T0))


def test_more_severe_alert_escalates_the_order(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        second = fire(session, minutes(30), VIBRATION)
        order = order_of(session, first.order_id)
        assert second.verdict == "escalated"
        assert (order.priority, order.due_at) == ("P2", due_at("P2", minutes(30)))
        assert history(session, first.order_id) == ["open", "alert", "escalated", "alert"]


def test_late_escalation_never_moves_the_due_time_back(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        fire(session, minutes(60 * 23), VIBRATION)
        assert order_of(session, first.order_id).due_at == due_at("P3", T0)


ENTRAPMENT = rule("entrapment", "P1", safety=True)


def test_silence_and_each_asset_have_orders_of_their_own(core: Engine) -> None:
    seed(core, "EL-01", "EL-02")
    silent = rule("silent", "P2", silent_for_s=180.0)
    with transaction(core) as session:
        orders = [
            fire(session, T0),
            fire(session, T0, silent),
            fire(session, T0, rule(), "EL-02", 2),
        ]
        origins = [order_of(session, it.order_id).origin for it in orders]
    assert [it.verdict for it in orders] == ["opened"] * 3
    assert origins == ["fault:EL-01", "link:EL-01", "fault:EL-02"]


def test_safety_alert_close_after_an_ordinary_one_turns_its_order_into_one_of_safety(
    core: Engine,
) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        second = fire(session, minutes(2), ENTRAPMENT)
        third = fire(session, minutes(40), VIBRATION)
        order = order_of(session, first.order_id)
        assert {first.order_id} == {second.order_id, third.order_id}
        assert (second.verdict, third.verdict) == ("escalated", "folded")
        assert (order.origin, order.priority) == ("safety:EL-01", "P1")


def test_safety_alert_never_hides_in_an_order_that_is_old_or_under_way(core: Engine) -> None:
    seed(core, "EL-01", "EL-02")
    with transaction(core) as session:
        old = fire(session, T0)
        assert fire(session, minutes(30), ENTRAPMENT).order_id != old.order_id
        busy = fire(session, T0, rule(), "EL-02", 2)
        workorders.take(session, busy.order_id, "li", minutes(1), technician_id=technician(session))
        workorders.start(session, busy.order_id, "li", minutes(2))
        trapped = fire(session, minutes(3), ENTRAPMENT, "EL-02", 2)
        assert trapped.verdict == "opened" and trapped.order_id != busy.order_id


def test_the_same_alert_raised_twice_changes_nothing(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        before = order_of(session, first.order_id).version
        of = rule()
        again = workorders.raise_fault(
            session,
            alert_id=1,
            asset_id=1,
            asset_code="EL-01",
            rule_id=of.id,
            label=of.label,
            severity="P1",
            safety=False,
            link=False,
            skill="",
            at=minutes(9),
        )
        assert again == workorders.FaultOutcome(first.order_id, "folded")
        assert order_of(session, first.order_id).version == before


def test_after_the_order_is_closed_the_fault_opens_a_new_one(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        first = fire(session, T0)
        repair(session, first.order_id, minutes(10), technician(session))
        recover(session, minutes(11))
        workorders.verify(session, minutes(30), VERIFY_S)
        second = fire(session, minutes(60))
    assert second.verdict == "opened" and second.order_id != first.order_id


# -- a repair counts when telemetry shows it -----------------------------------------------


def test_repair_closes_when_all_its_alerts_stay_quiet(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        fire(session, T0, VIBRATION)
        repair(session, order_id, minutes(10), technician(session))
        recover(session, minutes(8))
        recover(session, minutes(12), VIBRATION)
        assert workorders.verify(session, minutes(14.9), VERIFY_S) == []
        assert workorders.verify(session, minutes(16.9), VERIFY_S) == []
        (closed,) = workorders.verify(session, minutes(17), VERIFY_S)
        order = order_of(session, order_id)
        assert workorders.verify(session, minutes(18), VERIFY_S) == []
    assert (closed.order_id, closed.verdict) == (order_id, "closed")
    assert (order.status, order.closed_at) == ("closed", minutes(17))


def test_repair_that_does_not_help_comes_back(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        repair(session, order_id, minutes(10), technician(session))
        assert workorders.verify(session, minutes(14), VERIFY_S) == []
        (back,) = workorders.verify(session, minutes(15), VERIFY_S)
        order = order_of(session, order_id)
    assert back.verdict == "reopened"
    assert (order.status, order.outcome, order.finished_at) == ("in_progress", None, None)
    assert order.reopened == 1


def test_fault_that_returns_after_the_finish_reopens_at_once(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        repair(session, order_id, minutes(10), technician(session))
        recover(session, minutes(11))
        again = fire(session, minutes(13))
        order = order_of(session, order_id)
    assert (again.order_id, again.verdict) == (order_id, "reopened")
    assert (order.status, order.reopened) == ("in_progress", 1)


def test_order_in_work_is_not_closed_by_telemetry(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        recover(session, minutes(1))
        assert workorders.verify(session, minutes(600), VERIFY_S) == []
        assert order_of(session, order_id).status == "new"


def test_recovery_of_an_alert_without_order_is_harmless(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        assert workorders.telemetry_recovered(session, alert_id=99, at=T0) is None


# -- people --------------------------------------------------------------------------------


def test_every_step_is_recorded_with_its_actor(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        zhang, li = technician(session), technician(session, "li")
        order_id = fire(session, T0).order_id
        workorders.take(session, order_id, "zhang", minutes(1), technician_id=zhang)
        workorders.start(session, order_id, "zhang", minutes(2))
        workorders.wait(session, order_id, "zhang", minutes(3), reason="parts", note="轴承")
        workorders.assign(session, order_id, "boss", minutes(4), technician_id=li)
        workorders.resume(session, order_id, "li", minutes(5))
        workorders.add_note(session, order_id, "li", minutes(6), note=" bearing replaced ")
        workorders.finish(session, order_id, "li", minutes(7), outcome="true_fault")
        workorders.reopen(session, order_id, "boss", minutes(8), note="noise")
        query = select(WorkOrderEvent).where(WorkOrderEvent.work_order_id == order_id)
        events = session.exec(query.order_by(col(WorkOrderEvent.id))).all()
        order = order_of(session, order_id)
    steps = [(event.kind, event.actor, event.note) for event in events]
    assert steps == [
        ("open", "system", ""),
        ("alert", "system", ""),
        ("take", "zhang", ""),
        ("start", "zhang", ""),
        ("wait_parts", "zhang", "轴承"),
        ("assign", "boss", ""),
        ("resume", "li", ""),
        ("note", "li", "bearing replaced"),
        ("finish", "li", ""),
        ("reopen", "boss", "noise"),
    ]
    assert order.version == 1 + len(steps)
    assert order.technician_id == li and order.started_at == minutes(2)
    assert events[4].detail == {"from": "in_progress", "to": "waiting_parts"}


def test_change_of_an_outdated_view_is_refused(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        zhang = technician(session)
        order_id = fire(session, T0).order_id
        shown = order_of(session, order_id).version
        workorders.add_note(session, order_id, "li", T0, note="on my way")
        with pytest.raises(workorders.StaleVersionError) as stale:
            workorders.take(session, order_id, "zhang", T0, technician_id=zhang, version=shown)
        workorders.take(session, order_id, "zhang", T0, technician_id=zhang, version=shown + 1)
    assert (stale.value.expected, stale.value.actual) == (shown, shown + 1)


def test_taken_order_cannot_be_taken_by_another(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        zhang, li = technician(session), technician(session, "li")
        order_id = fire(session, T0).order_id
        workorders.take(session, order_id, "zhang", T0, technician_id=zhang)
    with transaction(core) as session, pytest.raises(IllegalMoveError):
        workorders.take(session, order_id, "li", T0, technician_id=li)
    with transaction(core) as session:
        assert order_of(session, order_id).technician_id == zhang


def test_inactive_technician_gets_no_order(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        gone = technician(session, active=False)
        order_id = fire(session, T0).order_id
        with pytest.raises(NotFoundError):
            workorders.assign(session, order_id, "boss", T0, technician_id=gone)


@pytest.mark.parametrize("outcome", ["", "done", "fixed"])
def test_repair_needs_an_outcome(core: Engine, outcome: str) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        workorders.take(session, order_id, "z", T0, technician_id=technician(session))
        workorders.start(session, order_id, "z", T0)
        with pytest.raises(workorders.EvidenceRefusedError) as refused:
            workorders.finish(session, order_id, "z", T0, outcome=outcome)
    assert refused.value.reason == "outcome_missing"


def test_cancelling_needs_a_reason(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = fire(session, T0).order_id
        with pytest.raises(workorders.EvidenceRefusedError):
            workorders.cancel(session, order_id, "boss", T0, reason=" ")
    with transaction(core) as session:
        order = workorders.cancel(session, order_id, "boss", T0, reason="duplicate")
        assert (order.status, order.closed_at) == ("cancelled", T0)


def test_unknown_order_is_named(core: Engine) -> None:
    with transaction(core) as session, pytest.raises(NotFoundError, match="work order 5"):
        workorders.start(session, 5, "z", T0)


# -- checklist and photos ------------------------------------------------------------------

LINES = [
    workorders.ChecklistEntry("a1", Text("环境", "Environment")),
    workorders.ChecklistEntry("a2", Text("照片", "Photo"), "photo"),
    workorders.ChecklistEntry("a3", Text("读数", "Reading"), "reading"),
]


def preventive(session: Session, origin: str = "pm:EL-01:half_month:2026-03-02") -> int:
    return workorders.open_preventive(
        session,
        origin=origin,
        asset_id=1,
        title=Text("半月保养", "Half-month service"),
        priority="P3",
        skill="lift_mechanic",
        people=2,
        statutory=True,
        due_at=minutes(600),
        checklist=LINES,
        at=T0,
    )


def started(session: Session) -> tuple[int, list[int]]:
    """A maintenance order in work, and the ids of its lines."""
    order_id = preventive(session)
    workorders.take(session, order_id, "z", T0, technician_id=technician(session))
    workorders.start(session, order_id, "z", T0)
    query = select(ChecklistItem).where(ChecklistItem.work_order_id == order_id)
    items = session.exec(query.order_by(col(ChecklistItem.position))).all()
    return order_id, [item.id or 0 for item in items]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "orange").save(file, "PNG")
    return file.getvalue()


def test_maintenance_order_has_its_checklist_in_order(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id = preventive(session)
        assert preventive(session) == order_id
        query = select(ChecklistItem).order_by(col(ChecklistItem.position))
        assert [item.code for item in session.exec(query)] == ["a1", "a2", "a3"]
        assert order_of(session, order_id).people == 2


def test_finish_names_the_lines_that_are_missing(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, (a1, a2, a3) = started(session)
        workorders.check_item(session, a1, "z", T0, result="pass")
    with transaction(core) as session:
        with pytest.raises(workorders.EvidenceRefusedError) as refused:
            workorders.finish(session, order_id, "z", T0, outcome="done")
        assert (refused.value.reason, refused.value.codes) == ("items_undecided", ("a2", "a3"))
    with transaction(core) as session:
        assert order_of(session, order_id).status == "in_progress"
        workorders.check_item(session, a2, "z", T0, result="pass")
        workorders.check_item(session, a3, "z", T0, result="pass", reading="4.2 mm")
    with transaction(core) as session, pytest.raises(workorders.EvidenceRefusedError) as refused:
        workorders.finish(session, order_id, "z", T0, outcome="done")
    assert (refused.value.reason, refused.value.codes) == ("photos_missing", ("a2",))
    with transaction(core) as session:
        workorders.add_photo(session, order_id, "z", T0, content=picture(), item_id=a2)
        order = workorders.finish(session, order_id, "z", minutes(9), outcome="done")
        assert (order.status, order.finished_at, order.closed_at) == (
            "closed",
            minutes(9),
            minutes(9),
        )


def test_line_that_does_not_apply_needs_no_photo_and_no_reading(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, items = started(session)
        for item in items:
            workorders.check_item(session, item, "z", T0, result="not_applicable")
        assert workorders.finish(session, order_id, "z", T0, outcome="done").status == "closed"


def test_a_reading_may_come_after_the_result_but_before_the_end(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, items = started(session)
        for item in items[:2]:
            workorders.check_item(session, item, "z", T0, result="not_applicable")
        workorders.check_item(session, items[2], "z", T0, result="pass", reading=" ")
        with pytest.raises(workorders.EvidenceRefusedError) as refused:
            workorders.finish(session, order_id, "z", T0, outcome="done")
        assert (refused.value.reason, refused.value.codes) == ("readings_missing", ("a3",))
        workorders.check_item(session, items[2], "z", T0, result="pass", reading="3.2")
        assert workorders.finish(session, order_id, "z", T0, outcome="done").status == "closed"


def test_checklist_of_an_order_that_nobody_has_taken_is_closed(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        preventive(session)
        item = session.exec(select(ChecklistItem)).first()
        assert item is not None
        with pytest.raises(workorders.EvidenceRefusedError, match="not_in_work"):
            workorders.check_item(session, item.id or 0, "z", T0, result="pass")


def test_same_photo_sent_twice_is_kept_once(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, items = started(session)
        for item in (items[1], items[1], None, None):
            workorders.add_photo(session, order_id, "z", T0, content=picture(), item_id=item)
        photos = session.exec(select(Photo)).all()
        assert len(photos) == 2 and {photo.media_type for photo in photos} == {"image/jpeg"}
        assert history(session, order_id).count("photo") == 2


def test_photo_for_the_line_of_another_order_is_refused(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, _ = started(session)
        other = preventive(session, "pm:EL-01:quarter:2026-03-02")
        query = select(ChecklistItem).where(ChecklistItem.work_order_id == other)
        foreign = session.exec(query).first()
        assert foreign is not None
        with pytest.raises(NotFoundError):
            workorders.add_photo(session, order_id, "z", T0, content=picture(), item_id=foreign.id)


def test_endings_say_who_ended_an_order_and_how(core: Engine) -> None:
    seed(core)
    with transaction(core) as session:
        order_id, items = started(session)
        other = preventive(session, "pm:EL-01:quarter:2026-03-02")
        live = preventive(session, "pm:EL-01:year:2026-03-02")
        for item in items:
            workorders.check_item(session, item, "z", T0, result="not_applicable")
        workorders.finish(session, order_id, "z", minutes(5), outcome="done", note="ok")
        workorders.cancel(session, other, "boss", minutes(6), reason="lift is being replaced")
        found = workorders.endings(session, [order_id, other, live])
        ids = session.exec(select(WorkOrder.id)).all()
    assert len(ids) == 3
    assert [(it.order_id, it.status, it.actor, it.note) for it in found] == [
        (order_id, "closed", "z", "ok"),
        (other, "cancelled", "boss", "lift is being replaced"),
    ]
