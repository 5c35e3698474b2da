"""All machines of one kind side by side: healthy ones for a month, and one for each fault that it may get.

A healthy machine of each seed is simulated from the start. At `branch_s` every fault takes a copy of
it, so that what was learned before is shared and costs one simulation; from there each copy goes its
own way. All go through one `Rehearsal`: detectors are columnar and take all machines at once.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pms_simulators.clock import NS, LocalCalendar
from pms_simulators.device import SimulatedDevice
from pms_simulators.faults import Fault, FaultPlan
from pms_simulators.machines.machine import Placement
from pms_simulators.signals import stream, uniform

from benchmarks.fault_bench.catalogue import DAY_S, FaultCase
from benchmarks.fault_bench.sampling import Column, Grid, Reader
from benchmarks.fault_bench.shown import CAPS, Record, shown_at
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Transition
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.rulepacks import RulePack
from pms_iot.rulepacks.rehearsal import SITE, PackCatalog, Rehearsal
from pms_iot.telemetry.batch import Batch

ZONE = "Asia/Shanghai"
START_NS = int(datetime(2026, 6, 1, tzinfo=ZoneInfo(ZONE)).timestamp()) * NS  # a Monday
CHUNK_S = 3 * 3600
LEARNED = frozenset({"seasonal", "anomaly", "drift", "model", "forecast"})
STATISTICAL = (".anomaly", ".excess", ".drift", ".share", ".days_left", ".days_lo", ".days_hi")


@dataclass(frozen=True)
class Effort:
    """How much is simulated. Faults begin at 9 h of a working day, after `learn_days` without any.

    counted_days: first and last day of the healthy machines' false alarms. hurry: factor on the
    length of ramps. detail_s: how long after an onset everything that no detector learns from is
    read at its own period.
    """

    learn_days: int
    counted_days: tuple[int, int]
    healthy_seeds: tuple[int, ...]
    fault_seeds: tuple[int, ...]
    severities: tuple[float, ...]
    grid: Grid
    hurry: float = 1.0
    detail_s: int = 1200

    @property
    def branch_s(self) -> int:
        return int(self.learn_days * DAY_S) + 9 * 3600


@dataclass(frozen=True)
class Fired:
    """An alert that began. at_s: simulated seconds; shown_at_s: when people were shown it, infinite if the
    budget held it to the end."""

    rule: str
    at_s: float
    statistical: bool
    shown_at_s: float


@dataclass(frozen=True)
class Outcome:
    """One machine that got a fault, and the alerts that began and were shown between its onset and the end of the
    watch."""

    case: FaultCase
    severity: float
    seed: int
    onset_s: float
    fired: tuple[Fired, ...]


@dataclass(frozen=True)
class KindResult:
    """Of one kind: what became of each fault, and the false alarms of the healthy machines."""

    outcomes: tuple[Outcome, ...]
    false_alarms: tuple[Fired, ...]
    asset_months: float
    samples: int


class _Machine:
    """A device with the numbers of its series."""

    def __init__(self, name: str, device: SimulatedDevice, reader: Reader) -> None:
        self.name, self.device, self.reader = name, device, reader


@dataclass(frozen=True)
class _Trial:
    """A fault to come: from which healthy seed it branches, and when it begins and ends."""

    name: str
    case: FaultCase
    severity: float
    seed: int
    onset_s: float

    @property
    def end_s(self) -> float:
        return self.onset_s + self.case.watch_s

    def plan(self) -> FaultPlan:
        key = stream(self.seed, self.name)
        law = self.case.law(key)
        return FaultPlan([Fault(self.case.name, self.onset_s, math.inf, self.severity, law)])


def run_kind(pack: RulePack, cases: Sequence[FaultCase], effort: Effort) -> KindResult:
    """Plays every case at every severity and seed, and the healthy machines. Deterministic."""
    return _Fleet(pack, [case.hurried(effort.hurry) for case in cases], effort).run()


class _Fleet:
    def __init__(self, pack: RulePack, cases: Sequence[FaultCase], effort: Effort) -> None:
        self._pack, self._effort = pack, effort
        self._trials = list(_trials(cases, effort))
        seeds = sorted({*effort.healthy_seeds, *effort.fault_seeds})
        self._catalog = PackCatalog(
            pack, *(f"H{seed}" for seed in seeds), *(trial.name for trial in self._trials)
        )
        self._rehearsal = Rehearsal(pack, self._catalog, zones={SITE: ZONE}, caps=CAPS)
        self._record = Record(self._catalog.all())
        self._watch = SilenceWatch(pack.rules, self._catalog)
        self._periods = {p.key: p.period_s or 1.0 for p in pack.points.values() if not p.derived}
        self._learned = learned_points(pack)
        self._healthy = {seed: self._machine(f"H{seed}", self._device(seed)) for seed in seeds}
        self._sick: dict[str, _Machine] = {}
        self._learns = {
            rule.id: any(p.endswith(STATISTICAL) for p in rule.points) for rule in pack.rules
        }
        self._samples = 0

    def run(self) -> KindResult:
        effort, last_s = self._effort, self._last_s()
        for begin_s in range(0, last_s, CHUNK_S):
            if begin_s == effort.branch_s:
                self._branch()
            self._judge(list(self._read(begin_s, begin_s + CHUNK_S)), begin_s + CHUNK_S)
        fired = self._all_fired()
        first, last = effort.counted_days
        false = [
            alarm
            for seed in effort.healthy_seeds
            for alarm in fired.get(f"H{seed}", ())
            if first * DAY_S <= alarm.at_s < last * DAY_S
        ]
        months = len(effort.healthy_seeds) * (last - first) / 30
        outcomes = tuple(_outcome(trial, fired.get(trial.name, ())) for trial in self._trials)
        return KindResult(outcomes, tuple(false), months, self._samples)

    def _last_s(self) -> int:
        counted_s = self._effort.counted_days[1] * DAY_S
        end_s = max([counted_s, *(trial.end_s for trial in self._trials)])
        return math.ceil(end_s / CHUNK_S) * CHUNK_S

    def _device(self, seed: int) -> SimulatedDevice:
        calendar = LocalCalendar(START_NS, ZoneInfo(ZONE))
        place = Placement(f"{self._pack.kind}-{seed}", seed, FaultPlan(), calendar)
        return SimulatedDevice(self._pack.kind, place, 0.0)

    def _machine(self, name: str, device: SimulatedDevice) -> _Machine:
        return _Machine(name, device, Reader(device, self._periods, self._learned))

    def _branch(self) -> None:
        for trial in self._trials:
            device = copy.deepcopy(self._healthy[trial.seed].device)
            device.afflict(trial.plan())
            self._sick[trial.name] = self._machine(trial.name, device)

    def _read(self, begin_s: int, end_s: int) -> Iterator[Batch]:
        effort, last_s = self._effort, self._effort.counted_days[1] * DAY_S
        for seed, machine in self._healthy.items():
            ahead = begin_s < effort.branch_s
            if ahead or (seed in effort.healthy_seeds and begin_s < last_s):
                columns = machine.reader.read(end_s, effort.grid)
                yield self._batch(machine.name, columns)
                if ahead:
                    for trial in self._trials:
                        if trial.seed == seed:
                            yield self._batch(trial.name, columns)
        for trial in self._trials:
            if trial.name in self._sick and begin_s < trial.end_s:
                detail_s = trial.onset_s + effort.detail_s
                reader = self._sick[trial.name].reader
                yield self._batch(trial.name, reader.read(end_s, effort.grid, detail_s))

    def _batch(self, asset: str, columns: list[Column]) -> Batch:
        if not columns:
            return Batch.empty()
        ids = self._catalog.ids_of[asset]
        series: list[NDArray[np.int32]] = [
            np.full(len(c.at_s), ids[c.point], np.int32) for c in columns
        ]
        at = START_NS + np.round(np.concatenate([c.at_s for c in columns]) * NS).astype(np.int64)
        return Batch.of(np.concatenate(series), at, np.concatenate([c.value for c in columns]))

    def _judge(self, batches: list[Batch], now_s: float) -> None:
        batch = Batch.concat(batches)
        batch = batch.take(np.argsort(batch.series, kind="stable"))
        self._samples += len(batch)
        found = self._rehearsal.take(batch).transitions
        self._watch.heard(None, batch)
        found += self._watch.check(START_NS + int(now_s) * NS, START_NS)
        self._record.follow(sorted(found, key=_in_time), from_ns(START_NS + int(now_s) * NS))

    def _all_fired(self) -> dict[str, list[Fired]]:
        """By asset, in order of time."""
        names = {info.asset_id: info.asset for info in self._catalog.all()}
        found: dict[str, list[Fired]] = {}
        for alert in self._record.alerts():
            shown = shown_at(alert)
            fired = Fired(
                rule=alert.rule.partition(".")[2],
                at_s=_simulated_s(alert.opened_at),
                statistical=self._learns[alert.rule],
                shown_at_s=math.inf if shown is None else _simulated_s(shown),
            )
            found.setdefault(names[alert.asset_id], []).append(fired)
        return found


def _in_time(transition: Transition) -> tuple[int, str]:
    return transition.at_ns, transition.key


def _simulated_s(at: datetime) -> float:
    return (to_ns(at) - START_NS) / NS


def _outcome(trial: _Trial, fired: Iterable[Fired]) -> Outcome:
    within = tuple(f for f in fired if f.at_s >= trial.onset_s and f.shown_at_s <= trial.end_s)
    return Outcome(trial.case, trial.severity, trial.seed, trial.onset_s, within)


def _trials(cases: Iterable[FaultCase], effort: Effort) -> Iterator[_Trial]:
    """Every fault at every severity and seed; each begins within an hour of the branch."""
    for case in cases:
        for seed in effort.fault_seeds:
            for severity in effort.severities:
                name = f"{case.name}-{severity:g}-{seed}"
                late_s = 60 + math.floor(3540 * uniform(stream(seed, name), 0))
                yield _Trial(name, case, severity, seed, effort.branch_s + late_s)


def learned_points(pack: RulePack) -> frozenset[str]:
    """The points that the pack's learned detectors watch, and those that their gates look at."""
    return frozenset(
        key
        for spec in pack.detectors
        if spec.detector in LEARNED
        for key in [*(p.key for p in spec.points), *(gate.point for gate in spec.when)]
    )
