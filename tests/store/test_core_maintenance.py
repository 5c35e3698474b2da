"""Maintenance: due, opened once, done, missed, skipped, whatever the engine went through."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import IllegalMoveError
from pms_iot.kernel.text import Text
from pms_iot.maintenance import service as maintenance
from pms_iot.maintenance.plan import ChecklistLine, Interval, Meter, PlanTemplate
from pms_iot.maintenance.tables import MaintenancePlan, MeterRebase, Occurrence
from pms_iot.workorders import service as workorders
from pms_iot.workorders.tables import ChecklistItem, WorkOrder
from tests.store.world import lift, seed, technician

START = date(2026, 3, 1)


def template(name: str = "half_month", **changes: Any) -> PlanTemplate:
    fields: dict[str, Any] = {
        "id": f"elevator.{name}",
        "kind": "elevator",
        "code": "EL-HM",
        "label": Text("半月维护保养", "Half-month service"),
        "every": Interval(days=15),
        "meter": None,
        "early_days": 3,
        "late_days": 0,
        "statutory": True,
        "skill": "lift_mechanic",
        "people": 2,
        "priority": "P3",
        "source": "test",
        "checklist": (ChecklistLine("a1", Text("环境", "Environment")),),
    }
    return PlanTemplate(**{**fields, **changes})


STATUTORY = template()
SERVICE = template("lubrication", statutory=False, every=Interval(months=1), early_days=5)
METERED = template(
    "wear", statutory=False, every=None, meter=Meter(("p1_run_h", "p2_run_h"), 700.0, "h")
)


def plan_for(core: Engine, *templates: PlanTemplate, last_done: Any = None) -> None:
    with transaction(core) as session:
        assets = session.exec(select(Asset).order_by(col(Asset.id))).all()
        maintenance.sync_plans(session, templates, assets, START, last_done)


def morning(day: date) -> datetime:
    """09:00 of that day in Shanghai."""
    return datetime(day.year, day.month, day.day, 1, tzinfo=UTC)


def look(
    core: Engine,
    day: date,
    *templates: PlanTemplate,
    meters: Mapping[str, float | None] | None = None,
) -> list[maintenance.OpenedOccurrence]:
    def readings(places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        found = {place: (meters or {}).get(place[1]) for place in places}
        return {place: value for place, value in found.items() if value is not None}

    return maintenance.tick(core, templates, morning(day), readings)


def ledger(core: Engine) -> list[tuple[str, str, str]]:
    with transaction(core) as session:
        rows = session.exec(
            select(Occurrence).order_by(col(Occurrence.plan_id), col(Occurrence.due_on))
        )
        return [(str(row.due_on), row.state, row.reason) for row in rows]


def live_orders(session: Session) -> list[WorkOrder]:
    query = select(WorkOrder).where(col(WorkOrder.status).not_in(("closed", "cancelled")))
    return list(session.exec(query))


def do_the_work(core: Engine, day: date) -> None:
    """Finishes the one live order on that day."""
    with transaction(core) as session:
        (order,) = live_orders(session)
        order_id, at = order.id or 0, morning(day)
        workorders.take(session, order_id, "zhang", at, technician_id=technician(session))
        workorders.start(session, order_id, "zhang", at)
        items = select(ChecklistItem.id).where(ChecklistItem.work_order_id == order_id)
        for item in session.exec(items).all():
            workorders.check_item(session, item or 0, "zhang", at, result="pass")
        workorders.finish(session, order_id, "zhang", at, outcome="done")


def next_due(core: Engine) -> date | None:
    with transaction(core) as session:
        return session.exec(select(MaintenancePlan)).one().next_due_on


def test_order_opens_inside_the_early_window_and_only_once(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    assert look(core, date(2026, 3, 12), STATUTORY) == []
    (opened,) = look(core, date(2026, 3, 13), STATUTORY)
    assert (opened.asset, opened.due_on, opened.trigger) == ("EL-01", date(2026, 3, 16), "calendar")
    assert look(core, date(2026, 3, 13), STATUTORY) == []
    assert look(core, date(2026, 3, 14), STATUTORY) == []
    with transaction(core) as session:
        (order,) = live_orders(session)
        assert order.origin == "pm:EL-01:half_month:2026-03-16"
        assert order.due_at == datetime(2026, 3, 16, 16, tzinfo=UTC)  # midnight in Shanghai
        assert (order.people, order.statutory, order.kind) == (2, True, "preventive")
        assert [item.code for item in session.exec(select(ChecklistItem))] == ["a1"]


def test_the_day_begins_where_the_site_is(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    before, after = datetime(2026, 3, 12, 15, 59, tzinfo=UTC), datetime(2026, 3, 12, 16, tzinfo=UTC)
    assert maintenance.tick(core, [STATUTORY], before, lambda _places: {}) == []
    assert len(maintenance.tick(core, [STATUTORY], after, lambda _places: {})) == 1


def test_finished_order_ends_its_occurrence_as_done(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    look(core, date(2026, 3, 13), STATUTORY)
    do_the_work(core, date(2026, 3, 14))
    look(core, date(2026, 3, 14), STATUTORY)
    with transaction(core) as session:
        row = session.exec(select(Occurrence)).one()
        assert (row.state, row.decided_by, row.ended_at) == (
            "done",
            "zhang",
            morning(date(2026, 3, 14)),
        )
        plan = session.exec(select(MaintenancePlan)).one()
        assert plan.last_done_on == date(2026, 3, 14)


@pytest.mark.parametrize("done_on", [date(2026, 3, 13), date(2026, 3, 16), date(2026, 3, 19)])
def test_statutory_calendar_does_not_move(core: Engine, done_on: date) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    look(core, date(2026, 3, 13), STATUTORY)
    do_the_work(core, done_on)
    look(core, done_on, STATUTORY)
    assert next_due(core) == date(2026, 3, 31)


@pytest.mark.parametrize(
    ("done_on", "following"),
    [
        (date(2026, 3, 27), date(2026, 4, 27)),
        (date(2026, 4, 1), date(2026, 5, 1)),
        (date(2026, 4, 9), date(2026, 5, 9)),
    ],
)
def test_other_plans_count_from_completion(core: Engine, done_on: date, following: date) -> None:
    seed(core)
    plan_for(core, SERVICE)
    (opened,) = look(core, date(2026, 3, 27), SERVICE)
    assert opened.due_on == date(2026, 4, 1)
    do_the_work(core, done_on)
    look(core, done_on, SERVICE)
    assert next_due(core) == following


def test_monthly_plan_of_the_31st_clamps_and_returns(core: Engine) -> None:
    seed(core)
    monthly = template("monthly", every=Interval(months=1), early_days=0)
    plan_for(core, monthly, last_done={("EL-01", "monthly"): date(2026, 1, 31)})
    seen: list[date] = []
    for day in (START + timedelta(days=n) for n in range(150)):
        for opened in look(core, day, monthly):
            seen.append(opened.due_on)
            do_the_work(core, day)
    assert [str(day) for day in seen] == [
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
    ]


def test_dates_that_passed_while_the_engine_was_down_are_all_on_record(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    (opened,) = look(core, date(2026, 5, 2), STATUTORY)
    assert opened.due_on == date(2026, 4, 30)
    assert ledger(core) == [
        ("2026-03-16", "missed", "engine down"),
        ("2026-03-31", "missed", "engine down"),
        ("2026-04-15", "missed", "engine down"),
        ("2026-04-30", "open", ""),
    ]
    assert next_due(core) == date(2026, 5, 15)
    with transaction(core) as session:
        assert len(live_orders(session)) == 1


def test_work_not_done_before_the_next_date_is_missed_and_its_order_lives_on(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    (opened,) = look(core, date(2026, 3, 13), STATUTORY)
    assert look(core, date(2026, 3, 28), STATUTORY) == []
    assert ledger(core) == [
        ("2026-03-16", "missed", "not done before the next was due"),
        ("2026-03-31", "open", ""),
    ]
    with transaction(core) as session:
        assert [order.id for order in live_orders(session)] == [opened.work_order_id]
    do_the_work(core, date(2026, 3, 29))
    look(core, date(2026, 3, 29), STATUTORY)
    assert [state for _, state, _ in ledger(core)] == ["missed", "done"]


def test_skipping_needs_a_reason_and_cancels_the_order(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    (opened,) = look(core, date(2026, 3, 13), STATUTORY)
    at = morning(date(2026, 3, 14))
    with (
        pytest.raises(workorders.EvidenceRefusedError),
        transaction(core) as session,
    ):
        maintenance.skip(session, opened.occurrence_id, "boss", "", at=at)
    assert ledger(core) == [("2026-03-16", "open", "")]
    with transaction(core) as session:
        maintenance.skip(session, opened.occurrence_id, "boss", "lift is stopped", at=at)
    assert ledger(core) == [("2026-03-16", "skipped", "lift is stopped")]
    with transaction(core) as session:
        assert live_orders(session) == []
    with transaction(core) as session, pytest.raises(IllegalMoveError):
        maintenance.skip(session, opened.occurrence_id, "boss", "again", at=at)
    assert len(look(core, date(2026, 3, 28), STATUTORY)) == 1


def test_cancelled_order_counts_as_skipped_never_as_done(core: Engine) -> None:
    seed(core)
    plan_for(core, SERVICE)
    (opened,) = look(core, date(2026, 3, 27), SERVICE)
    with transaction(core) as session:
        at = morning(date(2026, 3, 28))
        workorders.cancel(session, opened.work_order_id, "boss", at, reason="double")
    look(core, date(2026, 3, 28), SERVICE)
    assert ledger(core) == [("2026-04-01", "skipped", "double")]
    assert next_due(core) == date(2026, 5, 1)  # the plan goes on


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"in_service": False}, "asset not in service"), ({"retired_on": START}, "asset retired")],
)
def test_asset_out_of_service_gets_a_row_but_no_order(
    core: Engine, change: dict[str, Any], reason: str
) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    with transaction(core) as session:
        asset = session.exec(select(Asset)).one()
        for name, value in change.items():
            setattr(asset, name, value)
        session.add(asset)
    assert look(core, date(2026, 3, 16), STATUTORY) == []
    assert ledger(core) == [("2026-03-16", "skipped", reason)]
    with transaction(core) as session:
        assert live_orders(session) == []
        assert session.exec(select(MaintenancePlan)).one().active


def test_plans_are_made_once_and_follow_the_last_service(core: Engine) -> None:
    seed(core, "EL-01", "EL-02")
    with transaction(core) as session:
        assets = session.exec(select(Asset).order_by(col(Asset.id))).all()
        done = {("EL-01", "half_month"): date(2026, 2, 20)}
        first = maintenance.sync_plans(session, [STATUTORY], assets, START, done)
        again = maintenance.sync_plans(session, [STATUTORY], assets, START, done)
        gone = maintenance.sync_plans(session, [SERVICE], assets, START)
        dates = session.exec(
            select(MaintenancePlan.next_due_on)
            .where(MaintenancePlan.template == STATUTORY.id)
            .order_by(col(MaintenancePlan.asset_id))
        ).all()
    assert (first.created, again.created, again.unchanged) == (2, 0, 2)
    assert gone.orphaned == [(assets[0].id, STATUTORY.id), (assets[1].id, STATUTORY.id)]
    assert list(dates) == [date(2026, 3, 7), date(2026, 3, 16)]


def test_service_long_overdue_at_the_start_is_due_once(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY, last_done={("EL-01", "half_month"): date(2024, 1, 1)})
    assert len(look(core, START, STATUTORY)) == 1
    assert len(ledger(core)) == 1


# -- meters --------------------------------------------------------------------------------


def test_meter_makes_it_due_and_counts_anew_after_the_work(core: Engine) -> None:
    seed(core)
    plan_for(core, METERED)
    day = START
    assert look(core, day, METERED, meters={"p1_run_h": 5000.0, "p2_run_h": 100.0}) == []
    assert look(core, day, METERED, meters={"p1_run_h": 5699.0, "p2_run_h": 100.0}) == []
    (opened,) = look(core, day, METERED, meters={"p1_run_h": 5700.0, "p2_run_h": 100.0})
    assert (opened.trigger, opened.due_on) == ("meter", START)
    assert look(core, day, METERED, meters={"p1_run_h": 6000.0, "p2_run_h": 900.0}) == []
    do_the_work(core, day)
    later = START + timedelta(days=40)
    assert look(core, later, METERED, meters={"p1_run_h": 6050.0, "p2_run_h": 900.0}) == []
    assert look(core, later, METERED, meters={"p1_run_h": 6749.0, "p2_run_h": 900.0}) == []
    assert len(look(core, later, METERED, meters={"p1_run_h": 6750.0, "p2_run_h": 900.0})) == 1
    with transaction(core) as session:
        assert session.exec(select(Occurrence.meter_value).order_by(col(Occurrence.id))).all() == [
            5700.0,
            6750.0,
        ]


def test_replaced_meter_is_recorded_and_counts_anew(core: Engine) -> None:
    seed(core)
    plan_for(core, METERED)
    look(core, START, METERED, meters={"p1_run_h": 5000.0})
    assert look(core, START, METERED, meters={"p1_run_h": 2.0}) == []
    assert look(core, START, METERED, meters={"p1_run_h": 701.0}) == []
    assert len(look(core, START, METERED, meters={"p1_run_h": 702.0})) == 1
    with transaction(core) as session:
        rows = session.exec(select(MeterRebase).order_by(col(MeterRebase.id))).all()
    assert [(row.reason, row.old_base, row.reading) for row in rows] == [
        ("start", None, 5000.0),
        ("went_back", 5000.0, 2.0),
    ]


@pytest.mark.parametrize("reading", [None, float("nan")])
def test_missing_reading_opens_nothing(core: Engine, reading: float | None) -> None:
    seed(core)
    plan_for(core, METERED)
    look(core, START, METERED, meters={"p1_run_h": 10.0})
    assert look(core, START, METERED, meters={"p1_run_h": reading}) == []
    assert len(look(core, START, METERED, meters={"p1_run_h": 710.0})) == 1


def test_whichever_is_first_stands_for_the_other(core: Engine) -> None:
    seed(core)
    both = template(
        "pump", statutory=False, every=Interval(months=1), early_days=5, meter=METERED.meter
    )
    plan_for(core, both)
    look(core, START, both, meters={"p1_run_h": 0.0})
    by_meter = look(core, date(2026, 3, 20), both, meters={"p1_run_h": 700.0})
    assert [it.trigger for it in by_meter] == ["meter"]
    assert look(core, date(2026, 4, 1), both, meters={"p1_run_h": 900.0}) == []
    do_the_work(core, date(2026, 4, 2))
    assert look(core, date(2026, 4, 2), both, meters={"p1_run_h": 900.0}) == []
    assert next_due(core) == date(2026, 5, 2)
    by_calendar = look(core, date(2026, 4, 28), both, meters={"p1_run_h": 1000.0})
    assert [it.trigger for it in by_calendar] == ["calendar"]


def test_skipped_meter_service_is_not_asked_for_again_tomorrow(core: Engine) -> None:
    seed(core)
    plan_for(core, METERED)
    look(core, START, METERED, meters={"p1_run_h": 0.0})
    (opened,) = look(core, START, METERED, meters={"p1_run_h": 700.0})
    with transaction(core) as session:
        maintenance.skip(session, opened.occurrence_id, "boss", "new pump", at=morning(START))
    day = START + timedelta(days=1)
    assert look(core, day, METERED, meters={"p1_run_h": 701.0}) == []
    assert len(look(core, day, METERED, meters={"p1_run_h": 1401.0})) == 1


# -- calendar page -------------------------------------------------------------------------


def test_calendar_shows_what_was_and_what_will_be(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    look(core, date(2026, 4, 1), STATUTORY)
    with transaction(core) as session:
        shown = maintenance.calendar(session, START, date(2026, 6, 1), [STATUTORY])
        bare = maintenance.calendar(session, START, date(2026, 6, 1))
        may = maintenance.calendar(session, date(2026, 5, 1), date(2026, 6, 1), [STATUTORY])
    assert [(str(entry.due_on), entry.state) for entry in shown] == [
        ("2026-03-16", "missed"),
        ("2026-03-31", "open"),
        ("2026-04-15", "forecast"),
        ("2026-04-30", "forecast"),
        ("2026-05-15", "forecast"),
        ("2026-05-30", "forecast"),
    ]
    assert [entry.state for entry in bare] == ["missed", "open", "forecast"]
    assert [str(entry.due_on) for entry in may] == ["2026-05-15", "2026-05-30"]


def test_overdue_is_what_is_open_after_its_window(core: Engine) -> None:
    seed(core)
    plan_for(core, STATUTORY)
    look(core, date(2026, 3, 13), STATUTORY)
    with transaction(core) as session:
        assert maintenance.overdue(session, date(2026, 3, 16)) == []
        assert len(maintenance.overdue(session, date(2026, 3, 17))) == 1


def test_look_at_thousands_of_plans_reads_only_those_that_are_due(core: Engine) -> None:
    (asset_id,) = seed(core)
    with transaction(core) as session:
        site_id = session.get_one(Asset, asset_id).site_id
        session.add_all([lift(f"EL-{n:04}", site_id) for n in range(2, 1001)])
    many = [template(f"plan_{n}") for n in range(5)]
    with transaction(core) as session:
        for due_asset, asset in enumerate(session.exec(select(Asset.id)).all(), 1):
            for it in many:
                is_due = (due_asset, it.id) == (500, "elevator.plan_3")
                next_due_on = START if is_due else START + timedelta(days=30)
                plan = MaintenancePlan(
                    asset_id=asset or 0, template=it.id, anchor_on=START - timedelta(days=15)
                )
                plan.next_due_on = plan.opens_on = next_due_on
                session.add(plan)
    began = time.perf_counter()
    opened = look(core, START, *many)
    elapsed = time.perf_counter() - began
    assert [it.asset for it in opened] == ["EL-0500"]
    print(f"5000 plans, one due: {elapsed * 1000:.0f} ms")  # noqa: T201  # a figure, not a check
    if core.dialect.name == "sqlite":
        with transaction(core) as session:
            steps = session.connection().execute(
                text("EXPLAIN QUERY PLAN SELECT * FROM maintenance_plan WHERE opens_on <= :day"),
                {"day": "2026-03-02"},
            )
            assert "ix_maintenance_plan_opens_on" in " ".join(str(row) for row in steps)
