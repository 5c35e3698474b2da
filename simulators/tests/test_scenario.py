"""A mistake in a scenario is named with file, line and key."""

import pytest
from pms_simulators.cli import main
from pms_simulators.errors import ScenarioError
from pms_simulators.faults import Burst, Exponential, Ramp, Step
from pms_simulators.scenario import load_scenario, seconds

GOOD = """\
site: riverside
timezone: Asia/Shanghai
seed: 7
truth: truth.jsonl
mqtt: {host: 127.0.0.1, port: 1883}
assets:
  - {id: EL-01, kind: elevator, modbus: {port: 15021, unit: 1}}
  - {id: DP-01, kind: drainage_pump, mqtt: {topic: local/DP-01/telemetry}}
faults:
  - {asset: EL-01, fault: motor_overheat, onset: 5m, duration: 2h, progression: {ramp: 10m}}
  - {asset: EL-01, fault: lock_intermittent, onset: 1h, progression: {burst: 6/d}}
  - {asset: DP-01, fault: ragging, onset: 90, end: 3h, severity: 0.5, pump: 2}
  - {asset: DP-01, fault: seal_leak, onset: 1d, progression: {exp: 2h}}
"""

MISTAKES = [
    ("seed: 7", "seed: seven", 3, "seed"),
    ("timezone: Asia/Shanghai", "timezone: Asia/Shanghei", 2, "timezone"),
    ("site: riverside\n", "", 1, "site"),
    ("kind: elevator", "kind: escalator", 7, "assets[0].kind"),
    ("port: 15021", "port: 99999", 7, "assets[0].modbus.port"),
    (", modbus: {port: 15021, unit: 1}", "", 7, "assets[0]"),
    ("id: DP-01", "id: EL-01", 8, "assets[1].id"),
    ("topic: local/DP-01/telemetry", "topic: 'local/#'", 8, "assets[1].mqtt.topic"),
    ("onset: 5m", "onset: soon", 10, "faults[0].onset"),
    ("duration: 2h", "duration: 2h, end: 3h", 10, "faults[0]"),
    ("fault: motor_overheat", "fault: motor_overheet", 10, "faults[0].fault"),
    ("{asset: EL-01, fault: motor", "{asset: EL-09, fault: motor", 10, "faults[0].asset"),
    ("{ramp: 10m}", "{ramp: 10 parsecs}", 10, "faults[0].progression.ramp"),
    ("{burst: 6/d}", "{burst: often}", 11, "faults[1].progression.burst"),
    ("severity: 0.5", "severity: 1.5", 12, "faults[2].severity"),
    ("severity: 0.5", "severty: 0.5", 12, "faults[2].severty"),
    ("pump: 2", "pump: 3", 12, "faults[2].pump"),
    ("end: 3h", "end: 1s", 12, "faults[2]"),
    ("faults:\n", "faults: [}\n", 9, "yaml"),
]


def write(tmp_path, text):
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    return path


def test_a_good_scenario_becomes_laws_and_windows(tmp_path):
    scenario = load_scenario(write(tmp_path, GOOD))
    overheat, lock = scenario.plan("EL-01").faults
    ragging, leak = scenario.plan("DP-01").faults
    assert (overheat.onset_s, overheat.end_s) == (300, 7500)
    assert overheat.law == Ramp(600)
    assert isinstance(lock.law, Burst)
    assert lock.law.per_day == 6
    assert lock.end_s == float("inf")
    assert (ragging.onset_s, ragging.end_s, ragging.pump) == (90, 10800, 2)
    assert ragging.law == Step()
    assert leak.law == Exponential(7200)


@pytest.mark.parametrize(("old", "new", "line", "key"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_mistake_names_its_file_line_and_key(tmp_path, capsys, old, new, line, key):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert (caught.value.file, caught.value.line, caught.value.key) == (path, line, key)
    assert main(["check", str(path)]) == 1
    assert f"{path}:{line}: {key}: " in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml:1: file" in capsys.readouterr().err


def test_durations():
    assert [seconds(x) for x in ("90s", "5m", "2h", "3d", 7, "0.5h")] == [
        90, 300, 7200, 259200, 7, 1800,
    ]  # fmt: skip


def test_faults_lists_every_kind_in_both_languages(capsys):
    assert main(["faults"]) == 0
    printed = capsys.readouterr().out
    for word in ("elevator", "booster_set", "fire_pump", "drainage_pump", "fire_panel", "困人"):
        assert word in printed
