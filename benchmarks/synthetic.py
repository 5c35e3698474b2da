"""False alarms and recall of the univariate detectors on series whose law is known.

Types: iid normal, AR(1) with coefficient 0.95, Student t with 3 degrees of freedom, a daily and a weekly
cycle under noise; a sample each 5 min, in units of the noise's standard deviation. False alarms are
openings of `.excess` (of `.stuck` beyond 2 h, of `.missing` beyond 3) after day 30, a sensor-month.
Recall: a fault in each of many series on a random day after day 60: a level of +4 sd that stays for a day, a
spike of +8 sd (two samples, since one is a glitch by design), a reading that stops moving, and one that stops coming.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks import Row
from pms_iot.assets.points import PointDef
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.columnar import ColumnarDetector, Watched
from pms_iot.detection.missing import Missing
from pms_iot.detection.spec import SCORES, DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch

S = 1_000_000_000
T0 = 1_767_225_600 * S
STEP_S = 300
DAY = 86_400 // STEP_S
DAYS, QUIET_DAYS, FAULT_DAYS, EACH = 75, 30, 60, 25
TYPES = ("iid", "ar1", "t3", "daily", "weekly")
POINT = PointDef("p", Text("点", "point"))
MAKE: dict[str, type[ColumnarDetector]] = {"anomaly": Anomaly, "stuck": Stuck, "missing": Missing}
LIMIT = {"anomaly": 1.0, "stuck": 7200.0, "missing": 3.0}
NTH = {"anomaly": 1, "stuck": 0, "missing": 0}


def values(kind: str, samples: int, random: np.random.Generator) -> np.ndarray:
    """One series of the type; the noise has a standard deviation of one."""
    noise = random.standard_normal(samples)
    t = np.arange(samples) / DAY
    if kind == "ar1":
        out = np.empty(samples)
        level = 0.0
        for i, step in enumerate((noise * np.sqrt(1 - 0.95**2)).tolist()):
            level = 0.95 * level + step
            out[i] = level
        return out
    if kind == "t3":
        return random.standard_t(3, samples) / np.sqrt(3.0)
    if kind == "daily":
        return noise + 5 * np.sin(2 * np.pi * t)
    if kind == "weekly":
        return noise + np.where(t % 7 < 5, 4 * np.sin(2 * np.pi * t), -3.0)
    return noise


def detector(name: str, series: int) -> ColumnarDetector:
    spec = DetectorSpec(name, (POINT,), warmup_s=86_400)
    outputs = len(SCORES[name])
    asset = tuple(range(series + 1))  # the last is a point that always comes
    return MAKE[name](
        [
            Watched(
                i,
                tuple(series + 1 + outputs * i + n for n in range(outputs)),
                spec,
                period_s=STEP_S,
                beside=asset,
            )
            for i in range(series)
        ]
    )


def found(name: str, batch: Batch, series: int) -> list[np.ndarray]:
    """Times at which an alarm of each series opens."""
    scores = detector(name, series).update(batch)
    outputs, openings = len(SCORES[name]), list[np.ndarray]()
    for i in range(series):
        mine = scores.take(scores.series == series + 1 + outputs * i + NTH[name])
        high = mine.value > LIMIT[name]
        opens = high & ~np.concatenate(([False], high[:-1]))
        openings.append(mine.at[opens])
    return openings


def batch_of(rows: Sequence[np.ndarray]) -> Batch:
    """Row i as series i, NaN for what does not come; a clock series beside them."""
    at = T0 + np.arange(len(rows[0]), dtype=np.int64) * STEP_S * S
    parts = [Batch.of(np.full(len(at), len(rows)), at, np.zeros(len(at)))]
    for i, row in enumerate(rows):
        there = ~np.isnan(row)
        parts.append(Batch.of(np.full(int(there.sum()), i), at[there], row[there]))
    return Batch.concat(parts)


def false_alarms() -> list[Row]:
    random = np.random.default_rng(1)
    rows = [values(kind, DAYS * DAY, random) for kind in TYPES for _ in range(EACH)]
    batch = batch_of(rows)
    months = EACH * (DAYS - QUIET_DAYS) / 30
    found_ = {name: found(name, batch, len(rows)) for name in MAKE}
    since = T0 + QUIET_DAYS * 86_400 * S
    result: list[Row] = []
    for k, kind in enumerate(TYPES):
        for name, openings in found_.items():
            mine = openings[k * EACH : (k + 1) * EACH]
            count = sum(int((at > since).sum()) for at in mine)
            what = f"{kind}: false alarms a sensor-month, nominal 1"
            result.append(Row(what, name, count / months, f"({count} in {months:.1f} months)"))
    return result


def _level(x: np.ndarray, at: int) -> None:
    x[at : at + DAY] += 4


def _spike(x: np.ndarray, at: int) -> None:
    x[at : at + 2] += 8


def _stuck(x: np.ndarray, at: int) -> None:
    x[at : at + DAY] = x[at]


def _missing(x: np.ndarray, at: int) -> None:
    x[at : at + DAY] = np.nan


FAULTS = {
    "level +4 sd": ("anomaly", _level),
    "spike +8 sd": ("anomaly", _spike),
    "stuck": ("stuck", _stuck),
    "missing": ("missing", _missing),
}


def recall() -> list[Row]:
    random = np.random.default_rng(2)
    result: list[Row] = []
    for fault, (name, inject) in FAULTS.items():
        rows: list[np.ndarray] = []
        starts: list[int] = []
        for kind in TYPES:
            for _ in range(EACH):
                row = values(kind, (FAULT_DAYS + 4) * DAY, random)
                starts.append(int(random.integers(FAULT_DAYS * DAY, (FAULT_DAYS + 2) * DAY)))
                inject(row, starts[-1])
                rows.append(row)
        openings = found(name, batch_of(rows), len(rows))
        for k, kind in enumerate(TYPES):
            hits = 0
            for i in range(k * EACH, (k + 1) * EACH):
                first = T0 + starts[i] * STEP_S * S
                hits += bool(
                    ((openings[i] >= first) & (openings[i] < first + DAY * STEP_S * S)).any()
                )
            result.append(Row(f"{fault}, {kind}: found", name, 100 * hits / EACH, "%"))
    return result


def run() -> list[Row]:
    return false_alarms() + recall()
