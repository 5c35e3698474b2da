"""A process of its own that does one thing to a core store, for tests of concurrency and kill -9.

python -m tests.store.core_worker (faults | tick | deliver) DATABASE_URL [ARGUMENT …]
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from pms_iot.alerts import service as alerts
from pms_iot.kernel.clock import SystemClock
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.text import Text
from pms_iot.maintenance import service as maintenance
from pms_iot.maintenance.plan import Interval, PlanTemplate
from pms_iot.notify import outbox
from pms_iot.notify.channels import Webhook
from tests.store.world import T0, raise_for, rule, step

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAILY = PlanTemplate(
    id="elevator.daily",
    kind="elevator",
    code="EL-D",
    label=Text("每日", "Daily"),
    every=Interval(days=1),
    meter=None,
    early_days=0,
    late_days=0,
    statutory=True,
    skill="lift_mechanic",
    people=1,
    priority="P4",
    source="test",
    checklist=(),
)


def raise_one(engine: Engine) -> None:
    """The same fault as everybody else raises: alert, order and message in one transaction."""
    with transaction(engine) as session:
        for change in alerts.record(session, [step("fired", T0)], T0):
            outcome = raise_for(session, change, T0)
            outbox.enqueue(
                session,
                ["webhook"],
                event="work_order.opened",
                key=f"work_order.opened:{outcome.order_id}",
                subject=outbox.order_subject("opened", "EL-01", rule().label, "P3"),
                body={"work_order": outcome.order_id},
                now=T0,
            )


def faults(engine: Engine, times: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: raise_one(engine), range(times)))


def tick(engine: Engine, first: date, days: int) -> None:
    """Looks at every day in turn, as a scheduler would, and says which one is done."""
    for day in (first + timedelta(days=n) for n in range(days)):
        now = T0 + (day - T0.date())
        maintenance.tick(engine, [DAILY], now, lambda _places: {})
        sys.stdout.write(f"{day}\n")
        sys.stdout.flush()


def deliver(engine: Engine, url: str) -> None:
    channel = Webhook(url, SECRET, SystemClock())
    while outbox.deliver(engine, [channel], T0):
        pass


def main() -> None:
    what, url, *rest = sys.argv[1:]
    engine = open_engine(url)
    try:
        if what == "faults":
            faults(engine, int(rest[0]))
        elif what == "tick":
            tick(engine, date.fromisoformat(rest[0]), int(rest[1]))
        else:
            deliver(engine, rest[0])
    except OperationalError as problem:
        sys.exit(f"database: {problem.orig}")


if __name__ == "__main__":
    main()
