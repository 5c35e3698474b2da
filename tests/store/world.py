"""A small property to test the core services on."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from pms_iot.alerts import service as alerts
from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import Transition, alert_key
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.text import Text
from pms_iot.kernel.users import Account
from pms_iot.telemetry.condition import Condition
from pms_iot.workorders import service as workorders
from pms_iot.workorders.tables import Technician, WorkOrder

T0 = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)  # 09:30 in Shanghai
TABLES = (Account,)  # technicians refer to it, so its table must be known
WORDS = Text("词", "words")


def minutes(count: float) -> datetime:
    """T0 and so many minutes."""
    return T0 + timedelta(minutes=count)


def seed(core: Engine, *codes: str, zone: str = "Asia/Shanghai") -> list[int]:
    """A site with lifts of these codes (EL-01 without any); returns their ids."""
    with transaction(core) as session:
        site = Site(code="riverside", name_zh="滨河", name_en="Riverside", timezone=zone)
        session.add(site)
        session.flush()
        assets = [lift(code, site.id or 0) for code in codes or ("EL-01",)]
        session.add_all(assets)
        session.flush()
        return [asset.id or 0 for asset in assets]


def lift(code: str, site_id: int) -> Asset:
    return Asset(code=code, site_id=site_id, kind="elevator", name_zh=code, name_en=code)


def technician(session: Session, name: str = "zhang", **more: Any) -> int:
    row = Technician(name=name, skills=["lift_mechanic"], **more)
    session.add(row)
    session.flush()
    return row.id or 0


def rule(name: str = "motor_overheat", severity: Any = "P3", **more: Any) -> Rule:
    return Rule(
        id=f"elevator.{name}",
        kind="elevator",
        label=Text("电机过热", "Motor overheating"),
        points=("motor_temp",),
        condition=Condition("above", high=80.0, clear_high=75.0),
        severity=severity,
        cause=WORDS,
        consequence=WORDS,
        response=WORDS,
        skill="lift_mechanic",
        **more,
    )


def step(
    kind: Any, at: datetime, of: Rule | None = None, asset: str = "EL-01", asset_id: int = 1
) -> Transition:
    of = of or rule()
    return Transition(
        kind=kind,
        key=alert_key(of.id, asset, "motor_temp"),
        rule=of,
        asset=asset,
        asset_id=asset_id,
        series=None,
        at_ns=to_ns(at),
        since_ns=to_ns(at) - 60_000_000_000,
        value=85.0,
        limit=80.0,
        why={"template": "above", "value": 85.0, "limit": 80.0},
    )


def raise_for(
    session: Session, change: alerts.AlertChange, at: datetime
) -> workorders.FaultOutcome:
    """The work order of an alert, as the pipeline asks for it."""
    of, alert = change.transition.rule, change.alert
    assert alert.id is not None
    outcome = workorders.raise_fault(
        session,
        alert_id=alert.id,
        asset_id=alert.asset_id,
        asset_code=change.transition.asset,
        rule_id=of.id,
        label=of.label,
        severity=of.severity,
        safety=of.safety,
        link=of.silent_for_s is not None,
        skill=of.skill,
        at=at,
    )
    alerts.attach_order(session, alert, outcome.order_id, outcome.verdict, at)
    return outcome


def fire(
    session: Session, at: datetime, of: Rule | None = None, asset: str = "EL-01", asset_id: int = 1
) -> workorders.FaultOutcome:
    """An alert fires and gets its order."""
    (change,) = alerts.record(session, [step("fired", at, of, asset, asset_id)], at)
    return raise_for(session, change, at)


def recover(
    session: Session, at: datetime, of: Rule | None = None, asset: str = "EL-01", asset_id: int = 1
) -> None:
    """The alert resolves, and its order hears of it."""
    (change,) = alerts.record(session, [step("resolved", at, of, asset, asset_id)], at)
    assert change.alert.id is not None
    workorders.telemetry_recovered(session, alert_id=change.alert.id, at=at)


def order_of(session: Session, order_id: int) -> WorkOrder:
    return session.get_one(WorkOrder, order_id, populate_existing=True)


def repair(session: Session, order_id: int, at: datetime, technician_id: int) -> None:
    """Takes, starts and finishes a corrective order at one instant."""
    workorders.take(session, order_id, "zhang", at, technician_id=technician_id)
    workorders.start(session, order_id, "zhang", at)
    workorders.finish(session, order_id, "zhang", at, outcome="true_fault")
