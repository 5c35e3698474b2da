"""Derived points, detectors, rules and the watch over silence of 1,000 healthy lifts under the real rule pack.

µs of CPU time per sample. A gateway reads 20 points of 50 lifts each second; a batch is what came of
one gateway, so one of 10,000 samples is ten seconds of it. Doors and trips come and go.
"""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.derived.derived import Derived
from pms_iot.detection.detectors import Detectors
from pms_iot.rulepacks import RulePack, load_packs, rules_root
from pms_iot.telemetry.batch import Batch

LIFTS, OF_GATEWAY = 1000, 50
T0, S = 1_767_225_600_000_000_000, 1_000_000_000
WARM_S, REPEATS = 4, 3
CODES = {"mains": 1, "mode": 1, "safety_chain": 1, "fault_code": 0, "alarm_button": 0}
NUMBERS = {
    "motor_temp": (40.0, 0.5),
    "car_vib": (4.0, 0.4),
    "door_open_t": (2.5, 0.05),
    "door_close_t": (3.0, 0.05),
    "brake_release_ms": (200.0, 3.0),
    "dc_bus": (540.0, 1.0),
    "level_err": (2.0, 0.5),
    "motor_current": (12.0, 1.0),
    "load": (20.0, 1.0),
}
TRIP = ("run", "occupied", "door_zone", "door_open", "door_closed", "door_state")
POINTS = (*CODES, *NUMBERS, *TRIP)


class Fleet:
    """The lifts as a catalog: the points measured and those that the detectors make of them."""

    generation = 1

    def __init__(self, pack: RulePack) -> None:
        derived = [point.key for point in pack.points.values() if point.derived]
        self._infos = [
            SeriesInfo.of(
                pack.points[key],
                id=len(POINTS) * lift + nth + 1 if nth < len(POINTS) else self._score(lift, nth),
                asset_id=lift + 1,
                asset=f"EL-{lift:04}",
                site="riverside",
                kind=pack.kind,
            )
            for lift in range(LIFTS)
            for nth, key in enumerate([*POINTS, *derived])
        ]

    def all(self) -> list[SeriesInfo]:
        return self._infos

    @staticmethod
    def _score(lift: int, nth: int) -> int:
        return len(POINTS) * LIFTS + LIFTS * (nth - len(POINTS)) + lift + 1


class Judges:
    """What the pipeline asks of each batch, and the CPU time that each part has taken."""

    parts = ("derived", "detectors", "rules", "silence")

    def __init__(self) -> None:
        pack = load_packs(rules_root())["elevator"]
        fleet = Fleet(pack)
        self.derived = Derived({pack.kind: pack.derived}, fleet)
        self.detectors = Detectors({pack.kind: pack.detectors}, fleet, {"riverside": "Asia/Tokyo"})
        self.rules = RuleEngine(pack.rules, fleet)
        self.silence = SilenceWatch(pack.rules, fleet)

    def take(self, gateway: int, batch: Batch) -> tuple[float, float, float, float]:
        """CPU seconds of each of `parts` for a batch."""
        began = time.process_time()
        derived = self.derived.update(batch)
        joined = Batch.concat([batch, derived])
        computed = time.process_time()
        scores = self.detectors.update(joined)
        scored = time.process_time()
        self.silence.heard(f"gw-{gateway}", batch)
        heard = time.process_time()
        self.rules.update(Batch.concat([joined, scores]))
        judged = time.process_time()
        return computed - began, scored - computed, judged - heard, heard - scored


def run() -> list[Row]:
    return [row for seconds in (1, 10, 30) for row in _rows(seconds)]


def _rows(seconds: int) -> list[Row]:
    judges = Judges()
    for gateway, batch in batches(0, WARM_S):
        judges.take(gateway, batch)
    took = {part: list[float]() for part in (*judges.parts, "all")}
    for repeat in range(REPEATS):
        spent, n = np.zeros(4), 0
        for gateway, batch in batches(WARM_S + repeat * seconds, seconds):
            spent += judges.take(gateway, batch)
            n += len(batch)
        for part, cpu_s in zip(took, (*spent.tolist(), float(spent.sum())), strict=True):
            took[part].append(1e9 * cpu_s / n)
    what = f"judge batches of {1000 * seconds:,} samples"
    return [Row(what, part, median(each), "ns of CPU per sample") for part, each in took.items()]


def batches(start_s: int, seconds: int) -> Iterator[tuple[int, Batch]]:
    """One batch of each gateway: all reads of these seconds, in the order in which they come."""
    lifts = np.arange(OF_GATEWAY)
    for gateway in range(LIFTS // OF_GATEWAY):
        reads = [_read(gateway * OF_GATEWAY + lifts, start_s + s) for s in range(seconds)]
        first = gateway * OF_GATEWAY * len(POINTS) + 1
        series = first + np.arange(OF_GATEWAY * len(POINTS))
        at = T0 + (start_s + np.repeat(np.arange(seconds), len(series))) * S
        yield gateway, Batch.of(np.tile(series, seconds), at, np.concatenate(reads))


def _read(lifts: NDArray[np.int64], second: int) -> NDArray[np.float64]:
    """All points of these lifts: a trip of 25 s, then 15 s at a floor with doors open for 8 of them."""
    noise = np.random.default_rng(second * LIFTS + int(lifts[0]))
    values = np.empty((len(lifts), len(POINTS)))
    values[:, : len(CODES)] = list(CODES.values())
    for nth, (mean, sd) in enumerate(NUMBERS.values(), len(CODES)):
        values[:, nth] = noise.normal(mean, sd, len(lifts)).round(3)
    phase = (second + 7 * lifts) % 40
    running, opened = phase < 25, (phase >= 29) & (phase < 37)
    moves = np.where((phase >= 27) & (phase < 29), 7, np.where((phase >= 37) & (phase < 39), 6, 0))
    trip = (running, lifts % 3 == 0, ~running, opened, ~opened, moves)
    values[:, len(CODES) + len(NUMBERS) :] = np.column_stack(trip)
    return values.ravel()
