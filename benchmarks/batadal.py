"""The asset model on BATADAL, the battle of the attack detection algorithms: S and false episodes.

The normal year (dataset03) is learned as it streams by, then the half year with attacks (dataset04), then
the test set if the folder has it (test_dataset.csv); parameters were tuned on dataset04 alone, and what
the test set says of the attacks is used for its figures only. S = 0.5 S_TTD + 0.5 S_CLF with S_TTD = 1 -
mean(time to detection / length of the attack) and S_CLF = (true positive rate + true negative rate) / 2
(Taormina et al., J. Water Resour. Plan. Manage. 144(8), 2018). A false episode is a run of alarms that
meets no attack; it is also given for 70 days without attack. PMS_BENCH_OUT keeps the predictions.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row
from benchmarks.asset_model import Fleet, S, data, model
from pms_iot.detection.spec import DetectorSpec

LEARNING, TEST = ("dataset03.csv", "dataset04.csv"), "test_dataset.csv"
DAY_S, HOUR_S = 86_400.0, 3600.0
# Tank levels swing with the day, so they are judged by what the network does, not by where they were.
PARAMS = {"limit": 0.0, "learn": 30 * DAY_S, "refit": 7 * DAY_S, "freeze": 10 * DAY_S}

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """at: ns. value: (rows, tags). attack: whether one was under way; None if that is not said."""

    tags: list[str]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    attack: Mask | None


def read(file: Path) -> Table:
    with file.open(newline="") as lines:
        header, *rows = list(csv.reader(lines, skipinitialspace=True))
    when = [datetime.strptime(row[0], "%d/%m/%y %H").replace(tzinfo=UTC) for row in rows]
    is_labelled = header[-1].strip() == "ATT_FLAG"
    tags = [tag.strip() for tag in header[1 : len(header) - is_labelled]]
    value = np.array([[float(x) for x in row[1:]] for row in rows])
    at = np.array([round(t.timestamp()) for t in when]) * S
    attack = value[:, -1] > 0 if is_labelled else None
    return Table(tags, at, value[:, : len(tags)], attack)


def spec(tags: list[str]) -> DetectorSpec:
    """Pumps and valves (`S_…`) are states, all other tags are judged."""
    points = {tag: "bool" if tag.startswith("S_") else "number" for tag in tags}
    return model(points, period_s=HOUR_S, warmup_s=100 * HOUR_S, params=PARAMS)


def score(alarm: Mask, attack: Mask) -> tuple[float, float, float, int]:
    """(S, S_TTD, S_CLF, attacks found)."""
    late: list[float] = []
    for part in _runs(attack):
        found = np.flatnonzero(alarm[part])
        late.append(found[0] / len(part) if len(found) else 1.0)
    ttd = 1 - float(np.mean(late))
    clf = (alarm[attack].mean() + (~alarm[~attack]).mean()) / 2
    return (ttd + clf) / 2, ttd, float(clf), sum(x < 1 for x in late)


def false_episodes(alarm: Mask, attack: Mask) -> int:
    return sum(not attack[part].any() for part in _runs(alarm))


def _runs(mask: Mask) -> Iterator[NDArray[np.intp]]:
    where = np.flatnonzero(mask)
    if len(where):
        yield from np.split(where, np.flatnonzero(np.diff(where) > 1) + 1)


def run() -> list[Row]:
    folder = data("BATADAL")
    names = [name for name in (*LEARNING, TEST) if (folder / name).exists()]
    tables = {name: read(folder / name) for name in names}
    fleet = Fleet(spec(tables[LEARNING[0]].tags), ["C-Town"])
    rows: list[Row] = []
    for name, table in tables.items():
        scores = fleet.detectors.update(fleet.batch("C-Town", table.at, table.value))
        alarm = fleet.alarms("C-Town", scores, table.at)
        if "PMS_BENCH_OUT" in os.environ:
            out = Path(os.environ["PMS_BENCH_OUT"]) / "batadal" / name
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("prediction\n" + "".join(f"{int(on)}\n" for on in alarm))
        rows += _rows(name.removesuffix(".csv"), alarm, table.attack)
    return rows


def _rows(name: str, alarm: Mask, attack: Mask | None) -> Iterator[Row]:
    what, who = f"BATADAL {name}", "pms_iot"
    if attack is None:
        yield Row(f"{what}, alarm episodes", who, sum(1 for _ in _runs(alarm)), "episodes")
        return
    if attack.any():
        s, ttd, clf, found = score(alarm, attack)
        yield Row(f"{what}, S x 1000", who, 1000 * s, "")
        yield Row(f"{what}, S_TTD x 1000", who, 1000 * ttd, "")
        yield Row(f"{what}, S_CLF x 1000", who, 1000 * clf, "")
        yield Row(f"{what}, attacks found", who, found, f"of {sum(1 for _ in _runs(attack))}")
    episodes, free_days = false_episodes(alarm, attack), (~attack).sum() / 24
    yield Row(f"{what}, false episodes", who, episodes, f"in {free_days:.0f} days")
    yield Row(f"{what}, false episodes", who, 70 * episodes / free_days, "in 70 days")
