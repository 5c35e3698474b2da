"""Several processes on one core store, and processes that are killed: nothing twice, nothing missing."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import col, select

from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import transaction
from pms_iot.maintenance.service import sync_plans
from pms_iot.maintenance.tables import Occurrence
from pms_iot.notify.tables import OutboxMessage
from pms_iot.workorders.tables import OrderAlert, WorkOrder, WorkOrderEvent
from tests.store.core_worker import DAILY
from tests.store.world import T0, seed

ROOT = Path(__file__).parents[2]
FIRST = T0.date()


def worker(what: str, store_url: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.core_worker", what, store_url]
    command += [str(argument) for argument in arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_two_processes_of_four_threads_raise_one_fault_two_hundred_times(
    core: Engine, store_url: str
) -> None:
    seed(core)
    finished(worker("faults", store_url, 100), worker("faults", store_url, 100))
    with transaction(core) as session:
        (alert,) = session.exec(select(Alert)).all()
        (order,) = session.exec(select(WorkOrder)).all()
        (message,) = session.exec(select(OutboxMessage)).all()
        (link,) = session.exec(select(OrderAlert)).all()
        events = [event.kind for event in session.exec(select(WorkOrderEvent))]
        steps = sorted(event.kind for event in session.exec(select(AlertEvent)))
    assert (alert.state, alert.work_order_id, link.work_order_id) == ("firing", order.id, order.id)
    assert (order.status, order.origin) == ("new", "fault:EL-01")
    assert message.key == f"webhook:work_order.opened:{order.id}"
    assert (events, steps) == (["open", "alert"], ["fired", "work_order"])


def plan_days(core: Engine) -> None:
    with transaction(core) as session:
        assets = session.exec(select(Asset)).all()
        sync_plans(session, [DAILY], assets, FIRST - timedelta(days=1))


def rows(core: Engine) -> list[tuple[int, date]]:
    with transaction(core) as session:
        query = select(Occurrence).order_by(col(Occurrence.plan_id), col(Occurrence.due_on))
        return [(row.plan_id, row.due_on) for row in session.exec(query)]


def expected(days: int, plans: int) -> list[tuple[int, date]]:
    return [(p, FIRST + timedelta(days=n)) for p in range(1, plans + 1) for n in range(days)]


def live_orders(core: Engine) -> int:
    with transaction(core) as session:
        live = col(WorkOrder.status).not_in(("closed", "cancelled"))
        return len(session.exec(select(WorkOrder.id).where(live)).all())


def test_two_schedulers_and_a_restart_open_every_occurrence_once(
    core: Engine, store_url: str
) -> None:
    seed(core, "EL-01", "EL-02", "EL-03")
    plan_days(core)
    finished(worker("tick", store_url, FIRST, 25), worker("tick", store_url, FIRST, 25))
    finished(worker("tick", store_url, FIRST, 28))
    assert rows(core) == expected(28, 3)
    assert live_orders(core) == 3


def test_scheduler_killed_while_it_ticks_misses_nothing_and_doubles_nothing(
    core: Engine, store_url: str
) -> None:
    seed(core, "EL-01", "EL-02", "EL-03")
    plan_days(core)
    for done_before_the_kill in (3, 9, 17):
        process = worker("tick", store_url, FIRST, 100_000)
        assert process.stdout is not None
        for _ in range(done_before_the_kill):
            assert process.stdout.readline().strip()
        process.kill()
        process.communicate(timeout=30)
    reached = max(due_on for _, due_on in rows(core))
    days = (reached - FIRST).days + 5
    finished(worker("tick", store_url, FIRST, days))
    assert rows(core) == expected(days, 3)
    assert live_orders(core) == 3
