"""A site with two lifts, pumps and a fire panel, made through the real services and stores.

`python -m tests.web.plant PORT` serves it with a little traffic, to look at by hand; the log-ins are
manager, wang, li and viewer, the password of each is `password of <name>`.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from sqlmodel import Session, select

from pms_iot.alerts import budget
from pms_iot.alerts import service as alerts
from pms_iot.alerts.transition import Transition, alert_key
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.register import apply_site, load_site
from pms_iot.assets.tables import Asset, Gateway
from pms_iot.feedback import service as feedback
from pms_iot.feedback.caps import Caps
from pms_iot.kernel.auth import create_account, set_password
from pms_iot.kernel.clock import Clock, ManualClock, to_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.migrations import upgrade
from pms_iot.kernel.users import Account, Role
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.plans import sync_plans
from pms_iot.maintenance.service import tick
from pms_iot.notify.tables import OutboxMessage
from pms_iot.operations.vitals import Vitals
from pms_iot.rulepacks import RulePack, load_packs, rules_root
from pms_iot.settings import Settings
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.disk import DiskStatus
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.ledger.books import Books
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerOutage
from pms_iot.telemetry.meters import Distribution
from pms_iot.telemetry.tables import QuarantinedMessage, TelemetryGap, UnknownPoint, Watermark
from pms_iot.web import LiveFeed, WebDeps, create_app
from pms_iot.workorders import service as workorders
from pms_iot.workorders.technicians import apply_technicians

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)  # 14:30 at the site
SITE = Path(__file__).with_name("site.yaml")

WRITES = Distribution((0.005, 0.025, 0.1), (900, 60, 40, 0), 8.2)
VITALS = Vitals(
    alive=True,
    waiting=False,
    connected=True,
    busy_s=0.0,
    queued=3,
    oldest_wait_s=0.2,
    write_s=WRITES,
    write_samples=WRITES,
    newest_ns={("riverside", "gw-01"): to_ns(NOW - timedelta(seconds=4))},
    disk=DiskStatus("low", 1_400_000_000, 64_000_000_000, 512_000_000, 9.4),
)


@cache
def _packs() -> Mapping[str, RulePack]:
    return load_packs(rules_root())


def password_of(name: str) -> str:
    return f"password of {name}"


@dataclass(frozen=True)
class Plant:
    """The parts that a test pokes at, and the application over them."""

    deps: WebDeps
    app: FastAPI
    packs: Mapping[str, RulePack]

    def series(self, asset: str, point: str) -> int:
        found = self.deps.catalog.lookup(asset, point)
        assert found is not None, f"{asset}/{point}"
        return found

    def arrive(self, asset: str, values: Mapping[str, float], at: datetime) -> Batch:
        """Samples come in: into the store and to whoever watches."""
        numbers = [self.series(asset, point) for point in values]
        batch = Batch.of(numbers, [to_ns(at)] * len(numbers), list(values.values()))
        self.deps.store.write(batch)
        self.deps.live.publish(batch)
        return batch

    def fire(self, asset: str, rule: str, at: datetime, *, limit: float | None, **why: Any) -> int:
        """A rule fires: the alert, and its work order as the pipeline would open it."""
        with transaction(self.deps.engine) as session:
            return fire(session, self, asset, rule, at, limit=limit, **why)

    def clear(self, alert_id: int, asset: str, rule: str, at: datetime) -> None:
        with transaction(self.deps.engine) as session:
            transition = _transition(session, self, "resolved", asset, rule, at, None, {})
            alerts.record(session, [transition], at)
            workorders.telemetry_recovered(session, alert_id=alert_id, at=at)


def build(folder: Path, url: str | None = None) -> None:
    """Makes the plant's files: register, people and plans; no samples, no alerts."""
    engine = open_engine(url or f"sqlite:///{folder / 'core.db'}")
    upgrade(engine)
    packs = _packs()
    site = load_site(SITE, packs)
    with transaction(engine) as session:
        points = {kind: list(pack.points.values()) for kind, pack in packs.items()}
        apply_site(session, site, points, NOW)
        apply_technicians(session, site.technicians, NOW)
        _people(session, NOW)
    engine.dispose()


def open_plant(folder: Path, clock: Clock | None = None, url: str | None = None) -> Plant:
    """Opens the files that `build` made."""
    engine = open_engine(url or f"sqlite:///{folder / 'core.db'}")
    packs = _packs()
    deps = WebDeps(
        engine=engine,
        store=EmbeddedStore(folder / "samples.db"),
        catalog=SeriesCatalog(engine),
        packs=packs,
        clock=clock or ManualClock(NOW),
        settings=Settings(data_dir=folder),
        live=LiveFeed(),
        vitals=lambda: VITALS,
        metrics=lambda: b"pms_pipeline_alive 1.0\n",
    )
    return Plant(deps, create_app(deps), packs)


def _people(session: Session, now: datetime) -> None:
    for name, role in (("manager", Role.MANAGER), ("viewer", Role.VIEWER)):
        create_account(
            session, username=name, password=password_of(name), role=role, now=now,
            display_name={"manager": "赵经理", "viewer": "值班员"}[name],
        )  # fmt: skip
    for account in session.exec(select(Account).where(Account.role == Role.TECHNICIAN)):
        set_password(session, account, password_of(account.username))


def fire(
    session: Session,
    plant: Plant,
    asset: str,
    rule: str,
    at: datetime,
    *,
    limit: float | None,
    **why: Any,
) -> int:
    transition = _transition(session, plant, "fired", asset, rule, at, limit, why)
    (change,) = alerts.record(session, [transition], at)
    assert change.alert.id is not None
    outcome = workorders.raise_fault(
        session,
        alert_id=change.alert.id,
        asset_id=transition.asset_id,
        asset_code=asset,
        rule_id=rule,
        label=transition.rule.label,
        severity=transition.rule.severity,
        safety=transition.rule.safety,
        link=transition.rule.silent_for_s is not None,
        skill=transition.rule.skill,
        at=at,
        series=transition.series,
    )
    alerts.attach_order(session, change.alert, outcome.order_id, outcome.verdict, at)
    return change.alert.id


def _transition(
    session: Session,
    plant: Plant,
    kind: Any,
    asset: str,
    rule_id: str,
    at: datetime,
    limit: float | None,
    why: Mapping[str, Any],
) -> Transition:
    row = session.exec(select(Asset).where(Asset.code == asset)).one()
    rule = next(rule for rule in plant.packs[row.kind].rules if rule.id == rule_id)
    point = rule.points[0] if rule.points else ""
    said = {"template": "above", "point": point, "value": why.get("value"), "limit": limit, "for_s": rule.for_s}  # fmt: skip
    return Transition(
        kind=kind,
        key=alert_key(rule.id, asset, point),
        rule=rule,
        asset=asset,
        asset_id=row.id or 0,
        series=plant.deps.catalog.lookup(asset, point),
        at_ns=to_ns(at),
        since_ns=to_ns(at - timedelta(seconds=rule.for_s)),
        value=why.get("value"),
        limit=limit,
        why={**said, **why},
    )


def fill(plant: Plant) -> None:
    """A day of samples, alerts of every severity, orders in every state, plans with due dates."""
    now = plant.deps.clock.now()
    plant.deps.store.write(_history(plant, now))
    for asset in ("EL-01", "BP-01", "FP-01", "DP-01", "FA-01"):
        points = [p for p in plant.deps.catalog.of_asset(asset) if "." not in p and p != "motor_temp"]  # fmt: skip
        plant.arrive(asset, dict.fromkeys(points, 0.0), now - timedelta(seconds=4))
    plant.arrive("EL-01", {"motor_temp": 86.4, "floor": 12, "mode": 1, "load": 34.2, "run": 1}, now)
    plant.arrive("BP-01", {"outlet_p": 0.421, "set_p": 0.45, "inlet_p": 0.182, "tank_level": 2.31}, now)  # fmt: skip
    plant.arrive("EL-02", {"floor": 3, "mode": 1}, now - timedelta(hours=5))
    _alerts(plant, now)
    with transaction(plant.deps.engine) as session:
        templates = _plans(session, plant, now)
        _system(session, now)
        _ledger(session, plant, now)
        _trust(session, plant, now)
    tick(plant.deps.engine, templates, now, lambda _places: {})


def _history(plant: Plant, now: datetime) -> Batch:
    """24 h of motor temperature that leaves its expected band, one sample in ten seconds, with a gap."""
    at = to_ns(now) - np.arange(8640, 0, -1) * 10_000_000_000
    hour = np.arange(8640) / 360
    normal = 52 + 8 * np.sin((hour - 6) / 24 * 2 * math.pi)
    noise = np.random.default_rng(7).normal(0, 0.8, 8640)
    heat = np.where(hour > 22, (hour - 22) * 20, 0)
    parts = {
        "motor_temp": normal + noise + heat,
        "motor_temp.lo": normal - 4,
        "motor_temp.hi": normal + 4,
        "motor_temp.excess": np.abs(noise + heat) / 4.8,
    }
    known = {point: values for point, values in parts.items() if plant.deps.catalog.lookup("EL-01", point)}  # fmt: skip
    seen = (hour < 9) | (hour > 9.7)
    return Batch.concat(
        Batch.of(np.full(int(seen.sum()), plant.series("EL-01", point)), at[seen], values[seen])
        for point, values in known.items()
    )


def _alerts(plant: Plant, now: datetime) -> None:
    hours = [now - timedelta(hours=h) for h in range(60)]
    for n in (50, 30):
        past = plant.fire("EL-01", "elevator.motor_overheat", hours[n], limit=80, value=83.1, unit="°C")  # fmt: skip
        plant.clear(past, "EL-01", "elevator.motor_overheat", hours[n - 1])
    plant.fire("EL-01", "elevator.motor_overheat", now - timedelta(minutes=18), limit=80, value=84.6, unit="°C")  # fmt: skip
    plant.fire("EL-01", "elevator.entrapment", now - timedelta(minutes=41), limit=None, template="equals", value=0.0)  # fmt: skip
    plant.fire("EL-02", "elevator.silent", now - timedelta(hours=4, minutes=57), limit=None, template="silent", last_ns=to_ns(hours[5]), for_s=180.0)  # fmt: skip


def _trust(session: Session, plant: Plant, now: datetime) -> None:
    """A point of a pump set whose score was right once and wrong once, and is held by the budget now."""
    rule, days = "booster_set.outlet_p_unusual", [now - timedelta(days=d) for d in range(10)]
    why: dict[str, Any] = {"value": 7.4, "limit": 6.0}
    for at, outcome in ((days[9], "true_fault"), (days[6], "false_alarm")):
        fired = _transition(session, plant, "fired", "BP-01", rule, at, 6.0, why)
        (change,) = alerts.record(session, [fired], at)
        assert fired.series is not None and change.alert.id is not None
        feedback.judge(session, alert_id=change.alert.id, series=fired.series, outcome=outcome, actor="wang", at=at + timedelta(hours=5))  # fmt: skip
        cleared = _transition(session, plant, "resolved", "BP-01", rule, at + timedelta(hours=2), 6.0, why)  # fmt: skip
        alerts.record(session, [cleared], at)
    feedback.number_new(session, lambda _series: 0)
    feedback.note_effects(session, [feedback.Effect(1, 6.0, 6.0), feedback.Effect(2, 6.0, 6.9)])
    feedback.note_limits(session, {fired.series: feedback.Limit(6.9, 0.5)}, now)
    again = _transition(session, plant, "fired", "BP-01", rule, days[1], 6.9, why)
    (change,) = alerts.record(session, [again], now)
    budget.hold(session, change.alert, Caps(asset_month=1))


def _plans(session: Session, plant: Plant, now: datetime) -> list[PlanTemplate]:
    templates = [plan for pack in plant.packs.values() for plan in pack.plans]
    assets = session.exec(select(Asset)).all()
    done = date(2026, 11, 1)
    last = {(asset.code, plan.id.partition(".")[2]): done for asset in assets for plan in templates if plan.kind == asset.kind}  # fmt: skip
    sync_plans(session, templates, assets, now.date(), last)
    return templates


def _system(session: Session, now: datetime) -> None:
    gateway = session.exec(select(Gateway)).one()
    gateway.state, gateway.last_seen_at = "online", now - timedelta(seconds=3)
    gateway.birth = {"version": "0.1.0"}
    gateway.health = {"spool": {"rows": 1}, "devices": {"EL-01": {"ok": True}, "EL-02": {"ok": False}}}  # fmt: skip
    session.add(gateway)
    session.add(UnknownPoint(site="riverside", asset="EL-01", field="rope_tension", count=412, last_value=3.25, first_seen_at=now - timedelta(days=1), last_seen_at=now))  # fmt: skip
    session.add(QuarantinedMessage(received_at=now, topic="pms/v1/riverside/gw-01/data", reason="header", detail="line 1: no seq", payload=b"#pms1 gw=gw-01"))  # fmt: skip
    session.add(OutboxMessage(key="webhook:work_order.opened:1", channel="webhook", event="work_order.opened", subject={"zh": "新工单：电机过热", "en": "New work order: motor overheating"}, created_at=now, attempts=10, last_error="connection refused"))  # fmt: skip
    session.add(TelemetryGap(site="riverside", gateway="gw-01", lane="data", epoch="9f3a1c2b", cause="evicted", start=12, last=90, samples=79_123, first_at=now - timedelta(hours=3), last_at=now - timedelta(hours=2), noted_at=now))  # fmt: skip
    session.add(Watermark(site="riverside", gateway="gw-01", lane="data", epoch="9f3a1c2b", seq=5120, batches=5120, samples=614400, duplicates=3, updated_at=now))  # fmt: skip


def _ledger(session: Session, plant: Plant, now: datetime) -> None:
    """A day of a stream that lost an hour of batches, was late for one, and whose lift fell silent for a while."""
    Books(plant.deps.catalog).meet(session, _history(plant, now))
    this = now.replace(minute=0)
    for n in range(24):
        sent = {0: 400, 3: 0}.get(n, 720)
        session.add(LedgerHour(
            site="riverside", gateway="gw-01", lane="data", epoch="9f3a1c2b", hour=this - timedelta(hours=n),
            first_seq=(24 - n) * 3600, last_seq=(25 - n) * 3600 - 1, samples=sent, sent=sent, batches=3600 if sent else 0,
            missing=200 if n == 5 else 0, late=700 if n == 4 else 0, duplicate_samples=36 * (n == 2), duplicate_batches=3 * (n == 2),
            skipped=78 if n == 2 else 0, unknown=4 if n == 1 else 0,
        ))  # fmt: skip
    hours = [now - timedelta(hours=n) for n in range(16)]
    session.add(LedgerOutage(kind="gateway", site="riverside", name="gw-01", start=hours[15], end=hours[14], why="offline"))  # fmt: skip
    session.add(LedgerOutage(kind="device", site="riverside", name="EL-02", start=hours[5], why="timeout"))  # fmt: skip
    session.add(LedgerOutage(kind="engine", start=hours[9], end=hours[8], why="stopped"))


def chatter(plant: Plant, stop: threading.Event, gap_s: float = 1.0) -> None:
    """Live values until told to stop, for looking by hand."""
    n = 0
    while not stop.wait(gap_s):
        n += 1
        now = plant.deps.clock.now()
        plant.arrive("EL-01", {"motor_temp": 86 + math.sin(n / 5), "floor": n % 18, "load": 30 + n % 7}, now)  # fmt: skip


if __name__ == "__main__":
    import sys
    import tempfile

    import uvicorn

    from pms_iot.kernel.clock import ScaledClock, SystemClock

    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        plant = open_plant(Path(folder), ScaledClock(SystemClock().now_ns(), to_ns(NOW), 1.0))
        fill(plant)
        threading.Thread(target=chatter, args=(plant, threading.Event()), daemon=True).start()
        uvicorn.run(plant.app, port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=2)  # fmt: skip
