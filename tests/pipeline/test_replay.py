"""Back-tests over what a real engine has stored, alerted and had repaired."""

import csv
import json
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from typer.testing import CliRunner, Result

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.cli import app
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import ConfigError
from pms_iot.pipeline import Pipeline
from pms_iot.replay.run import Window, replay
from pms_iot.rulepacks import PackError
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.workorders import service as workorders
from pms_iot.workorders.tables import Technician, WorkOrder
from tests.pipeline.rig import RULES, T0, Read, Rig, ns, prepare

HOURS = 2
WINDOW = ["--from", T0.isoformat(), "--to", (T0 + timedelta(hours=HOURS)).isoformat()]


def temperatures(t: float) -> tuple[float, float]:
    """PU-01 warms up from 600 s on and is hot from 1200 s to 1500 s; PU-02 is a little hot at 3600 s."""
    first = 85.0 if 1200 <= t < 1500 else 65.0 if 600 <= t < 1200 else 50.0
    return first, 82.0 if 3600 <= t < 3700 else 50.0


def reads(t: float) -> list[Read]:
    first, second = temperatures(t)
    level = 1.0 + 0.05 * max(0.0, min(t - 6600, 60))  # rises for a minute
    found: list[Read] = [("PU-02", t, {"temp": second, "level": level})]
    if not 5000 <= t < 5200:  # PU-01 does not answer for 200 s
        found.append(("PU-01", t, {"temp": first, "level": 1.0}))
    return found


def finish(rig: Rig, asset: str, outcome: str) -> None:
    with transaction(rig.core) as session:
        order = session.exec(select(WorkOrder).where(WorkOrder.origin == f"fault:{asset}")).one()
        technician = session.exec(select(Technician)).first() or Technician(name="Zhang")
        session.add(technician)
        session.flush()
        number, at = order.id or 0, rig.clock.at
        workorders.take(session, number, "zhang", at, technician_id=technician.id or 0)
        workorders.start(session, number, "zhang", at)
        workorders.finish(session, number, "zhang", at, outcome=outcome)


def live(rig: Rig, path: Pipeline) -> None:
    """Two hours of a gateway with two pumps, a read each 10 s, a batch a minute."""
    for minute in range(HOURS * 60):
        rig.clock.at = T0 + timedelta(seconds=60 * minute + 55)
        rig.send(path, [read for k in range(6) for read in reads(60.0 * minute + 10 * k)])
        path.tick(ns(0))
        path.maintain()  # closes what is finished and has recovered
        if minute == 33:
            finish(rig, "PU-01", "true_fault")
        if minute == 70:
            finish(rig, "PU-02", "false_alarm")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Generator[Rig]:
    """An engine that has lived for two hours and goes on serving."""
    template, directory = tmp_path_factory.mktemp("template"), tmp_path_factory.mktemp("lived")
    prepare(template)
    rig = Rig(template, directory)
    live(rig, rig.start())
    yield rig
    rig.close()


def run(rig: Rig, *words: str) -> Result:
    env = {"PMS_DATA_DIR": str(rig.directory), "PMS_RULES_DIR": str(RULES)}
    return CliRunner().invoke(app, ["replay", *WINDOW, "--warmup", "1h", "-q", *words], env=env)


def report(rig: Rig, *words: str) -> dict[str, Any]:
    result = run(rig, "--json", *words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def changed(directory: Path, old: str, new: str, name: str = "alerts.yaml") -> Path:
    """A file of the pumps' pack with something else in it."""
    said = (RULES / "pump" / name).read_text()
    assert old in said
    file = directory / name
    file.write_text(said.replace(old, new))
    return file


def test_the_rules_in_use_would_have_said_what_they_said(lived: Rig) -> None:
    found = report(lived)
    real = lived.rows(
        "select l.rule, a.code, l.opened_at, l.resolved_at from alert l join asset a on a.id = l.asset_id"
        " order by l.opened_at, l.rule"
    )
    assert len(real) == 4  # twice hot, once rising, once silent
    assert [a["status"] for a in found["alerts"]] == ["same"] * 4
    assert [(a["rule"], a["asset"]) for a in found["alerts"]] == [row[:2] for row in real]
    assert [a["fired"] if "fired" in a else a["at"] for a in found["alerts"]] == [
        row[2].replace(" ", "T").split(".")[0] + "+00:00" for row in real
    ]
    assert (found["hit"], found["missed"], found["repeated"], found["avoided"]) == (1, 0, 1, 0)
    assert found["median_lead_s"] == 0.0


def test_a_higher_limit_avoids_the_false_alarm_and_keeps_the_fault(
    lived: Rig, tmp_path: Path
) -> None:
    file = changed(tmp_path, "above: 80", "above: 84")
    found = report(lived, "--rules", str(file), "--kind", "pump")
    assert (found["hit"], found["missed"], found["repeated"], found["avoided"]) == (1, 0, 0, 1)
    hot = next(line for line in found["rules"] if line["rule"] == "pump.hot")
    assert (hot["count"], hot["same"], hot["new"], hot["gone"]) == (1, 1, 0, 1)
    assert (hot["true"], hot["false"], hot["unjudged"]) == (1, 0, 0)
    assert hot["per_asset_month"] == pytest.approx(1 / (2 * HOURS / 720))
    assert hot["median_s"] == 310  # hot from 1220 s on, cool for 30 s at 1530 s


def test_a_limit_that_is_too_high_misses_the_fault(lived: Rig, tmp_path: Path) -> None:
    file = changed(tmp_path, "above: 80", "above: 90")
    found = report(lived, "--rules", str(file), "--kind", "pump")
    assert (found["hit"], found["missed"]) == (0, 1)
    order = next(o for o in found["orders"] if o["asset"] == "PU-01")
    assert (order["rule"], order["lead_s"], order["other"]) == (None, None, False)


def test_a_lower_limit_would_have_been_earlier(lived: Rig, tmp_path: Path) -> None:
    file = changed(tmp_path, "above: 80\n    clear: 75", "above: 60")
    found = report(lived, "--rules", str(file), "--kind", "pump")
    assert found["median_lead_s"] == 600.0


def test_a_detectors_file_is_tried_in_the_same_way(lived: Rig, tmp_path: Path) -> None:
    file = changed(tmp_path, "window: 30s", "window: 1h", "detectors.yaml")
    found = report(lived, "--rules", str(file), "--kind", "pump")
    assert [a["rule"] for a in found["alerts"] if a["status"] == "gone"] == ["pump.rising"]


def test_one_asset_one_kind_one_folder(lived: Rig) -> None:
    assert report(lived, "--asset", "PU-02")["assets"] == ["PU-02"]
    assert report(lived, "--asset", "PU-*", "--kind", "pump")["assets"] == ["PU-01", "PU-02"]
    folder = report(lived, "--rules", str(RULES / "pump"))
    assert folder["alerts"] == report(lived, "--rules", str(RULES))["alerts"]


def test_nothing_is_written(lived: Rig) -> None:
    def everything() -> list[Any]:
        tables = [
            name for (name,) in lived.rows("select name from sqlite_master where type = 'table'")
        ]
        series = [info.id for info in SeriesCatalog(lived.core).all()]
        stored = lived.samples.read_many(series, 0, ns(10 * 86_400))
        return [lived.rows(f"select * from {table}") for table in tables] + [
            column.tolist() for column in (stored.series, stored.at, stored.value, stored.quality)
        ]

    before = everything()
    report(lived)
    assert everything() == before


def test_any_cut_of_the_history_and_either_store_give_the_same(
    lived: Rig, influx: InfluxSettings
) -> None:
    catalog = SeriesCatalog(lived.core)
    infos = list(catalog.all())
    window = Window(ns(-3600), ns(0), ns(HOURS * 3600))
    remote = InfluxStore(influx, catalog)
    remote.write(lived.samples.read_many([i.id for i in infos], ns(0), ns(HOURS * 3600)))
    straight = replay(lived.samples, lived.packs, infos, window, zones={})
    assert len(straight.fired) == 4
    for store, size in ((lived.samples, 7), (lived.samples, 500), (remote, 1000)):
        again = replay(store, lived.packs, infos, window, zones={}, slice_samples=size)
        assert again == straight
    remote.close()


def test_it_says_from_when_on_there_are_samples(lived: Rig) -> None:
    early = (T0 - timedelta(days=2)).isoformat()
    words = ["replay", "--from", early, "--to", T0.isoformat(), "-q", "--kind", "pump"]
    env = {"PMS_DATA_DIR": str(lived.directory), "PMS_RULES_DIR": str(RULES)}
    result = CliRunner().invoke(app, words, env=env)
    assert "PU-01: no samples" in result.stdout
    longer = ["replay", "--from", early, "--to", WINDOW[3], "-q", "--kind", "pump"]
    result = CliRunner().invoke(app, longer, env=env)
    assert "PU-01: samples from 2026-11-23 08:00 on" in result.stdout


def test_the_report_is_read_in_both_languages(lived: Rig) -> None:
    english, chinese = run(lived).stdout, run(lived, "--lang", "zh").stdout
    assert "confirmed faults: 1 hit, 0 missed" in english
    assert "pump.hot" in english and "Hot" in english
    assert "确认的故障：命中 1，漏掉 0" in chinese
    assert "过热" in chinese


def test_every_alert_goes_into_a_table(lived: Rig, tmp_path: Path) -> None:
    file = tmp_path / "alerts.csv"
    assert run(lived, "--csv", str(file)).exit_code == 0
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    assert [row["rule"] for row in rows] == ["pump.hot", "pump.hot", "pump.silent", "pump.rising"]
    assert [row["verdict"] for row in rows] == ["true_fault", "false_alarm", "", ""]


def test_what_is_wrong_is_named_with_its_place(lived: Rig, tmp_path: Path) -> None:
    broken = changed(tmp_path, "above: 80", "above: eighty")
    result = run(lived, "--rules", str(broken), "--kind", "pump")
    assert isinstance(result.exception, PackError)
    assert result.exception.problems == [f"{broken}:5: rules.hot.above: must be a number"]
    for words, place in (
        (["--rules", str(tmp_path / "none.yaml")], "--rules"),
        (["--rules", str(broken)], "--rules"),  # of which kind?
        (["--kind", "lift"], "--kind"),
        (["--asset", "XX-*"], "--asset"),
        (["--store", "cloud"], "cloud"),
    ):
        result = run(lived, *words)
        assert isinstance(result.exception, ConfigError), words
        assert str(result.exception).startswith(place), words
    reversed_ = ["replay", "--from", "2026-02-01", "--to", "2026-01-01"]
    assert CliRunner().invoke(app, reversed_).exit_code == 2
    assert (
        CliRunner().invoke(app, ["replay", "--from", "soon", "--to", "2026-01-01"]).exit_code == 2
    )
    assert run(lived, "--warmup", "long").exit_code == 2
