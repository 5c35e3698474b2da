"""InfluxDB behind the embedded store: outages, the seam between both, roll-ups at the server."""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import pytest

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.blocks import WINDOW_NS
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.mirrored import MirroredStore
from pms_iot.telemetry.mirrored.outgoing import Outgoing
from tests.register import small_register
from tests.servers import Influx, wait_for
from tests.store.test_sample_store import same, same_buckets

S = 10**9
T0 = 1_700_000_000 * S // WINDOW_NS * WINDOW_NS
DAY_NS = 4 * WINDOW_NS


class Mirror:
    """The store of one test, opened anew as often as it likes, with a clock of its own."""

    def __init__(self, folder: Path, settings: InfluxSettings) -> None:
        self.folder, self.settings = folder, settings
        self.catalog = small_register(folder)
        self.now_ns = T0
        self.counters = Counters()
        self.store = self.open()

    def open(self, spool_bytes: int = 2**24) -> MirroredStore:
        self.local = EmbeddedStore(
            self.folder / "samples.db",
            self.counters,
            now_ns=lambda: self.now_ns,
            housekeeping=False,
            tell_finished=True,
        )
        self.remote = InfluxStore(self.settings, self.catalog)
        self.outgoing = Outgoing(self.folder / "outgoing.db", spool_bytes)
        self.store = MirroredStore(
            self.local,
            self.remote,
            self.outgoing,
            self.counters,
            local_ns=DAY_NS,
            now_ns=lambda: self.now_ns,
        )
        return self.store

    def sent(self) -> None:
        wait_for(lambda: self.outgoing.waiting.batches == 0, "the spool to be empty", 30)


@pytest.fixture
def mirror(tmp_path: Path, influx: InfluxSettings) -> Generator[Mirror]:
    with ExitStack() as closing:
        made = Mirror(tmp_path, influx)
        closing.callback(lambda: made.store.close())
        yield made


def day_of(series: int, start_ns: int, hours: float, seed: int = 1) -> Batch:
    n = int(hours * 360)
    value = np.round(np.random.default_rng(seed).normal(50, 9, n), 2)
    quality = np.where(np.arange(n) % 97 == 0, 64, 192)
    return Batch.of(np.full(n, series), start_ns + np.arange(n) * 10 * S, value, quality)


def test_an_outage_of_the_server_delays_only_its_copy(
    mirror: Mirror, influx_server: Influx
) -> None:
    """The front of the server is killed: writing, reading and a restart of the engine go on without."""
    if influx_server.server is None:
        pytest.skip("needs a server of its own to kill")
    before, during = day_of(1, T0, 2), day_of(1, T0 + 3 * 3600 * S, 2, seed=2)
    mirror.now_ns = T0 + 6 * 3600 * S
    mirror.store.write(before)
    mirror.sent()
    influx_server.server.kill()
    try:
        for part in np.array_split(np.arange(len(during)), 20):
            mirror.store.write(during.take(part))
        wait_for(lambda: mirror.store.problem is not None, "the outage to be noticed", 30)
        assert mirror.counters["influx_retries"] > 0
        mirror.store.close()
        mirror.open()
        window = T0 + 400 * S, T0 + WINDOW_NS
        both = Batch.concat([before, during])
        same(mirror.store.read(1, *window), both.take(both.at >= window[0]))
        assert mirror.store.latest([1, 2]).at.tolist() == [int(during.at[-1])]
        assert mirror.store.stats()["spool_samples"] == len(during)
    finally:
        influx_server.server.start()
    mirror.sent()
    same(mirror.remote.read(1, 0, 2**62), both)
    wait_for(lambda: mirror.store.problem is None, "the end of the outage", 30)


def test_a_full_spool_takes_no_more_until_it_is_emptied(
    mirror: Mirror, influx_server: Influx
) -> None:
    if influx_server.server is None:
        pytest.skip("needs a server of its own to kill")
    mirror.store.close()
    store = mirror.open(spool_bytes=100_000)
    influx_server.server.kill()
    written: list[Batch] = []
    try:
        with pytest.raises(StoreUnavailableError, match="no more are taken"):
            for i in range(1000):
                batch = Batch.of(
                    np.full(500, 1),
                    T0 + (i * 500 + np.arange(500)) * S,
                    np.random.default_rng(i).normal(size=500),
                )
                store.write(batch)
                written.append(batch)
        assert 5 < len(written) < 100
        assert "full" in (store.problem or "")
    finally:
        influx_server.server.start()
    mirror.sent()
    store.write(batch)
    mirror.sent()
    same(mirror.remote.read(1, 0, 2**62), Batch.concat([*written, batch]))


def test_history_is_whole_across_the_seam(mirror: Mirror) -> None:
    """Four days of which the local store keeps one; the server has all, and roll-ups of what is closed."""
    days = [day_of(1, T0 + i * DAY_NS + WINDOW_NS, 24, seed=i) for i in range(4)]
    for batch in days:
        mirror.now_ns = int(batch.at[-1])
        mirror.store.write(batch)
        mirror.local.keeper.compact()
        mirror.local.keeper.finish()
        mirror.sent()
        mirror.store.prune()
    wait_for(lambda: not mirror.local.finished(1), "roll-ups to be sent", 60)
    everything = Batch.concat(days)
    assert 8640 <= len(mirror.local.read(1, 0, 2**62)) < 2.6 * 8640
    same(mirror.store.read(1, T0, mirror.now_ns + 1), everything)
    for start, end, buckets in (
        (T0, mirror.now_ns, 100),
        (T0 + 17 * S, mirror.now_ns - 7 * S, 40),
        (T0 + DAY_NS + 100 * S, T0 + 2 * DAY_NS, 500),
        (mirror.now_ns - 3600 * S, mirror.now_ns, 60),
    ):
        same_buckets(
            mirror.store.downsample(1, start, end, buckets), everything, start, end, buckets
        )


def test_roll_ups_come_from_their_buckets(mirror: Mirror, influx_server: Influx) -> None:
    """What has been rolled up is not read from samples: those are deleted at the server first."""
    batch = day_of(1, T0 + WINDOW_NS, 24)
    mirror.store.write(batch)
    mirror.now_ns = T0 + 9 * WINDOW_NS
    mirror.local.keeper.compact()
    mirror.local.keeper.finish()
    mirror.sent()
    wait_for(lambda: not mirror.local.finished(1), "roll-ups to be sent", 60)
    wait_for(lambda: mirror.counters["influx_rollups_written"] == 4, "roll-ups to be counted", 10)
    mirror.store.prune()
    start, end = T0 + WINDOW_NS, T0 + 5 * WINDOW_NS
    drop = {"q": f"DROP MEASUREMENT {mirror.catalog.info(1).kind}", "db": mirror.settings.bucket}
    httpx2.post(
        f"{influx_server.url}/query", params=drop, headers=influx_server.headers
    ).raise_for_status()
    assert len(mirror.remote.read(1, 0, 2**62)) == 0
    same_buckets(mirror.store.downsample(1, start, end, 96), batch, start, end, 96)


def test_what_the_server_refuses_is_set_aside_and_the_rest_arrives(
    mirror: Mirror, influx_server: Influx
) -> None:
    info = mirror.catalog.info(1)
    text = f'{info.kind},site={info.site},asset={info.asset} {info.point}="text" {T0}'
    url = f"{influx_server.url}/api/v2/write"
    asked = {"bucket": mirror.settings.bucket, "org": "pms", "precision": "ns"}
    made = httpx2.post(url, params=asked, content=text, headers=influx_server.headers)
    made.raise_for_status()
    mirror.store.write(Batch.of([1, 2], [T0, T0], [1.0, 2.0]))
    mirror.store.write(Batch.of([2], [T0 + S], [3.0]))
    mirror.sent()
    assert mirror.counters["influx_samples_rejected"] == 1
    assert mirror.remote.read(2, 0, 2**62).value.tolist() == [2.0, 3.0]
