"""Figures of the main path."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.meters import MAX_GATEWAYS, Histogram, PathMeters

BATCH = Batch.of([1, 2], [10, 20], [1.0, 2.0])


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_every_value_is_counted_in_the_first_bucket_that_holds_it(values: list[float]):
    bounds = (0.5, 1.0, 50.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    seen = histogram.snapshot()
    assert seen.count == len(values) and seen.total == pytest.approx(sum(values))
    for i, bound in enumerate(bounds):
        assert sum(seen.counts[: i + 1]) == sum(value <= bound for value in values)


def test_a_share_of_the_values_is_within_a_bound():
    histogram = Histogram((1.0, 2.0))
    assert histogram.snapshot().at_most(0.5) is None
    for value in (0.5, 0.5, 1.5, 9.0):
        histogram.observe(value)
    seen = histogram.snapshot()
    assert [seen.at_most(share) for share in (0.5, 0.75, 0.95)] == [1.0, 2.0, None]


def test_a_write_that_fails_is_not_counted_nor_an_empty_one():
    meters = PathMeters()
    with pytest.raises(StoreUnavailableError), meters.writing(BATCH):
        raise StoreUnavailableError("away")
    with meters.writing(Batch.empty()):
        pass
    assert meters.write_s.snapshot().count == 0
    with meters.writing(BATCH):
        pass
    assert meters.write_samples.snapshot().total == 2 and meters.write_s.snapshot().count == 1


def test_late_samples_do_not_turn_the_newest_back():
    meters = PathMeters()
    meters.committed("s", "g", BATCH)
    meters.committed("s", "g", Batch.of([1], [5], [1.0]))
    meters.committed("s", "g", Batch.empty())
    assert meters.newest_ns() == {("s", "g"): 20}


def test_gateways_that_anybody_makes_up_do_not_fill_the_memory():
    meters = PathMeters()
    for n in range(MAX_GATEWAYS + 10):
        meters.committed("s", f"g{n}", BATCH)
    assert len(meters.newest_ns()) == MAX_GATEWAYS


def test_the_thread_counts_as_alive_until_it_ends():
    meters = PathMeters()
    assert meters.is_alive(), "not started yet"
    go = threading.Event()
    thread = threading.Thread(target=lambda: (meters.begin(), go.wait(20)))
    thread.start()
    assert meters.is_alive()
    go.set()
    thread.join()
    assert not meters.is_alive()
