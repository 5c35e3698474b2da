"""NAB (numenta/NAB v1.1) through the product's univariate detector: all files at once, one configuration.

Reads PMS_BENCH_DATA (default ../shared/data; any folder with the same layout), writes one score per row
in the scorer's format into PMS_BENCH_OUT (default: a temporary folder), and scores them by the scorer's
own rules from PMS_BENCH_SCORERS (default ../shared/bench). The detector sees time and value, nothing else:
no file name, no row number, no extreme of a file, and nothing ahead of the sample that it scores.
"""

import csv
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Row
from pms_iot.assets.points import PointDef
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.columnar import Watched
from pms_iot.detection.spec import SCORES, DetectorSpec
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch

ROOT = Path(__file__).resolve().parents[2] / "shared"
S = 1_000_000_000
SPEC = DetectorSpec("anomaly", (PointDef("value", Text("值", "value")),), warmup_s=0)
PROFILES = ("standard", "low_FP", "low_FN")
DAY_NS = 86_400 * S


def data_folder() -> Path:
    return Path(os.environ.get("PMS_BENCH_DATA", ROOT / "data"))


def scorer(name: str) -> Any:
    """A scorer's script as a module. Raises ImportError where there is none."""
    folder = os.environ.get("PMS_BENCH_SCORERS", str(ROOT / "bench"))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return import_module(name)


def read(file: Path) -> tuple[list[int], list[float]]:
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    at = [int(datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp()) * S for row in rows]
    return at, [float(row[1]) for row in rows]


def series(folder: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Relative name of each labelled file -> its times and values."""
    import json

    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    return {name: read(folder / "data" / name) for name in sorted(labels)}


def scores(files: dict[str, tuple[list[int], list[float]]]) -> dict[str, np.ndarray]:
    """`<point>.anomaly` of each row of each file, all files side by side in one detector."""
    outputs = len(SCORES["anomaly"])
    watched = [
        Watched(i, tuple(1000 + outputs * i + n for n in range(outputs)), SPEC)
        for i in range(len(files))
    ]
    detector = Anomaly(watched)
    whole = Batch.concat(
        Batch.of(np.full(len(at), i), at, value) for i, (at, value) in enumerate(files.values())
    )
    found = detector.update(whole)
    result: dict[str, np.ndarray] = {}
    for i, (name, (at, _)) in enumerate(files.items()):
        mine = found.take(found.series == watched[i].scores[0])
        by_time = dict(zip(mine.at.tolist(), mine.value.tolist(), strict=True))
        # A time that a file repeats is one sample; the detector drops the repeat.
        result[name] = np.array([by_time.pop(t, 0.0) for t in at])
    return result


def write(found: dict[str, np.ndarray], folder: Path) -> None:
    for name, column in found.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("score\n" + "\n".join(f"{score:.6g}" for score in column) + "\n")


def run() -> Sequence[Row]:
    folder = data_folder() / "NAB"
    if not folder.is_dir():
        return [Row("NAB: no data", str(folder), 0.0, "")]
    nab = scorer("nab_score")
    found = scores(series(folder))
    out = Path(os.environ.get("PMS_BENCH_OUT") or tempfile.mkdtemp(prefix="nab-"))
    write(found, out)
    labelled, columns = nab.load(folder, out)
    rows: list[Row] = []
    for profile in PROFILES:
        thresholds, values = nab.score_curve(labelled, columns, profile)
        best = int(np.argmax(values))
        what = f"NAB, {len(found)} files, {profile}, threshold {thresholds[best]:.3g}"
        rows.append(Row(what, "pms_iot", float(values[best]), "points of 100"))
    caps, _ = nab.at_false_alarm_caps(labelled, columns)
    for cap in (0.5, 1.0, 2.0):
        best = caps[cap]
        if best is not None:
            what = f"NAB windows of {best[1]} at <= {cap:g} false alarms a sensor-month"
            rows.append(Row(what, "pms_iot", float(best[0]), "windows"))
    return rows
