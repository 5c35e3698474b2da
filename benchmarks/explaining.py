"""What an explanation costs: alerts of 1,000 lifts at once, and a look at what came before among 100,000 alerts."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
from sqlalchemy import Engine, insert
from sqlmodel import SQLModel, col, select

from benchmarks import Row
from benchmarks.judging import LIFTS, POINTS, T0, Fleet, S, batches
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.rulepacks import load_packs, rules_root
from pms_iot.telemetry.batch import Batch
from pms_iot.web.similar import similar_at_site, similar_on_asset
from pms_iot.workorders.tables import WorkOrder

ALERTS, ASSETS = 100_000, 200
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def run() -> list[Row]:
    return [_storm(), *_history(rules=50), *_history(rules=1)]


def _storm() -> Row:
    """All motors are too hot for 60 s: the alerts of the batch in which they fire, less a batch that only holds."""
    pack = load_packs(rules_root())["elevator"]
    engine = RuleEngine(pack.rules, Fleet(pack))
    for _, batch in batches(0, 2):
        engine.update(batch)
    motors = [lift * len(POINTS) + POINTS.index("motor_temp") + 1 for lift in range(LIFTS)]
    took: list[float] = []
    for second in (2, 3, 61):
        hot = Batch.of(motors, np.full(LIFTS, T0 + second * S), np.full(LIFTS, 125.0))
        began = time.process_time()
        fired = len(engine.update(hot))
        took.append(time.process_time() - began)
    return Row(f"explain {fired:,} alerts", "rule engine", 1e6 * (took[2] - took[1]) / fired, "µs of CPU per alert")  # fmt: skip


def _history(*, rules: int) -> list[Row]:
    what = f"look up earlier ones of {ALERTS // rules:,} alerts in {ALERTS:,}"
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'core.db'}")
        _fill(engine, rules)
        with transaction(engine) as session:
            last = session.exec(select(Alert).order_by(col(Alert.id).desc()).limit(1)).one()
            asset = session.get_one(Asset, last.asset_id)
            here = _usual(lambda: similar_on_asset(session, last, notes=True))
            elsewhere = _usual(lambda: similar_at_site(session, last, asset, notes=True))
        engine.dispose()
    return [
        Row(what, "same asset", here, "µs of CPU"),
        Row(what, "others at the site", elsewhere, "µs of CPU"),
    ]


def _usual(look: Callable[[], object]) -> float:
    took: list[float] = []
    for _ in range(5):
        began = time.process_time()
        look()
        took.append(1e6 * (time.process_time() - began))
    return median(took)


def _fill(engine: Engine, rules: int) -> None:
    """Within a year: every fifth minute an alert, four of which share a finished order."""
    SQLModel.metadata.create_all(engine)
    ended = ("true_fault", "false_alarm", "no_fault_found")
    with transaction(engine) as session:
        site = Site(code="s", name_zh="s", name_en="s")
        session.add(site)
        session.flush()
        for n in range(ASSETS):
            session.add(Asset(id=n + 1, code=f"EL-{n}", site_id=site.id or 0, kind="elevator", name_zh="", name_en=""))  # fmt: skip
        session.flush()
        orders = [
            {"id": n + 1, "origin": f"fault:{n}", "kind": "corrective", "asset_id": n % ASSETS + 1, "title_zh": "", "title_en": "",
             "priority": "P3", "status": "closed", "skill": "", "people": 1, "statutory": False, "opened_at": NOW,
             "outcome": ended[n % 3], "reopened": 0, "version": 1}
            for n in range(ALERTS // 4)
        ]  # fmt: skip
        session.connection().execute(insert(WorkOrder), orders)
        rows = [
            {"key": f"k{n}", "rule": f"elevator.r{n // ASSETS % rules}", "asset_id": n % ASSETS + 1, "severity": "P3", "safety": False,
             "state": "resolved", "opened_at": at, "since": at, "resolved_at": at, "why": {}, "work_order_id": n // 4 + 1}
            for n in range(ALERTS)
            for at in [NOW - timedelta(minutes=5 * (ALERTS - n))]
        ]  # fmt: skip
        session.connection().execute(insert(Alert), rows)
