"""Clocks and instants."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.kernel.clock import ManualClock, ScaledClock, SystemClock, clock_from, from_ns, to_ns

INSTANTS = st.timedeltas(timedelta(days=-30_000), timedelta(days=90_000)).map(
    lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since
)


@given(INSTANTS)
def test_an_instant_survives_the_way_through_nanoseconds(at: datetime) -> None:
    assert from_ns(to_ns(at)) == at


@given(st.integers(-(2**62), 2**62))
def test_nanoseconds_are_cut_to_microseconds_never_rounded_up(ns: int) -> None:
    assert 0 <= ns - to_ns(from_ns(ns)) < 1000


def test_other_zones_are_the_same_instant() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert to_ns(datetime(2026, 1, 1, 8, tzinfo=shanghai)) == 1_767_225_600 * 10**9


def test_a_scaled_clock_runs_so_many_times_as_fast() -> None:
    anchor, start = time.time_ns() - 10 * 10**9, 1_767_225_600 * 10**9
    before = time.time_ns()
    now = ScaledClock(anchor, start, 20.0).now_ns()
    after = time.time_ns()
    assert (before - anchor) * 20 <= now - start + 10**6
    assert now - start <= (after - anchor) * 20 + 10**6


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(90.5)
    assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, 500_000, tzinfo=UTC)
    assert clock.now_ns() == to_ns(clock.now())


def test_the_environment_chooses_the_clock() -> None:
    assert isinstance(clock_from({}), SystemClock)
    given_ = {"PMS_CLOCK_ANCHOR_NS": "5", "PMS_CLOCK_START_NS": "7", "PMS_CLOCK_FACTOR": "20"}
    assert clock_from(given_) == ScaledClock(5, 7, 20.0)
    assert clock_from({"PMS_CLOCK_ANCHOR_NS": "5"}) == ScaledClock(5, 5, 1.0)
    with pytest.raises(ValueError, match="fast"):
        clock_from({"PMS_CLOCK_FACTOR": "fast"})
