"""Plans that fall due by use, while the controller that counts is replaced."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pms_iot.bootstrap import import_site
from pms_iot.kernel import migrations
from pms_iot.kernel.clock import ManualClock
from pms_iot.kernel.db import open_engine
from pms_iot.pipeline import Pipeline
from pms_iot.rulepacks import counters_of_plans, load_packs
from pms_iot.telemetry.counter_totals import CounterTotals
from tests.pipeline.rig import RULES, SITE, T0, Rig

COUNTER = """
  starts: {label: {zh: 启动, en: Starts}, type: counter, period_s: 60}
"""
PLAN = """
plans:
  greasing:
    code: G
    label: {zh: 润滑, en: Greasing}
    meter: {point: starts, every: 100}
"""


@pytest.fixture
def metered(tmp_path: Path) -> Rig:
    """Two pumps that want greasing every 100 starts."""
    rules = shutil.copytree(RULES, tmp_path / "rules")
    with (rules / "pump" / "points.yaml").open("a") as file:
        file.write(COUNTER)
    (rules / "pump" / "maintenance.yaml").write_text(PLAN)
    (tmp_path / "site.yaml").write_text(SITE)
    core = open_engine(f"sqlite:///{tmp_path / 'core.db'}")
    migrations.upgrade(core)
    import_site(core, load_packs(rules), tmp_path / "site.yaml", ManualClock(T0))
    core.dispose()
    return Rig(tmp_path, tmp_path / "rig", rules)


def started(rig: Rig) -> Pipeline:
    path = rig.start()
    path.plans = [plan for pack in rig.packs.values() for plan in pack.plans]
    points = {kind: pack.points for kind, pack in rig.packs.items()}
    path.totals = CounterTotals(
        path.engine, path.store, path.catalog, counters_of_plans(path.plans, points)
    )
    return path


def runs(rig: Rig, path: Pipeline, *readings: float) -> int:
    """The pump shows these, a minute apart; how many orders there are after that."""
    for reading in readings:
        at_s = (rig.clock.now() - T0).total_seconds()
        rig.send(path, [("PU-01", at_s, {"starts": reading})])
        rig.clock.advance(61)
        path.maintain()
    return len(rig.rows("select id from work_order"))


def test_a_replaced_controller_neither_loses_nor_gains_use(metered: Rig) -> None:
    path = started(metered)
    assert runs(metered, path, 5000, 5000, 5030, 5060) == 0
    assert runs(metered, path, 0, 1, 10, 20, 30) == 0, "60 + 30 so far"
    path = started(metered)  # the engine too
    assert runs(metered, path, 39, 40) == 0
    assert runs(metered, path, 40) == 1
    assert metered.rows("select meter_value from occurrence") == [(5100.0,)]
    assert metered.rows("select reason from meter_rebase") == [("start",)]
    metered.close()


def test_one_wrong_reading_opens_nothing(metered: Rig) -> None:
    path = started(metered)
    assert runs(metered, path, 5000, 5001, 65535, 5002, 0, 5003, 5004) == 0
    metered.clock.advance(timedelta(days=1).total_seconds())
    assert runs(metered, path, 5090, 5099, 5101, 5102) == 1
    metered.close()


def test_a_store_that_is_away_delays_only_what_needs_it(metered: Rig) -> None:
    path = started(metered)
    assert runs(metered, path, 5000, 5001) == 0
    metered.samples.close()
    metered.clock.advance(120)
    path.maintain()  # plans by the calendar go on
    metered.core.dispose()
