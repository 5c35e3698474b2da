"""Forecasts on the simulated machines: how often the true day of crossing lies in the 80 % interval.

Every fault of the simulators' catalogue that grows (by a ramp or exponentially) and has a forecast in the
rule packs, at three severities, several seeds; machines without faults for a year. The truth is the fault's
law without noise. Machines are stepped coarsely: what is forecast depends on the law, on the trips of a
lift and on where a pump's control settles, not on the seconds between. PMS_BENCH_SEEDS: seeds (3).
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median
from zoneinfo import ZoneInfo

import numpy as np
from pms_simulators.clock import LocalCalendar
from pms_simulators.device import MACHINES
from pms_simulators.faults import Exponential, Fault, FaultPlan, Law, Ramp
from pms_simulators.machines.machine import Machine, Placement
from pms_simulators.registers import Meter

from benchmarks import Row
from pms_iot.detection.detectors import Detectors
from pms_iot.rulepacks import RulePack, load_packs, rules_root
from pms_iot.rulepacks.rehearsal import PackCatalog
from pms_iot.telemetry.batch import Batch

DAY_S, NS = 86_400.0, 1_000_000_000
START_NS = 1_767_225_600 * NS
SEVERITIES = (0.3, 0.7, 1.0)
PLAN_DAYS = 14.0  # below which the packs' rules open an order
QUIET_DAYS = 365.0


@dataclass(frozen=True)
class Worn:
    """A fault and a point that shows it: the point's true value at a level of the fault."""

    fault: str
    point: str
    truth: Callable[[float], float]


@dataclass(frozen=True)
class Kind:
    """How a kind of machine is run: seconds between reads, steps of a second before each."""

    name: str
    every_s: float
    settle: int
    laws: Mapping[str, Callable[[float], Law]]  # fault -> its law, given a number from 0 to 1
    worn: Sequence[Worn]


def _ramp(least: float, most: float) -> Callable[[float], Law]:
    return lambda u: Ramp((least + u * (most - least)) * DAY_S)


def _exponential(least: float, most: float) -> Callable[[float], Law]:
    return lambda u: Exponential((least + u * (most - least)) * DAY_S)


KINDS = (
    Kind(
        "elevator",
        900.0,
        0,
        {
            "brake_wear": _ramp(60, 180),
            "rope_slip": _ramp(60, 120),
            "level_drift": _ramp(20, 60),
            "guide_wear": _ramp(80, 160),
            "door_wear": _ramp(30, 90),
        },
        (
            Worn("brake_wear", "brake_slip", lambda s: 1 + 14 * s),
            Worn("brake_wear", "brake_release_ms", lambda s: 220 + 200 * s),
            Worn("brake_wear", "brake_apply_ms", lambda s: 170 + 150 * s),
            Worn("rope_slip", "rope_slip", lambda s: 2 + 28 * s),
            Worn("level_drift", "level_err", lambda s: 35 * s),
            Worn("guide_wear", "car_vib", lambda s: 8 + 27 * s),
            Worn("door_wear", "door_open_t", lambda s: 2.6 * (1 + 0.8 * s)),
            Worn("door_wear", "door_close_t", lambda s: 3.2 * (1 + 0.8 * s)),
        ),
    ),
    Kind(
        "booster_set",
        1800.0,
        15,
        {"bearing": _exponential(15, 40)},
        (
            Worn("bearing", "p1_hf_g", lambda s: 0.12 * (1 + 10 * s)),
            # 0.9 + n² / 2, where n² is 0.7 on average of a day.
            Worn("bearing", "p1_vib_z", lambda s: 1.25 + 15 * max(0.0, s - 0.5)),
        ),
    ),
    Kind(
        "drainage_pump",
        1800.0,
        1,
        {"seal_leak": _ramp(10, 40)},
        (Worn("seal_leak", "p1_seal_kohm", lambda s: 490 * (10 / 500) ** s),),
    ),
    Kind(
        "fire_pump",
        1800.0,
        15,
        {"weak_battery": _ramp(40, 120)},
        (Worn("weak_battery", "diesel_batt_a", lambda s: 25.8 - 3.4 * s),),
    ),
    Kind(
        "fire_panel",
        1800.0,
        1,
        {"battery_low": _ramp(60, 180), "ground_fault": _ramp(20, 60)},
        (
            Worn("battery_low", "batt_mohm", lambda s: 28 * (1 + 2 * s)),
            Worn("ground_fault", "earth_kohm", lambda s: 900 * (5 / 1000) ** s),
        ),
    ),
)


@dataclass
class Tally:
    """What became of the forecasts of one point."""

    crossings: int = 0
    told: int = 0  # crossings with a forecast before them
    inside: list[bool] = field(default_factory=list[bool])  # every forecast before the crossing
    planned: list[bool] = field(default_factory=list[bool])  # that which opens the order
    lead: list[float] = field(default_factory=list[float])  # days from the first forecast to it
    error: list[float] = field(default_factory=list[float])  # days, of that which opens the order
    short: int = 0  # faults that end before the limit
    short_planned: int = 0  # and an order nevertheless


def run() -> list[Row]:
    seeds = range(1, int(os.environ.get("PMS_BENCH_SEEDS", "3")) + 1)
    packs = load_packs(rules_root())
    tallies: dict[str, Tally] = defaultdict(Tally)
    quiet = [0.0, 0.0, 0.0]  # sensor-years, episodes, orders
    for kind in KINDS:
        pack = packs[kind.name]
        for seed in seeds:
            for severity in SEVERITIES:
                _with_faults(kind, pack, seed, severity, tallies)
            years, episodes, orders = _without(kind, pack, seed)
            quiet = [quiet[0] + years, quiet[1] + episodes, quiet[2] + orders]
    rows = [row for name, tally in tallies.items() for row in _rows(name, tally)]
    rows += _rows("all", _sum(tallies.values()))
    rows.append(
        Row(
            "false forecasts, no fault",
            "per sensor-year × 1000",
            1000 * quiet[1] / quiet[0],
            f"in {quiet[0]:.0f} sensor-years",
        )
    )
    rows.append(
        Row(
            "false orders, no fault",
            "per sensor-year × 1000",
            1000 * quiet[2] / quiet[0],
            f"in {quiet[0]:.0f} sensor-years",
        )
    )
    return rows


def _rows(name: str, tally: Tally) -> list[Row]:
    def share(found: Sequence[bool]) -> float:
        return 100 * mean(found) if found else math.nan

    return [
        Row(f"{name}: crossings forecast", "of all", 100 * tally.told / max(tally.crossings, 1), f"% of {tally.crossings}"),
        Row(f"{name}: inside the interval", "all forecasts (nominal 80)", share(tally.inside), f"% of {len(tally.inside)}"),
        Row(f"{name}: inside the interval", "at the order (nominal 80)", share(tally.planned), f"% of {len(tally.planned)}"),
        Row(f"{name}: median lead", "first forecast", median(tally.lead) if tally.lead else math.nan, "days"),
        Row(f"{name}: orders for what ends short", "of those faults", float(tally.short_planned), f"of {tally.short}"),
    ]  # fmt: skip


def _sum(tallies) -> Tally:
    total = Tally()
    for each in tallies:
        for name, value in vars(each).items():
            setattr(total, name, getattr(total, name) + value)
    return total


def _with_faults(
    kind: Kind, pack: RulePack, seed: int, severity: float, tallies: dict[str, Tally]
) -> None:
    """All faults of the kind at once, for each shows in points of its own."""
    random = np.random.default_rng([seed, round(severity * 10), len(kind.name)])
    faults: dict[str, Fault] = {}
    for name, law in kind.laws.items():
        onset = random.uniform(20, 40) * DAY_S
        faults[name] = Fault(name, onset, math.inf, severity, law(random.uniform()))
    limits = {p.key: (s.limit, s.rising) for s in _specs(pack) for p in s.points}
    crossed = {
        worn.point: _crossing(faults[worn.fault], worn, *limits[worn.point]) for worn in kind.worn
    }
    ends = [day for day in crossed.values() if day is not None]
    ends += [(f.onset_s + _grown_s(f.law)) / DAY_S + 5 for f in faults.values()]
    found = forecasts(kind, pack, seed, list(faults.values()), max(ends) + 1)
    for worn in kind.worn:
        _judge(tallies[f"{worn.fault}, {worn.point}"], found[worn.point], crossed[worn.point])


def _grown_s(law: Law) -> float:
    return (
        law.rise_s
        if isinstance(law, Ramp)
        else 3.92 * law.tau_s
        if isinstance(law, Exponential)
        else 0.0
    )


def _crossing(fault: Fault, worn: Worn, limit: float, rising: bool) -> float | None:
    """The day on which the law without noise first reaches the limit."""
    t = fault.onset_s + np.arange(0, _grown_s(fault.law) + DAY_S, 900.0)
    value = np.array([worn.truth(fault.level(at)) for at in t.tolist()])
    beyond = value >= limit if rising else value <= limit
    return float(t[np.argmax(beyond)]) / DAY_S if beyond.any() else None


Forecasts = list[tuple[float, float, float, float]]  # day, days_left, days_lo, days_hi


def _judge(tally: Tally, found: Forecasts, crosses: float | None) -> None:
    horizon = 90.0
    told = [each for each in found if each[1] < horizon]
    order = _order(told)
    if crosses is None:
        tally.short += 1
        tally.short_planned += order is not None
        return
    tally.crossings += 1
    told = [each for each in told if each[0] < crosses]
    if not told:
        return
    tally.told += 1
    tally.lead.append(crosses - told[0][0])
    tally.inside += [low <= crosses - day <= high for day, _, low, high in told]
    if order is not None and order[0] < crosses:
        day, left, low, high = order
        tally.planned.append(low <= crosses - day <= high)
        tally.error.append(left - (crosses - day))


def _order(told: Forecasts) -> tuple[float, float, float, float] | None:
    """The forecast that opens an order: the second in a row below the rules' limit (`for: 6h`)."""
    pairs = pairwise(told)
    return next((b for a, b in pairs if a[1] < PLAN_DAYS and b[1] < PLAN_DAYS), None)


def _without(kind: Kind, pack: RulePack, seed: int) -> tuple[float, int, int]:
    """Sensor-years, forecasts that began, forecasts that would have opened an order."""
    found = forecasts(kind, pack, 100 + seed, [], QUIET_DAYS)
    episodes = orders = 0
    for each in found.values():
        days = np.array([day for day, left, _, _ in each if left < 90.0])
        episodes += int(len(days) > 0) + int((np.diff(days) > 1).sum())
        orders += _order(each) is not None
    return len(found) * QUIET_DAYS / 365.0, episodes, orders


def _specs(pack: RulePack):
    return [spec for spec in pack.detectors if spec.detector == "forecast"]


def forecasts(
    kind: Kind, pack: RulePack, seed: int, faults: Sequence[Fault], days: float
) -> dict[str, Forecasts]:
    """Point -> what the product's detectors say of it while the machine runs."""
    specs = _specs(pack)
    catalog = PackCatalog(pack, "BENCH")
    batch = _samples(kind, catalog, seed, faults, days, pack)
    scores = Detectors({pack.kind: specs}, catalog).update(batch)
    found: dict[str, Forecasts] = {}
    for point in (p.key for spec in specs for p in spec.points):
        left, low, high = (
            scores.take(scores.series == catalog.ids[f"{point}.{end}"])
            for end in ("days_left", "days_lo", "days_hi")
        )
        day = (left.at - START_NS) / (NS * DAY_S)
        found[point] = list(
            zip(
                day.tolist(),
                left.value.tolist(),
                low.value.tolist(),
                high.value.tolist(),
                strict=True,
            )
        )
    return found


def _samples(
    kind: Kind,
    catalog: PackCatalog,
    seed: int,
    faults: Sequence[Fault],
    days: float,
    pack: RulePack,
) -> Batch:
    """What the sensors say of the points that the forecasts look at, gates included."""
    wanted = {p.key for spec in _specs(pack) for p in spec.points}
    wanted |= {gate.point for spec in _specs(pack) for gate in spec.when}
    calendar = LocalCalendar(START_NS, ZoneInfo("Asia/Shanghai"))
    place = Placement("BENCH", seed, FaultPlan(faults), calendar)
    machine: Machine = MACHINES[kind.name](place, 0.0)
    fields = tuple(f for f in machine.fields if f.key in wanted)
    meter = Meter(fields, seed, "BENCH")
    ids = [catalog.ids[f.key] for f in fields]
    at, values = [], []
    for k in range(1, int(days * DAY_S / kind.every_s)):
        t = k * kind.every_s
        for settling in range(kind.settle, -1, -1):
            machine.step(t - settling)
        at.append(START_NS + int(t * NS))
        values.append(
            [raw * f.scale for f, raw in meter.raws(machine.values(), machine.frozen(), int(t))]
        )
    times = np.repeat(np.array(at, np.int64), len(ids))
    return Batch.of(np.tile(ids, len(at)), times, np.array(values).ravel())
