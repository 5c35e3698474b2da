"""The two efforts, and a run over all kinds."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context

from benchmarks.fault_bench.catalogue import FaultCase, load_cases
from benchmarks.fault_bench.fleet import Effort, run_kind
from benchmarks.fault_bench.report import KindReport, Report, report_kind
from benchmarks.fault_bench.sampling import Grid
from pms_iot.rulepacks import load_packs, rules_root

EFFORTS = {
    "full": Effort(
        learn_days=15,
        counted_days=(14, 44),
        healthy_seeds=(1, 2),
        fault_seeds=(1, 2),
        severities=(0.3, 0.6, 1.0),
        grid=Grid(10, 30),
    ),
    "short": Effort(
        learn_days=3,
        counted_days=(1, 5),
        healthy_seeds=(1,),
        fault_seeds=(1,),
        severities=(1.0,),
        grid=Grid(20, 60),
        hurry=0.25,
        detail_s=600,
    ),
}
SHORT = {
    "elevator": ("brake_wear", "door_obstruction", "entrapment", "uncontrolled_move"),
    "booster_set": ("cavitation", "dry_run", "pipe_burst", "sensor_stuck"),
    "fire_pump": (
        "fail_to_start",
        "jockey_short_cycling",
        "left_in_manual",
        "suction_valve_closed",
    ),
    "drainage_pump": ("check_valve", "dry_run", "ragging"),
    "fire_panel": ("fire_alarm", "ground_fault", "loop_short", "valve_closed"),
}
KINDS = tuple(SHORT)


packs = cache(lambda: load_packs(rules_root()))


def cases_of(kind: str, effort: str) -> list[FaultCase]:
    cases = [case for case in load_cases(packs()) if case.kind == kind]
    return [case for case in cases if effort == "full" or case.name in SHORT[kind]]


def less(
    effort: Effort,
    *,
    seeds: int | None = None,
    days: int | None = None,
    severities: tuple[float, ...] | None = None,
) -> Effort:
    """The effort with so many seeds of healthy machines and of faults, counted days and severities."""
    first, last = effort.counted_days
    return replace(
        effort,
        healthy_seeds=effort.healthy_seeds[:seeds],
        fault_seeds=effort.fault_seeds[:seeds],
        counted_days=(first, last if days is None else first + days),
        severities=severities or effort.severities,
    )


def run_one(kind: str, effort: str, asked: Effort | None = None) -> KindReport:
    """The report of one kind: the cases of that effort, played as it is or as `asked`."""
    result = run_kind(packs()[kind], cases_of(kind, effort), asked or EFFORTS[effort])
    return report_kind(result)


def run_all(kinds: Iterable[str], effort: str, jobs: int, asked: Effort | None = None) -> Report:
    """The reports of these kinds, `jobs` processes at a time."""
    kinds = list(kinds)
    one = partial(run_one, effort=effort, asked=asked)
    if jobs == 1:
        return {kind: one(kind) for kind in kinds}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return dict(zip(kinds, pool.map(one, kinds), strict=True))
