"""kill -9 at random, full disks, mute links and lying devices: nothing lost, nothing twice, nothing wrong.

`make chaos` runs it long; `make test` runs a short one. Knobs: CHAOS_KILLS, CHAOS_SECONDS, CHAOS_SEED.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.chaos.disk import Disk, disk_in
from tests.chaos.ledger import End, Sample, Verdict, judge, read_ledger
from tests.chaos.plant import FLUSH_S, KILLABLE, Plant, asset_of, plant
from tests.chaos.spooled import values_in
from tests.servers import wait_for

KILLS = int(os.environ.get("CHAOS_KILLS", "10"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LONG = KILLS >= 50

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.xdist_group("e2e")]

# From the reply to the commit: the flush, and a commit that a busy disk and a busy machine hold up.
COMMIT_S = FLUSH_S + 3.0
FULL, WELL = "spool cannot be written", "spool can be written again"
ALL_GOOD = {"seed": SEED, "evil_share": 0.0, "oddities": False}
STOP_S = 0.5  # an orderly end gives up only the poll in progress


def test_nothing_is_lost_doubled_or_wrong(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    with (
        disk_in(tmp_path / "disk", megabytes=16) as disk,
        plant(tmp_path / "plant", seed=SEED, spool=disk.folder) as running,
    ):
        kill_at_random(running, dice, KILLS, SECONDS)
        fill_disk_for_a_while(running, disk)
        mute_link(running, 40.0 if LONG else 2.0)
        running.stop_agent()
        running.start("agent")
        finish(running)
        check(running)


@pytest.mark.skipif(not LONG, reason="a minute each; `make chaos` runs them")
def test_what_a_long_full_disk_costs_is_announced(tmp_path: Path) -> None:
    with (
        disk_in(tmp_path / "disk", megabytes=8) as disk,
        plant(tmp_path / "plant", spool=disk.folder, **ALL_GOOD, flush_s=0.02) as running,
    ):
        with disk.full(running.servers["agent"]):
            running.kill("broker")
            wait_for(lambda: FULL in running.log_of("agent"), "a full disk", 60, 0.1)
            time.sleep(30)  # 512 batches fit into memory
        running.start("broker")
        wait_for(lambda: WELL in running.log_of("agent"), "space again", 60, 0.1)
        finish(running)
        check_announced(running, "disk_full")


@pytest.mark.skipif(not LONG, reason="a minute each; `make chaos` runs them")
def test_what_an_outage_longer_than_the_spool_costs_is_announced(tmp_path: Path) -> None:
    with plant(tmp_path / "plant", spool=tmp_path, **ALL_GOOD, spool_mb=0.1) as running:
        running.kill("broker")
        wait_for(lambda: "spool_evictions" in running.log_of("agent"), "evictions", 120, 0.1)
        time.sleep(10)
        running.start("broker")
        finish(running)
        check_announced(running, "evicted")


def kill_at_random(running: Plant, dice: random.Random, kills: int, seconds: float) -> None:
    """Spread over the time; half of what comes up again may be hit before it is up."""
    pace_s, begin = seconds / kills, time.monotonic()
    for number in range(1, kills + 1):
        name = dice.choice(KILLABLE)
        running.kill(name)
        time.sleep(pace_s * dice.uniform(0.0, 0.3))
        running.start(name, wait=dice.random() < 0.5)
        due_s = pace_s * (number + dice.uniform(-0.3, 0.0))
        time.sleep(max(0.0, begin + due_s - time.monotonic()))
    for name in KILLABLE:
        running.wait(name)


def fill_disk_for_a_while(running: Plant, disk: Disk) -> None:
    """Short enough for memory to hold what is read meanwhile. Without a broker nothing frees room."""
    running.kill("broker")
    said, well = (running.log_of("agent").count(text) for text in (FULL, WELL))
    with disk.full(running.servers["agent"]):
        wait_for(lambda: running.log_of("agent").count(FULL) > said, "a full disk", 60, 0.1)
        time.sleep(2)
    running.start("broker")
    wait_for(lambda: running.log_of("agent").count(WELL) > well, "space again", 60, 0.1)


def mute_link(running: Plant, seconds: float) -> None:
    running.proxy.stalled = True
    time.sleep(seconds)
    running.proxy.stalled = False


def finish(running: Plant) -> None:
    """No more readings; then everything that waits must arrive."""
    running.servers["device"].kill()
    running.device_ended_ns = time.time_ns()
    wait_for(running.drained, "an empty spool", 180, 0.5)
    running.stop_agent()
    running.servers["engine"].stop()


def check(running: Plant) -> None:
    served, did = read_ledger(running.ledger)
    stored = measured(running)
    verdict = judge(served, stored, ends_of(running))
    spooled, missing = committed_but_missing(running, stored)
    print(table(running, verdict, did, spooled, len(missing)))
    assert verdict.stored > 1000
    assert (verdict.wrong, verdict.duplicated, verdict.lost, missing) == ([], [], [], [])
    # Each sample was committed by one batch, no batch was skipped, none was set aside.
    counted = "select sum(samples), sum(skipped) from watermark where lane = 'data'"
    assert running.core_rows(counted) == [(sum(1 for _ in running.stored()), 0)]
    assert running.core_rows("select * from quarantined_message") == []


def measured(running: Plant) -> list[Sample]:
    """What is stored, without what was marked bad."""
    return [
        Sample(int(asset[2:]), int(point[1:]), at, value)
        for asset, point, at, value, _ in running.stored()
        if value is not None and point != "hole"
    ]


def check_announced(running: Plant, cause: str) -> None:
    """Nothing else happened, so what is missing is as much as the gap records say."""
    served, did = read_ledger(running.ledger)
    verdict = judge(served, measured(running), ends_of(running))
    gaps = running.core_rows(
        "select cause, lane, sum(samples) from telemetry_gap group by cause, lane"
    )
    print(table(running, verdict, did, 0, 0), f"announced {gaps}", sep="\n")
    assert len(verdict.lost) > 1000
    assert (verdict.wrong, verdict.duplicated) == ([], [])
    assert gaps == [(cause, "data", len(verdict.lost))]


def committed_but_missing(running: Plant, stored: list[Sample]) -> tuple[int, list[object]]:
    """How many values the kills found in the spool, and those of them that the engine has not."""
    known = {(asset_of(s.unit), f"r{s.point}", s.at_ns, s.value) for s in stored}
    spooled = [v for life in running.lives if life.spool for v in values_in(life.spool)]
    return len(spooled), [value for value in spooled if value not in known]


def ends_of(running: Plant) -> list[End]:
    """What ended a run of the agent: a kill, SIGTERM, or at last the end of the device."""
    begins = [life.began_ns for life in running.lives[1:]] + [float("inf")]
    ends = [
        End(life.ended_ns, began, COMMIT_S if life.spool else STOP_S)
        for life, began in zip(running.lives, begins, strict=True)
    ]
    ends[-1] = ends[-1]._replace(at_ns=running.device_ended_ns)
    return ends


def table(running: Plant, verdict: Verdict, did: dict[str, int], spooled: int, missing: int) -> str:
    flight = f"{len(verdict.in_flight)} (at most {verdict.oldest_in_flight_s:.2f} s before a kill)"
    resent = running.core_rows("select sum(duplicates) from watermark")[0][0]
    rows = {
        "seed": SEED,
        "kill -9": ", ".join(f"{name} {n}" for name, n in running.kills.items()),
        "bad replies": ", ".join(f"{w} {n}" for w, n in sorted(did.items()) if w != "good"),
        "values served": verdict.served,
        "values stored": verdict.stored,
        "in flight at an end": flight,
        "found in the spool at kills": spooled,
        "of these missing": missing,
        "lost": len(verdict.lost),
        "duplicated": len(verdict.duplicated),
        "wrong": len(verdict.wrong),
        "wrong came with": ", ".join(sorted(origins(running, verdict))) or "-",
        "batches sent again": resent,
        "windows sent again": running.reports.total("resends"),
    }
    return "\n" + "\n".join(f"{name:28} {value}" for name, value in rows.items())


def origins(running: Plant, verdict: Verdict) -> set[str]:
    """What the device did to a unit just before a wrong value was read from it."""
    done: dict[int, list[tuple[int, str]]] = {}
    for line in running.ledger.read_text().splitlines():
        at_ns, what, unit, *_ = line.split()
        done.setdefault(int(unit), []).append((int(at_ns), what))
    return {
        max((entry for entry in done[s.unit] if entry[0] <= s.at_ns), default=(0, "nothing"))[1]
        for s in verdict.wrong
    }
