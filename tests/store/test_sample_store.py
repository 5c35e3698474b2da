"""One suite over every SampleStore."""

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.mirrored import MirroredStore
from pms_iot.telemetry.mirrored.outgoing import Outgoing
from pms_iot.telemetry.store import Buckets, SampleStore, bucket_width
from tests.register import small_register

T0 = 1_700_000_000_000_000_000
S = 10**9
DAY_NS = 86_400 * S
FOREVER = (0, 2**62)

Reopen = Callable[[], SampleStore]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    return small_register(tmp_path_factory.mktemp("register"))


@pytest.fixture(params=["embedded", "influx", "mirrored"])
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, catalog: SeriesCatalog
) -> Generator[Reopen]:
    """Opens the test's store, as the next run of the engine would."""
    with ExitStack() as opened:

        def embedded() -> SampleStore:
            store = EmbeddedStore(tmp_path / "samples.db", synchronous="NORMAL")
            opened.callback(store.close)
            return store

        def influx() -> SampleStore:
            store = InfluxStore(request.getfixturevalue("influx"), catalog)
            opened.callback(store.close)
            return store

        def mirrored() -> SampleStore:
            """Its local part keeps the last day before a time long after these samples: all but the cut."""
            store = MirroredStore(
                EmbeddedStore(tmp_path / "samples.db", now_ns=lambda: T0 - DAY_NS),
                InfluxStore(request.getfixturevalue("influx"), catalog),
                Outgoing(tmp_path / "outgoing.db", 2**24),
                Counters(),
                local_ns=DAY_NS,
                now_ns=lambda: T0,
            )
            opened.callback(store.close)
            return store

        yield {"embedded": embedded, "influx": influx, "mirrored": mirrored}[request.param]


@pytest.fixture
def store(reopen: Reopen) -> SampleStore:
    return reopen()


@pytest.fixture
def series(catalog: SeriesCatalog) -> list[int]:
    """Of several assets, two of them on one, one with a name that needs escapes."""
    found = catalog.of_asset("EL-01") | catalog.of_asset("B S=1,α")
    return [found[key] for key in ("p0", "p1", "in,let p=1", "temp.anomaly")]


def same(batch: Batch, expected: Batch) -> None:
    for column in ("series", "at", "value", "quality"):
        np.testing.assert_array_equal(getattr(batch, column), getattr(expected, column), column)


def random_batch(series: list[int], n: int, seed: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    value = rng.normal(50, 20, n)
    quality = rng.choice([GOOD, GOOD, UNCERTAIN, BAD], n)
    value[rng.random(n) < 0.1] = np.nan
    return Batch.of(np.resize(series, n), T0 + np.arange(n) * S // 7, value, quality)


def test_what_is_written_is_read(store: SampleStore, series: list[int]) -> None:
    batch = random_batch(series, 400)
    store.write(batch)
    same(store.read_many(series, *FOREVER), batch.sorted_by_time())
    for number in series:
        same(store.read(number, *FOREVER), batch.take(batch.series == number))


def test_writing_again_changes_nothing(store: SampleStore, series: list[int]) -> None:
    batch = random_batch(series, 200)
    for part in (batch, batch, batch.take(np.arange(50, 150))):
        store.write(part)
    same(store.read_many(series, *FOREVER), batch.sorted_by_time())


def test_order_of_arrival_does_not_matter(store: SampleStore, series: list[int]) -> None:
    batch = random_batch(series, 200)
    store.write(batch.take(np.arange(199, 99, -1)))
    store.write(batch.take(np.random.default_rng(2).permutation(100)))
    same(store.read_many(series, *FOREVER), batch.sorted_by_time())


@pytest.mark.parametrize("old", [(1.0, GOOD), (2.0, UNCERTAIN), (3.0, BAD), (np.nan, BAD)])
@pytest.mark.parametrize("new", [(4.0, GOOD), (5.0, UNCERTAIN), (6.0, BAD), (np.nan, BAD)])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_last_written_wins(
    reopen: Reopen,
    series: list[int],
    old: tuple[float, int],
    new: tuple[float, int],
    restarted: bool,
) -> None:
    store = reopen()
    store.write(Batch.of([series[0]] * 2, [T0, T0 + S], [old[0], 7.0], [old[1], GOOD]))
    store = reopen() if restarted else store
    store.write(Batch.of([series[0]], [T0], [new[0]], [new[1]]))
    same(
        store.read(series[0], *FOREVER),
        Batch.of([series[0]] * 2, [T0, T0 + S], [new[0], 7.0], [new[1], GOOD]),
    )


def test_the_last_of_a_batch_wins(store: SampleStore, series: list[int]) -> None:
    store.write(Batch.of([series[0]] * 3, [T0] * 3, [1.0, np.nan, 3.0], [GOOD, BAD, GOOD]))
    same(store.read(series[0], *FOREVER), Batch.of([series[0]], [T0], [3.0]))


def test_windows_are_half_open(store: SampleStore, series: list[int]) -> None:
    at = T0 + np.arange(5)
    store.write(Batch.of([series[0]] * 5, at, at % 10))
    assert store.read(series[0], T0 + 1, T0 + 4).at.tolist() == at[1:4].tolist()
    assert len(store.read(series[0], T0 + 2, T0 + 2)) == 0
    assert store.read_many(series, T0 + 1, T0 + 2).at.tolist() == [T0 + 1]


def test_extreme_values_come_back(store: SampleStore, series: list[int]) -> None:
    value = [1e308, -1e308, 5e-324, -0.0, 0.1 + 0.2, 2.0**53 + 2, 1 / 3, 1e-300]
    batch = Batch.of([series[0]] * len(value), T0 + np.arange(len(value)), value)
    store.write(batch)
    same(store.read(series[0], *FOREVER), batch)


def test_infinities_are_stored_as_missing(store: SampleStore, series: list[int]) -> None:
    store.write(Batch.of([series[0]] * 2, [T0, T0 + 1], [np.inf, -np.inf], [GOOD, BAD]))
    assert np.isnan(store.read(series[0], *FOREVER).value).tolist() == [True, True]


def test_latest_is_the_newest_sample_whatever_its_quality(
    store: SampleStore, series: list[int]
) -> None:
    a, b, c, never = series
    store.write(
        Batch.of([a, a, b, c], [T0, T0 + S, T0, T0 + 5 * S], [1, np.nan, 2, 3], [192, 0, 192, 64])
    )
    store.write(Batch.of([a], [T0 - S], [9.0]))  # late
    newest = store.latest([c, never, b, a, a])
    order = np.argsort([a, b, c])
    expected = Batch.of([a, b, c], [T0 + S, T0, T0 + 5 * S], [np.nan, 2, 3], [0, 192, 64])
    same(newest, expected.take(order))
    assert len(store.latest([])) == 0


def test_series_without_samples_are_empty(store: SampleStore, series: list[int]) -> None:
    assert len(store.read(series[0], *FOREVER)) == 0
    assert len(store.read_many(series, *FOREVER)) == 0
    assert len(store.read_many([], *FOREVER)) == 0
    assert len(store.latest(series)) == 0
    assert len(store.downsample(series[0], T0, T0 + S, 10).at) == 0
    store.write(Batch.empty())


@pytest.mark.parametrize(
    ("start", "end", "buckets"),
    [(0, 100, 10), (3, 98, 7), (-50, 37, 500), (0, 1, 1), (-9000, 9000, 9)],
)
def test_downsampling_is_what_numpy_says(
    store: SampleStore, series: list[int], start: int, end: int, buckets: int
) -> None:
    batch = random_batch([series[0]], 700)
    store.write(batch)
    first, last = T0 + start * S, T0 + end * S
    got = store.downsample(series[0], first, last, buckets)
    same_buckets(got, batch, first, last, buckets)


def same_buckets(got: Buckets, batch: Batch, start: int, end: int, buckets: int) -> None:
    width = bucket_width(start, end, buckets)
    inside = (batch.at >= start) & (batch.at < end) & ~np.isnan(batch.value)
    at, value, quality = batch.at[inside], batch.value[inside], batch.quality[inside]
    number = at // width
    groups = [number == k for k in np.unique(number)]
    assert got.width_ns == width
    np.testing.assert_array_equal(got.at, np.unique(number) * width)
    np.testing.assert_array_equal(got.low, [value[group].min() for group in groups])
    np.testing.assert_array_equal(got.high, [value[group].max() for group in groups])
    # Large values of opposite signs leave few digits of their mean.
    size = np.abs(value).max(initial=0.0)
    means = [value[group].mean() for group in groups]
    np.testing.assert_allclose(got.mean, means, rtol=1e-12, atol=1e-14 * size)
    np.testing.assert_array_equal(got.count, [group.sum() for group in groups])
    np.testing.assert_array_equal(got.quality, [quality[group].min() for group in groups])


def test_a_window_that_is_none_is_an_error(store: SampleStore, series: list[int]) -> None:
    for start, end, buckets in ((T0, T0, 5), (T0 + 1, T0, 5), (T0, T0 + 1, 0)):
        with pytest.raises(ValueError, match="window"):
            store.downsample(series[0], start, end, buckets)


def test_fifty_thousand_samples_at_once(store: SampleStore, series: list[int]) -> None:
    batch = random_batch(series, 50_000)
    store.write(batch)
    same(store.read_many(series, *FOREVER), batch.sorted_by_time())


def test_readers_see_whole_batches_while_a_writer_writes(
    store: SampleStore, series: list[int]
) -> None:
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(len(store.read(series[0], *FOREVER)))
        seen.append(len(store.read(series[0], *FOREVER)))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        at = T0 + (i * 100 + np.arange(100)) * S
        store.write(Batch.of([series[0]] * 100, at, np.arange(100)))
    done.set()
    reader.join(20)
    assert seen[-1] == 3000
    assert seen == sorted(seen)


def test_samples_outlive_the_store_object(reopen: Reopen, series: list[int]) -> None:
    batch = random_batch(series, 100)
    store = reopen()
    store.write(batch)
    store.close()
    same(reopen().read_many(series, *FOREVER), batch.sorted_by_time())


def test_many_series_in_one_question(store: SampleStore, catalog: SeriesCatalog) -> None:
    series = sorted(info.id for info in catalog.all())
    batch = Batch.of(series, [T0] * len(series), np.arange(len(series)))
    store.write(batch)
    same(store.read_many(series, *FOREVER), batch)
    same(store.latest(series), batch)


def test_errors_of_a_closed_store_are_ours(reopen: Reopen, series: list[int]) -> None:
    store = reopen()
    if not isinstance(store, EmbeddedStore):
        return
    store.close()
    with pytest.raises(StoreUnavailableError, match=r"samples\.db"):
        store.write(random_batch(series, 1))
