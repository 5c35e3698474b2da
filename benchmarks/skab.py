"""The asset model on the recorded runs of the SKAB pump: F1, false-alarm and missed-alarm rate together.

Each run is an asset of its own; the first 400 rows, which are not scored, are its warm-up. The product's
detector says at each row whether the asset is in alarm; PMS_BENCH_OUT keeps the predictions in the
scorer's format (default: a temporary folder). Beside it two answers that know nothing of the data: all
ones, and the middle of each run.
"""

import csv
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row
from benchmarks.asset_model import Fleet, S, data, model, scorers
from pms_iot.detection.spec import DetectorSpec
from pms_iot.telemetry.batch import Batch

# As in rules/water_pump: temperatures wander with load and weather for longer than a run lasts.
POINTS = {
    "accel1_rms": "Accelerometer1RMS",
    "accel2_rms": "Accelerometer2RMS",
    "current": "Current",
    "pressure": "Pressure",
    "voltage": "Voltage",
    "flow": "Volume Flow RateRMS",
}
WARMUP_S = 420.0  # what 400 rows take; now and then a second is missing


@dataclass(frozen=True, slots=True)
class Recording:
    """name: `<group>/<n>`. at: ns. value: (rows, points)."""

    name: str
    at: NDArray[np.int64]
    value: NDArray[np.float64]


def spec() -> DetectorSpec:
    return model(dict.fromkeys(POINTS, "number"), period_s=1.0, warmup_s=WARMUP_S, params={})


def recordings(folder: Path) -> list[Recording]:
    """All runs with a fault, in order of their names."""
    files = sorted(file for file in folder.glob("*/*.csv") if file.parent.name != "anomaly-free")
    return [_recording(file) for file in files]


def _recording(file: Path) -> Recording:
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    at = [datetime.fromisoformat(row["datetime"]).replace(tzinfo=UTC).timestamp() for row in rows]
    value = [[float(row[column]) for column in POINTS.values()] for row in rows]
    name = f"{file.parent.name}/{file.stem}"
    return Recording(name, (np.array(at) * S).astype(np.int64), np.array(value))


def predictions(runs: list[Recording]) -> dict[str, NDArray[np.bool_]]:
    """Of each run, whether the detector is in alarm at each row."""
    fleet = Fleet(spec(), [run.name for run in runs])
    parts = [fleet.batch(run.name, run.at, run.value) for run in runs]
    scores = fleet.detectors.update(Batch.concat(parts).sorted_by_time())
    return {run.name: fleet.alarms(run.name, scores, run.at) for run in runs}


def run() -> list[Row]:
    folder = data("SKAB")
    runs = recordings(folder)
    ones = {run.name: np.ones(len(run.at), np.bool_) for run in runs}
    middle = {run.name: _middle(len(run.at)) for run in runs}
    answers = {"pms_iot": predictions(runs), "all ones": ones, "middle of the run": middle}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(os.environ.get("PMS_BENCH_OUT", temporary)) / "skab"
        return [
            row
            for who, answer in answers.items()
            for row in _rows(who, len(runs), _scored(folder, out / who.replace(" ", "_"), answer))
        ]


def _middle(rows: int) -> NDArray[np.bool_]:
    place = np.arange(rows)
    return (place > rows * 0.48) & (place < rows * 0.85)


def _scored(folder: Path, out: Path, answer: dict[str, NDArray[np.bool_]]) -> list[float]:
    """F1, FAR and MAR in %, as the scorer prints them."""
    for name, alarms in answer.items():
        file = out / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("prediction\n" + "".join(f"{int(alarm)}\n" for alarm in alarms))
    command = [sys.executable, str(scorers() / "skab_score.py"), str(folder), str(out)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [100 * float(said[3]), float(said[5]), float(said[8])]


def _rows(who: str, runs: int, figures: list[float]) -> list[Row]:
    names = ("F1", "false-alarm rate", "missed-alarm rate")
    return [
        Row(f"SKAB, {runs} runs, {name}", who, figure, "%")
        for name, figure in zip(names, figures, strict=True)
    ]
