"""The two efforts, and a run over all kinds."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
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
        counted_days=(1, 8),
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
    "drainage_pump": ("check_valve", "ragging", "seal_leak"),
    "fire_panel": ("fire_alarm", "ground_fault", "loop_short", "valve_closed"),
}
KINDS = tuple(SHORT)


packs = cache(lambda: load_packs(rules_root()))


def cases_of(kind: str, effort: str) -> list[FaultCase]:
    cases = [case for case in load_cases(packs()) if case.kind == kind]
    return [case for case in cases if effort == "full" or case.name in SHORT[kind]]


def run_one(kind: str, effort: str) -> KindReport:
    """The report of one kind."""
    return report_kind(run_kind(packs()[kind], cases_of(kind, effort), EFFORTS[effort]))


def run_all(kinds: Iterable[str], effort: str, jobs: int) -> Report:
    """The reports of these kinds, `jobs` processes at a time."""
    kinds = list(kinds)
    if jobs == 1:
        return {kind: run_one(kind, effort) for kind in kinds}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return dict(zip(kinds, pool.map(run_one, kinds, [effort] * len(kinds)), strict=True))
