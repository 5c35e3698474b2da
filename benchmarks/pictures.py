"""The two pictures of docs/detection.md: `python -m benchmarks.pictures [folder]`; needs matplotlib.

fault.svg: a lift whose brake wears out, what the detector expected of it, and when the alerts came.
nab.svg: windows of NAB found against false alarms; left out where the data or the scores are missing.
The same input gives the same bytes.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from pms_simulators.clock import NS, LocalCalendar
from pms_simulators.device import SimulatedDevice
from pms_simulators.faults import Fault, FaultPlan, Ramp
from pms_simulators.machines.machine import Placement

from benchmarks.fault_bench.catalogue import load_cases
from benchmarks.fault_bench.fleet import START_NS, ZONE, learned_points
from benchmarks.fault_bench.sampling import Grid, Reader
from pms_iot.alerts.transition import Transition
from pms_iot.rulepacks import load_packs, rules_root
from pms_iot.rulepacks.rehearsal import SITE, PackCatalog, Rehearsal
from pms_iot.telemetry.batch import Batch

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "detection"
KIND, POINT, FAULT = "elevator", "brake_release_ms", "brake_wear"
DAY_S = 86400
LEARN_DAYS, RISE_DAYS, SHOWN_DAYS = 14, 6, 10  # a wear of 120 days, twenty times as fast
GRID = Grid(10, 60)
BUCKET_H = 2
APART_DAYS = 0.35  # closer alerts have their numbers one below the other
# Windows found of 116 at one false alarm per sensor-month over all 58 files, best threshold of each.
PUBLISHED, ALL_WINDOWS = {"Numenta HTM": 68, "CAD-OSE": 63, "ARTime": 62}, 116
STYLE = {
    "svg.hashsalt": "pms_iot",
    "svg.fonttype": "none",  # words stay words: the reader's fonts have both scripts
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.figsize": (7.2, 3.4),
    "figure.constrained_layout.use": True,
}


class Trace(NamedTuple):
    """Samples of one point: days since the start, and values."""

    day: NDArray[np.float64]
    value: NDArray[np.float64]


class Range(NamedTuple):
    """Least and greatest value of each bucket, which begins at `day`."""

    day: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", "Glyph .* missing")  # only measured here, drawn by the reader
    with mpl.rc_context(STYLE):
        draw_fault(folder / "fault.svg")
        rows = nab_rows()
        if rows is not None:
            draw_nab(rows, folder / "nab.svg")


def draw_fault(file: Path) -> None:
    samples, alerts = play_fault()
    figure, axes = plt.subplots(figsize=(7.2, 5.6))
    seen, low, high = (thin(samples[key]) for key in (POINT, f"{POINT}.lo", f"{POINT}.hi"))
    begin = LEARN_DAYS + RISE_DAYS - SHOWN_DAYS
    axes.fill_between(
        low.day, low.least, high.most, color="#c9d8e6", step="post", lw=0, label="预期 expected"
    )
    axes.fill_between(
        seen.day, seen.least, seen.most, color="#334", step="post", lw=0.5, label="实测 seen"
    )
    axes.axvline(LEARN_DAYS, color="#777", ls=":", lw=1, label="磨损开始 wear begins")
    placed_at: list[float] = []
    for nth, alert in enumerate(alerts, start=1):
        day = (alert.at_ns - START_NS) / NS / DAY_S
        label = alert.rule.label
        words = f"{nth}  {label.zh}  {label.en} ({alert.rule.severity})"
        axes.axvline(day, color="#b3261e", lw=1, label=words)
        row = sum(day - earlier < APART_DAYS for earlier in placed_at)  # below its near neighbours
        placed_at.append(day)
        axes.annotate(
            f"{nth} ",
            (day, 0.99 - 0.06 * row),
            xycoords=("data", "axes fraction"),
            color="#b3261e",
            ha="right",
            va="top",
        )
    axes.set(
        xlabel="天 days",
        ylabel="制动器释放时间 brake release time, ms",
        xlim=(begin, LEARN_DAYS + RISE_DAYS),
        title="模拟电梯，制动器逐渐磨损 A simulated lift whose brake wears out",
    )
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    save(figure, file)


def play_fault() -> tuple[dict[str, Trace], list[Transition]]:
    """All samples by point, and the first alert of each rule that is meant for this fault."""
    packs = load_packs(rules_root())
    pack = packs[KIND]
    case = next(c for c in load_cases(packs) if (c.kind, c.name) == (KIND, FAULT))
    meant = {f"{KIND}.{rule}" for rule in (*case.own, *case.related)}
    onset_s = float(LEARN_DAYS * DAY_S)
    fault = Fault(FAULT, onset_s, float("inf"), 1.0, Ramp(RISE_DAYS * DAY_S))
    place = Placement("EL-1", 1, FaultPlan([fault]), LocalCalendar(START_NS, ZoneInfo(ZONE)))
    periods = {p.key: p.period_s or 1.0 for p in pack.points.values() if not p.derived}
    reader = Reader(SimulatedDevice(KIND, place, 0.0), periods, learned_points(pack))
    catalog = PackCatalog(pack, "EL-1")
    rehearsal = Rehearsal(pack, catalog, zones={SITE: ZONE})
    wanted = {catalog.ids[key]: key for key in (POINT, f"{POINT}.lo", f"{POINT}.hi")}
    kept: list[Batch] = []
    first: dict[str, Transition] = {}
    for batch in days(reader, catalog):
        judged = rehearsal.take(batch)
        whole = Batch.concat([batch, judged.scores])
        kept.append(whole.take(np.isin(whole.series, list(wanted))))
        for found in judged.transitions:
            if found.kind == "fired" and found.rule.id in meant:
                first.setdefault(found.rule.id, found)
    whole = Batch.concat(kept)
    traces = {key: _trace(whole.take(whole.series == number)) for number, key in wanted.items()}
    return traces, sorted(first.values(), key=lambda t: t.at_ns)


def days(reader: Reader, catalog: PackCatalog) -> Iterator[Batch]:
    """Day after day of what a gateway would have read."""
    for day in range(LEARN_DAYS + RISE_DAYS):
        columns = reader.read((day + 1) * DAY_S, GRID)
        yield Batch.of(
            np.concatenate([np.full(len(c.at_s), catalog.ids[c.point]) for c in columns]),
            START_NS + np.concatenate([c.at_s for c in columns]).astype(np.int64) * NS,
            np.concatenate([c.value for c in columns]),
        )


def thin(trace: Trace) -> Range:
    """The trace in buckets of BUCKET_H."""
    bucket = np.floor(trace.day * 24 / BUCKET_H).astype(np.int64)
    numbers, starts = np.unique(bucket, return_index=True)
    least, most = (each.reduceat(trace.value, starts) for each in (np.minimum, np.maximum))
    return Range(numbers * BUCKET_H / 24, least, most)


def _trace(batch: Batch) -> Trace:
    return Trace((batch.at - START_NS) / NS / DAY_S, batch.value)


def nab_rows() -> Sequence[tuple[int, int, float, float]] | None:
    """(windows found, windows, false alarms per sensor-month, threshold) per threshold, or None."""
    try:
        nab: Any = import_module("benchmarks.nab")
        folder = nab.data_folder() / "NAB"
        if not folder.is_dir():
            return None
        found = nab.scores(nab.series(folder))
        scorer = nab.scorer("nab_score")
    except ModuleNotFoundError as missing:
        print(f"no picture of NAB: {missing}", file=sys.stderr)
        return None
    labels = sorted(found)
    labelled = (folder / "labels" / "combined_windows.json").read_text(encoding="utf-8")
    windows: dict[str, Any] = json.loads(labelled)
    series = [scorer.Series(folder, name, windows[name]) for name in labels]
    _, rows = scorer.at_false_alarm_caps(series, [found[name] for name in labels])
    return rows


def draw_nab(rows: Sequence[tuple[int, int, float, float]], file: Path) -> None:
    """Our curve over the files at hand; the published detectors as shares of all windows at one false alarm."""
    rates, shares = frontier(rows)
    windows = rows[0][1]
    figure, axes = plt.subplots()
    axes.step(
        rates, shares, where="post", color="#1a5fb4", label=f"pms_iot, {windows} 个窗口 windows"
    )
    for (name, found), colour in zip(
        PUBLISHED.items(), ("#b3261e", "#b37a1e", "#777"), strict=True
    ):
        share = 100 * found / ALL_WINDOWS
        axes.plot(
            [1], [share], "o", ms=5, color=colour, label=f"{name}, {ALL_WINDOWS} 个窗口 windows"
        )
    axes.set(
        xlabel="每传感器每月误报 false alarms per sensor-month",
        ylabel="找到的窗口 windows found, %",
        xscale="log",
        xlim=(0.1, 10),
        ylim=(0, 100),
        title="NAB：找到的窗口与误报 windows found against false alarms",
        xticks=(0.1, 1, 10),
        xticklabels=("0.1", "1", "10"),
    )
    axes.legend(loc="lower right", frameon=False)
    axes.grid(color="#eee")
    save(figure, file)


def frontier(rows: Sequence[tuple[int, int, float, float]]) -> tuple[list[float], list[float]]:
    """Rates in rising order with the share of windows, per cent, that the best threshold up to each finds."""
    rates: list[float] = []
    shares: list[float] = []
    for found, windows, rate, _ in sorted(rows, key=lambda row: (row[2], -row[0])):
        share = 100 * found / windows
        if not shares or share > shares[-1]:
            rates.append(rate)
            shares.append(share)
    return [*rates, max(10.0, *rates)], [*shares, shares[-1]]


def save(figure: Any, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(file)


if __name__ == "__main__":
    main()
