"""Recorded runs of a real pump (SKAB) through the shipped water_pump pack: detectors, then rules."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pms_iot.rulepacks import load_packs, rules_root
from pms_iot.rulepacks.rehearsal import rehearse

DATA = Path(__file__).parents[4] / "shared" / "data" / "SKAB"
POINTS = [
    "accel1_rms",
    "accel2_rms",
    "current",
    "pressure",
    "temperature",
    "thermocouple",
    "voltage",
    "flow",
]
PIECE = 1150  # rows; as long as a faulty run
RULES = {"water_pump.channel_unusual", "water_pump.flow_shift", "water_pump.vibration_shift"}
IRREGULAR = (
    "other/13"  # the valve is opened and closed from the start, so nothing normal is there to learn
)

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the SKAB data in ../shared/data")


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    at: list[int]
    values: np.ndarray  # (rows, points)
    onset: int | None

    def alerts(self) -> list[int]:
        """Sample times at which an alert about a reading opens."""
        series = {point: (self.at, self.values[:, i]) for i, point in enumerate(POINTS)}
        found = rehearse(PACK, "WP-01", series)
        return [t.at_ns for t in found if t.kind == "fired" and t.rule.id in RULES]


PACK = load_packs(rules_root())["water_pump"]


def read(file: Path) -> list[list[str]]:
    with file.open(newline="") as lines:
        return list(csv.reader(lines, delimiter=";"))[1:]


def run(name: str, lines: list[list[str]]) -> Run:
    at = [int(datetime.fromisoformat(x[0]).replace(tzinfo=UTC).timestamp()) * 10**9 for x in lines]
    values = np.array([[float(x) for x in line[1:9]] for line in lines])
    faulty = [t for t, line in zip(at, lines, strict=True) if len(line) > 9 and float(line[9]) > 0]
    return Run(name, at, values, faulty[0] if faulty else None)


def faulty_runs() -> Iterator[Run]:
    for file in sorted(DATA.glob("*/*.csv")):
        if file.parent.name != "anomaly-free":
            yield run(f"{file.parent.name}/{file.stem}", read(file))


def test_fault_free_hours_of_the_real_pump_open_no_alert() -> None:
    lines = read(DATA / "anomaly-free" / "anomaly-free.csv")
    pieces = [lines[i : i + PIECE] for i in range(0, len(lines), PIECE)]
    assert len(pieces) == 9
    assert {i: run("", piece).alerts() for i, piece in enumerate(pieces)} == {
        i: [] for i in range(9)
    }


def test_most_recorded_faults_open_an_alert_and_none_opens_before_its_fault() -> None:
    found: set[str] = set()
    early: set[str] = set()
    for one in faulty_runs():
        assert one.onset is not None
        alerts = one.alerts()
        if alerts:
            (early if min(alerts) < one.onset else found).add(one.name)
    assert len(found) >= 15
    assert early <= {IRREGULAR}
