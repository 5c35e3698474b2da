"""kill -9 of the engine and of its store under load: what was acknowledged is stored once, as it was sent.

`make chaos-telemetry` runs it long, as does `make chaos`; `make test` runs a short one. Knobs: CHAOS_KILLS (of each test), CHAOS_SEED.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.bootstrap import open_store
from pms_iot.kernel.clock import SystemClock, from_ns, to_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.ledger.books import HOUR_NS
from pms_iot.telemetry.ledger.days import gateway_days
from pms_iot.telemetry.mirrored import MirroredStore
from pms_iot.telemetry.store import SampleStore
from tests.chaos.telemetry_load import (
    ASSETS,
    HOUR,
    POINTS,
    SAMPLES,
    SITE,
    Columns,
    Load,
    asset_of,
    load,
    point_of,
)
from tests.chaos.telemetry_plant import Engine, engine, wait_until_up
from tests.servers import Server, influx, mosquitto, wait_for

KILLS = int(os.environ.get("CHAOS_KILLS", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LONG = KILLS >= 50
STARTING_S = 1.5  # a kill within so long after the start mostly meets an engine that is not up

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.xdist_group("e2e")]


@dataclass
class Killed:
    """What was killed, and in the midst of what."""

    of: Counter[str] = field(default_factory=Counter[str])

    def __str__(self) -> str:
        return ", ".join(f"{name} {n}" for name, n in sorted(self.of.items()))


def test_killed_engine_with_its_embedded_store(tmp_path: Path) -> None:
    dice, killed = random.Random(SEED), Killed()
    with (
        mosquitto(tmp_path / "broker") as broker,
        engine(tmp_path / "engine", broker.port) as running,
        load(broker.port, dice) as sending,
    ):
        for _ in range(KILLS):
            kill_engine(running, sending, dice, killed)
        finish(running, sending)
        running.kill()  # nothing is left to an orderly end
        check(running, sending)
        print(summary("embedded", running, sending, killed))


def test_killed_engine_and_killed_influxdb(tmp_path: Path) -> None:
    dice, killed = random.Random(SEED + 1), Killed()
    with (
        mosquitto(tmp_path / "broker") as broker,
        influx(tmp_path / "influx") as server,
        server.bucket() as bucket,
        engine(tmp_path / "engine", broker.port, (server, bucket)) as running,
        load(broker.port, dice) as sending,
    ):
        if server.server is None or server.backend is None:
            pytest.skip("needs a server of its own to kill")
        for victim in victims(dice):
            if victim == "engine":
                kill_engine(running, sending, dice, killed)
            else:
                kill_server(server.backend if victim == "influxd" else server.server, dice)
                killed.of[victim] += 1
        finish(running, sending)
        wait_for(running.is_forwarded, "the spool to be empty", 120, 0.1)
        running.kill()
        check(running, sending)
        print(summary("InfluxDB", running, sending, killed))


def test_the_judge_notices_what_is_lost_doubled_or_wrong() -> None:
    at, value = np.arange(4), np.array([1.0, 2.0, np.nan, 4.0])
    truth = Columns(at, value, np.array([192, 64, 0, 192], np.uint8))
    whole = Batch.of(np.ones(4), *truth)
    for found, expected in (
        (whole, Verdict(right=4)),
        (whole.take(at != 1), Verdict(right=3, lost=1)),
        (whole.take(np.array([0, 1, 1, 2, 3])), Verdict(extra=1)),
        (Batch.of(np.ones(4), at, value * 2, truth.quality), Verdict(right=1, wrong=3)),
        (Batch.of(np.ones(4), at, value, np.full(4, 192)), Verdict(right=2, wrong=2)),
        (Batch.of(np.ones(4), at + 1, value, truth.quality), Verdict(lost=1, extra=1, wrong=3)),
    ):
        verdict = Verdict()
        verdict.judge(truth, found)
        assert verdict == expected


# -- what happens ----------------------------------------------------------------------------


def kill_engine(running: Engine, sending: Load, dice: random.Random, killed: Killed) -> None:
    """Once it has taken something in, or while it is still starting; half of the time amid its housekeeping."""
    killed.of["engine"] += 1
    if dice.random() < 0.2:
        dice.choice(sending.gateways).cut()
    if dice.random() < 0.3:
        running.kill()
        running.start(wait=False)
        time.sleep(dice.uniform(0.0, STARTING_S))
        killed.of["engine while starting"] += not running.server.ready()
    else:
        wait_until_up(running)
        before = sending.acked
        wait_for(lambda: sending.acked > before, "an acknowledgement", 60)
        time.sleep(dice.uniform(0.0, 1.0))
        running.note_counters()
        if dice.random() < 0.6:
            wait_for(lambda: running.keeps_house, "housekeeping", 30, 0.002)
            time.sleep(dice.uniform(0.0, 0.05))
        killed.of["engine amid housekeeping"] += running.keeps_house
    running.kill()
    running.start(wait=False)


def victims(dice: random.Random) -> Iterator[str]:
    """As many of each."""
    for number in range(KILLS):
        if number % 3 == 0:
            deck = dice.sample(("engine", "influxd", "nginx"), 3)
        yield deck[number % 3]


def kill_server(server: Server, dice: random.Random) -> None:
    """The store, or what stands before it; it stays away for a moment."""
    time.sleep(dice.uniform(0.0, 1.0))
    server.kill()
    time.sleep(dice.uniform(0.0, 1.0))
    server.start()


def finish(running: Engine, sending: Load) -> None:
    """No new samples; then everything that waits must be acknowledged."""
    wait_until_up(running)
    sending.end()
    wait_for(lambda: sending.is_done, "all to be acknowledged", 120, 0.05)
    running.note_counters()


# -- what must have come of it ---------------------------------------------------------------


@dataclass
class Verdict:
    """Samples; all but `right` must be 0."""

    right: int = 0
    lost: int = 0
    extra: int = 0
    wrong: int = 0

    def judge(self, truth: Columns, found: Batch) -> None:
        there, held = np.isin(truth.at, found.at), np.isin(found.at, truth.at)
        same = found.take(held)
        self.lost += int((~there).sum())
        self.extra += len(found) - int(there.sum())
        if len(same) == int(there.sum()):  # each once, so in the same order
            value, quality = truth.value[there], truth.quality[there]
            right = (same.value == value) | (np.isnan(same.value) & np.isnan(value))
            right &= same.quality == quality
            self.right += int(right.sum())
            self.wrong += int((~right).sum())


def check(running: Engine, sending: Load) -> None:
    core = open_engine(running.settings.core_url)
    catalog = SeriesCatalog(core)
    sent = sending.made * SAMPLES
    good = Verdict(right=sent)
    assert sent >= 10_000
    with closing(open_store(running.settings, catalog, Counters(), SystemClock())) as store:
        assert judged(store, catalog, sending) == good
        assert rolled_up(store, catalog, sending) == with_value(sending)
        if isinstance(store, EmbeddedStore):  # what a kill left half done is put right
            store.keeper.compact()
            store.keeper.finish()
            assert judged(store, catalog, sending) == good
            assert rolled_up(store, catalog, sending) == with_value(sending)
        else:
            assert isinstance(store, MirroredStore)
            with closing(InfluxStore(running.settings.influx, catalog)) as server:
                assert judged(server, catalog, sending) == good
            assert running.rows("outgoing.db", "select * from outgoing") == []
            assert running.rows("outgoing.db", "select * from rejected") == []
    assert running.rows("samples.db", "select * from block where level > 9") == []
    assert list(running.directory.glob("*.damaged-*")) == []
    check_books(running, sending)
    with transaction(core) as session:
        span = from_ns(sending.start_ns - 31 * HOUR), SystemClock().now() + timedelta(hours=1)
        days = gateway_days(session, catalog, *span, SystemClock().now())
    by_name = {day.gateway: day for day in days}
    for gateway in sending.gateways:
        day, batches = by_name[gateway.name], len(gateway.begins)
        sums, bad = day.sums, 2 * ASSETS * batches
        assert (sums.samples, sums.sent, sums.batches) == (SAMPLES * batches, sums.samples, batches)
        assert (sums.missing, sums.refused, sums.skipped, sums.spoilt) == (bad, 0, 0, 0)
        found = {to_ns(line.at) // HOUR_NS: line.sums.samples for line in day.hours}
        assert {hour: n for hour, n in found.items() if n} == gateway.hours()
    core.dispose()


def judged(store: SampleStore, catalog: SeriesCatalog, sending: Load) -> Verdict:
    """Every series of every gateway, as far as the store can go."""
    verdict = Verdict()
    for series, truth in truths(catalog, sending):
        verdict.judge(truth, store.read(series, sending.start_ns - 31 * HOUR, 2**62))
    return verdict


def rolled_up(store: SampleStore, catalog: SeriesCatalog, sending: Load) -> int:
    """Values that the hours of all series count."""
    first = (sending.start_ns // HOUR - 31) * HOUR
    total = 0
    for series, _ in truths(catalog, sending):
        total += int(store.downsample(series, first, first + 36 * HOUR, 36).count.sum())
    return total


def with_value(sending: Load) -> int:
    return sending.made * (SAMPLES - 2 * ASSETS)


def truths(catalog: SeriesCatalog, sending: Load) -> Iterator[tuple[int, Columns]]:
    for gateway in sending.gateways:
        for asset in range(ASSETS):
            for point in range(POINTS):
                name = asset_of(gateway.name, asset)
                series = catalog.series_at(SITE, name, point_of(point))
                assert series is not None
                yield series, gateway.truth(asset, point)


def check_books(running: Engine, sending: Load) -> None:
    query = (
        "select gateway, epoch, seq, batches, samples, skipped from watermark where lane = 'data'"
    )
    assert sorted(running.rows("core.db", query)) == sorted(
        (g.name, g.epoch, n, n, n * SAMPLES, 0) for g in sending.gateways for n in [len(g.begins)]
    )
    for table in ("quarantined_message", "unknown_point", "telemetry_gap"):
        assert running.rows("core.db", f"select * from {table}") == []


def summary(store: str, running: Engine, sending: Load, killed: Killed) -> str:
    twice = running.rows("core.db", "select sum(duplicates) from watermark")[0][0]
    told = running.began
    return (
        f"\n{store}, seed {SEED}: kill -9 {killed}; {sending.made * SAMPLES:,} samples in"
        f" {sending.made:,} batches, {sending.published - sending.made:,} sent again, {twice:,} came twice;"
        f" packed at least {told['pms_store_samples_packed']:,} samples,"
        f" finished {told['pms_store_windows_finished']:,} windows"
        f"; lost 0, duplicated 0, wrong 0"
    )
