"""A booster set of the plant with operating states, an expected band and an asset model, and alerts of it that the
real rule engine explains.

`python -m tests.web.explained PORT` serves the plant with them, to look at by hand.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from sqlmodel import col, select

from pms_iot.alerts import service as alerts
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.related import Related
from pms_iot.alerts.rule import Condition, Gate, Rule
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.points import PointDef
from pms_iot.assets.tables import Asset, Point
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.text import Text
from pms_iot.rulepacks import RulePack
from pms_iot.telemetry.batch import Batch
from pms_iot.web import create_app
from pms_iot.workorders import service as workorders
from tests.web.plant import Plant

ASSET = "BP-01"
KIND = "booster_set"
STATE = {0: Text("未知", "unknown"), 1: Text("停止", "off"), 2: Text("启动", "starting"), 3: Text("运行", "running")}  # fmt: skip
CAUSE = {1: Text("尖峰", "spike"), 2: Text("突变", "shift"), 3: Text("漂移", "drift")}
HF_UNUSUAL, HYDRAULICS, LOW_PRESSURE = f"{KIND}.hf_excess", f"{KIND}.hydraulics", f"{KIND}.low_pressure"  # fmt: skip
RELATED = {KIND: Related({"p1_hf_g": "p1_state"}, {"hydraulics": ("flow", "outlet_p", "p1_power")})}


def _derived(key: str, zh: str, en: str, unit: str = "", values: Mapping[int, Text] | None = None) -> PointDef:  # fmt: skip
    kind = "enum" if values else "number"
    return PointDef(key, Text(zh, en), kind, unit, period_s=5, values=values or {}, derived=True)


POINTS = (
    _derived("p1_state", "1号泵状态", "Pump 1 state", values=STATE),
    _derived("p1_hf_g.excess", "1号泵高频振动超限度", "Pump 1 high-frequency vibration, excess"),
    _derived("p1_hf_g.lo", "1号泵高频振动预期下限", "Pump 1 high-frequency vibration, expected low", "g"),
    _derived("p1_hf_g.hi", "1号泵高频振动预期上限", "Pump 1 high-frequency vibration, expected high", "g"),
    _derived("p1_hf_g.cause", "1号泵高频振动异常特征", "Pump 1 high-frequency vibration, pattern", values=CAUSE),
    _derived("hydraulics.excess", "水力模型超限度", "Hydraulics, excess"),
    *(_derived(f"{p}.expected", f"{zh}模型预期", f"{en}, expected", unit) for p, zh, en, unit in (
        ("flow", "流量", "Flow", "m³/h"), ("outlet_p", "出口压力", "Outlet pressure", "MPa"))),
    *(_derived(f"{p}.share", f"{p} 贡献", f"{p}, share") for p in ("flow", "outlet_p", "p1_power")),
)  # fmt: skip


def _rule(name: str, zh: str, en: str, point: str, when: tuple[Gate, ...] = ()) -> Rule:
    words = Text("检查水泵与管路", "Check pump and pipes")
    return Rule(
        name, KIND, Text(zh, en), (point,), Condition("above", high=1, clear_high=1), "P3",
        words, words, words, "mechanic", 300, 300, when,
    )  # fmt: skip


RUNS = Gate("p1_run", Condition("equals", values=(1.0,)), 120)
RULES = (
    _rule(HF_UNUSUAL, "高频振动异常", "Unusual high-frequency vibration", "p1_hf_g.excess", (RUNS,)),
    _rule(HYDRAULICS, "水力工况异常", "Unusual hydraulics", "hydraulics.excess"),
)  # fmt: skip


def with_models(plant: Plant) -> Plant:
    """The same plant, whose booster sets have these points too, and these rules in the place of statistical ones."""
    pack = plant.packs[KIND]
    points = {**pack.points, **{point.key: point for point in POINTS}}
    mine = tuple(r for r in pack.rules if not any(key.endswith(".excess") for key in r.points))
    packs: dict[str, RulePack] = {**plant.packs, KIND: replace(pack, points=points, rules=(*mine, *RULES))}  # fmt: skip
    with transaction(plant.deps.engine) as session:
        asset = session.exec(select(Asset).where(col(Asset.code) == ASSET)).one()
        known = set(session.exec(select(Point.key).where(Point.asset_id == asset.id)))
        for point in POINTS:
            if point.key not in known:
                session.add(Point(
                    asset_id=asset.id or 0, key=point.key, type=point.type, unit=point.unit, label_zh=point.label.zh,
                    label_en=point.label.en, period_s=point.period_s, derived=True,
                ))  # fmt: skip
    catalog = SeriesCatalog(plant.deps.engine)
    deps = replace(plant.deps, packs=packs, catalog=catalog)
    return Plant(deps, create_app(deps), packs)


def samples(plant: Plant, now: datetime) -> Batch:
    """Two hours, every 5 s. Pump 1's vibration rises in the last half hour; then flow leaves its model."""
    seconds = np.arange(0, 7200, 5)
    at = to_ns(now) - (7200 - seconds) * 1_000_000_000
    late = np.clip((seconds - 5400) / 1800, 0, 1)
    noise = np.random.default_rng(3).normal(0, 1, len(seconds))
    wave = np.sin(seconds / 1200 * 2 * math.pi)
    flow = 42 + 3 * wave
    columns = {
        "auto": 1, "mains": 1, "p1_run": 1, "p2_run": 0, "p3_run": 0, "inlet_p": 0.18, "p1_state": 3, "flood": 0,
        "p1_bearing_temp": 58 + 8 * late, "p1_vib_z": 2.1 + 1.6 * late + 0.05 * noise, "v1": 398, "p1_freq": 41.0,
        "p1_hf_g": 0.21 + 0.2 * late + 0.01 * noise, "p1_hf_g.lo": 0.17, "p1_hf_g.hi": 0.26,
        "p1_hf_g.excess": 0.2 + 2.2 * late, "p1_hf_g.cause": 3, "p1_power": 7.4 + 0.6 * late,
        "flow": flow + 9 * late + 0.3 * noise, "flow.expected": flow, "outlet_p": 0.45 - 0.02 * late,
        "outlet_p.expected": 0.45, "hydraulics.excess": 0.3 + 1.4 * late, "flow.share": 0.61, "outlet_p.share": 0.27,
        "p1_power.share": 0.12,
    }  # fmt: skip
    parts = [
        Batch.of(np.full(len(at), plant.series(ASSET, key)), at, np.broadcast_to(np.asarray(values, np.float64), at.shape))
        for key, values in columns.items()
    ]  # fmt: skip
    stale = Batch.of([plant.series(ASSET, "p1_drive_temp")] * 2, at[[0, 1]], [41.0, 41.0])
    return Batch.concat([*parts, stale]).sorted_by_time()


def explain(plant: Plant, now: datetime) -> dict[str, int]:
    """Rule -> its alert, of what the rule engine makes of `samples`."""
    batch = samples(plant, now)
    plant.deps.store.write(batch)
    rules = [rule for pack in plant.packs.values() for rule in pack.rules]
    found = RuleEngine(rules, plant.deps.catalog, RELATED).update(batch)
    with transaction(plant.deps.engine) as session:
        made = [
            change.alert for change in alerts.record(session, found, now) if change.kind == "fired"
        ]
        for alert in made:
            order = workorders.raise_fault(
                session,
                alert_id=alert.id or 0,
                asset_id=alert.asset_id,
                asset_code=ASSET,
                rule_id=alert.rule,
                label=next(rule.label for rule in rules if rule.id == alert.rule),
                severity=alert.severity,
                safety=False,
                link=False,
                skill="mechanic",
                at=alert.opened_at,
            )
            alerts.attach_order(session, alert, order.order_id, order.verdict, now)
        return {alert.rule: alert.id or 0 for alert in made}  # fmt: skip


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path

    import uvicorn

    from tests.web.plant import NOW, build, fill, open_plant

    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        plain = open_plant(Path(folder))
        fill(plain)
        plant = with_models(plain)
        explain(plant, NOW - timedelta(minutes=1))
        uvicorn.run(plant.app, port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=2)  # fmt: skip
