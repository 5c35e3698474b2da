"""When a disk will be full, and in which state it is: pure, on made-up readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pms_iot.telemetry.disk import DiskWatch, Reading, hours_until, judge

GB = 10**9
RESERVE = GB // 2
steady = st.integers(min_value=1, max_value=10**8)  # bytes per second


def falling(rate: float, last: float, count: int = 40, step_s: float = 60.0) -> list[Reading]:
    return [Reading(i * step_s, int(last + rate * step_s * (count - 1 - i))) for i in range(count)]


@given(rate=steady, hours=st.floats(min_value=0.1, max_value=1000))
def test_a_steady_fall_is_foretold_exactly(rate: int, hours: float):
    floor = 5 * GB
    readings = falling(rate, floor + rate * hours * 3600)
    assert hours_until(readings, floor) == pytest.approx(hours, rel=1e-3, abs=1e-3)


@given(
    st.lists(st.integers(min_value=0, max_value=10**13), min_size=2, max_size=50),
    st.integers(min_value=0, max_value=10**13),
)
def test_whatever_the_readings_the_outlook_is_never_negative(frees: list[int], floor: int):
    hours = hours_until([Reading(60.0 * i, free) for i, free in enumerate(frees)], floor)
    assert hours is None or hours >= 0


def test_nothing_is_foretold_from_a_short_past_or_of_a_disk_that_empties():
    assert hours_until(falling(10**6, 10 * GB, count=29), 0) is None
    assert hours_until(falling(-(10**6), 10 * GB), 0) is None
    assert hours_until([], 0) is None


def test_noise_around_a_level_is_far_from_full():
    readings = [Reading(60.0 * i, 50 * GB + (-1) ** i * 10**6) for i in range(60)]
    hours = hours_until(readings, RESERVE)
    assert hours is None or hours > 10_000


@pytest.mark.parametrize(
    ("before", "free", "hours", "state"),
    [
        ("ok", 10 * GB, None, "ok"),
        ("ok", 10 * GB, 25.0, "ok"),
        ("ok", 10 * GB, 23.0, "low"),
        ("low", 10 * GB, 25.0, "low"),
        ("low", 10 * GB, 31.0, "ok"),
        ("ok", 2 * RESERVE - 1, None, "low"),
        ("low", 2 * RESERVE + 1, None, "low"),
        ("low", int(2.5 * RESERVE) + 1, None, "ok"),
        ("ok", RESERVE - 1, None, "full"),
        ("full", RESERVE + 1, None, "full"),
        ("full", int(1.25 * RESERVE) + 1, None, "low"),
        ("full", 10 * GB, None, "ok"),
    ],
)
def test_a_state_is_left_only_well_beyond_its_bound(
    before: str, free: int, hours: float | None, state: str
):
    assert judge(before, free, hours, RESERVE) == state  # pyright: ignore[reportArgumentType]


@given(st.lists(st.integers(min_value=0, max_value=4 * GB), max_size=60))
def test_without_a_reserve_samples_are_always_taken(frees: list[int]):
    watch = DiskWatch(0)
    for i, free in enumerate(frees):
        watch.look(free, 4 * GB, 10.0 * i)
        assert not watch.is_full()


def test_each_state_is_logged_once_when_it_is_entered():
    watch = DiskWatch(RESERVE)
    with capture_logs() as logs:
        for i in range(360):  # an hour, 10 s apart: 5 GB go
            watch.look(5 * GB - i * 14_000_000, 8 * GB, 10.0 * i)
        for i in range(360, 800):
            watch.look(7 * GB, 8 * GB, 10.0 * i)
    said = [entry["event"] for entry in logs]
    assert said == ["disk nearly full", "disk reserve reached", "disk has room again"]
    assert logs[0]["hours_left"] < 1, "foretold, well before twice the reserve"
    assert logs[0]["free_mb"] > 2 * RESERVE / 1e6


def test_a_watch_that_was_full_stays_so_until_its_first_look():
    watch = DiskWatch(RESERVE, "full")
    assert watch.is_full()
    watch.look(5 * GB, 8 * GB, 0.0)
    assert not watch.is_full()
