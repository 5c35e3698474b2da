"""Date arithmetic of maintenance."""

import calendar
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.maintenance import due
from pms_iot.maintenance.plan import Interval, Meter

DAYS = st.dates(date(2000, 1, 1), date(2060, 12, 31))
INTERVALS = st.one_of(
    st.builds(Interval, days=st.integers(1, 800)), st.builds(Interval, months=st.integers(1, 60))
)


def grid(anchor: date, every: Interval, count: int) -> list[date]:
    return [due.on_grid(anchor, every, n) for n in range(1, count + 1)]


def test_monthly_from_31_january_clamps_and_comes_back() -> None:
    assert grid(date(2026, 1, 31), Interval(months=1), 5) == [
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2026, 4, 30),
        date(2026, 5, 31),
        date(2026, 6, 30),
    ]


def test_leap_day_returns_in_leap_years() -> None:
    assert grid(date(2024, 2, 29), Interval(months=12), 4) == [
        date(2025, 2, 28),
        date(2026, 2, 28),
        date(2027, 2, 28),
        date(2028, 2, 29),
    ]


def test_half_month_service_is_every_fifteen_days_over_any_month() -> None:
    assert grid(date(2028, 2, 1), Interval(days=15), 4) == [
        date(2028, 2, 16),
        date(2028, 3, 2),
        date(2028, 3, 17),
        date(2028, 4, 1),
    ]


@pytest.mark.parametrize(
    "every", [Interval(), Interval(days=0), Interval(months=0), Interval(days=-3), Interval(1, 1)]
)
def test_what_is_no_interval_is_refused(every: Interval) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        due.next_after(date(2026, 1, 1), every, date(2026, 2, 1))


@settings(deadline=None)  # the machine may be busy
@given(DAYS, st.integers(1, 60), st.integers(1, 200))
def test_months_keep_the_anchors_day_or_the_last_of_the_month(
    anchor: date, months: int, n: int
) -> None:
    found = due.on_grid(anchor, Interval(months=months), n)
    whole = anchor.year * 12 + anchor.month - 1 + months * n
    year, month = divmod(whole, 12)
    last = calendar.monthrange(year, month + 1)[1]
    assert found == date(year, month + 1, min(anchor.day, last))


@settings(deadline=None)  # the machine may be busy
@given(DAYS, INTERVALS, DAYS)
def test_next_is_the_first_of_the_grid_that_is_later(
    anchor: date, every: Interval, after: date
) -> None:
    found = due.next_after(anchor, every, after)
    n = next(n for n in range(1, 50_000) if due.on_grid(anchor, every, n) > after)
    assert found == due.on_grid(anchor, every, n)


@settings(deadline=None)  # the machine may be busy
@given(DAYS, INTERVALS, DAYS)
def test_newest_is_the_last_of_the_grid_that_is_not_later(
    anchor: date, every: Interval, day: date
) -> None:
    found = due.newest_by(anchor, every, day)
    following = due.next_after(anchor, every, day)
    if found is None:
        assert following == due.on_grid(anchor, every, 1) and following > day
    else:
        assert found <= day and due.next_after(anchor, every, found) == following


@settings(deadline=None)  # the machine may be busy
@given(DAYS, INTERVALS, DAYS, st.integers(0, 2000))
def test_dates_between_are_the_grid_in_the_window(
    anchor: date, every: Interval, start: date, length: int
) -> None:
    end = start + timedelta(days=length)
    found = list(due.dates_between(anchor, every, start, end))
    expected, n = list[date](), 1
    while (day := due.on_grid(anchor, every, n)) < end:
        expected += [day] if day >= start else []
        n += 1
    assert found == expected


def test_the_day_of_the_site_decides() -> None:
    evening = datetime(2026, 3, 1, 17, tzinfo=UTC)
    assert due.today_in("Asia/Shanghai", evening) == date(2026, 3, 2)
    assert due.today_in("UTC", evening) == date(2026, 3, 1)


def test_end_of_a_day_is_the_next_local_midnight_also_when_clocks_change() -> None:
    assert due.end_of(date(2026, 3, 1), "Asia/Shanghai") == datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert due.end_of(date(2026, 3, 29), "Europe/Berlin") == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert due.end_of(date(2026, 10, 25), "Europe/Berlin") == datetime(2026, 10, 25, 23, tzinfo=UTC)


METER = Meter(points=("p1_run_h", "p2_run_h"), every=700, unit="h")


def test_meter_counts_from_its_first_reading() -> None:
    state = due.read_meters(METER, {}, {"p1_run_h": 12_000.0})
    assert state.bases == {"p1_run_h": 12_000.0} and state.due is None
    assert state.restarted == {"p1_run_h": None}


def test_any_of_the_meters_makes_the_plan_due() -> None:
    bases = {"p1_run_h": 100.0, "p2_run_h": 50.0}
    assert due.read_meters(METER, bases, {"p1_run_h": 799.9, "p2_run_h": 50.0}).due is None
    state = due.read_meters(METER, bases, {"p1_run_h": 799.9, "p2_run_h": 750.0})
    assert state.due == ("p2_run_h", 750.0)


def test_replaced_meter_counts_anew_and_says_so() -> None:
    state = due.read_meters(METER, {"p1_run_h": 9_000.0, "p2_run_h": 5.0}, {"p1_run_h": 3.0})
    assert state.bases == {"p1_run_h": 3.0, "p2_run_h": 5.0}
    assert state.restarted == {"p1_run_h": 9_000.0} and state.due is None


def test_missing_reading_keeps_the_base() -> None:
    state = due.read_meters(METER, {"p1_run_h": 100.0}, {})
    assert state.bases == {"p1_run_h": 100.0} and not state.restarted and state.due is None


@pytest.mark.parametrize("every", [0.0, -1.0, float("nan")])
def test_meter_interval_must_be_above_zero(every: float) -> None:
    with pytest.raises(ValueError, match="not a meter interval"):
        due.read_meters(Meter(("runs",), every), {}, {"runs": 5.0})


@settings(deadline=None)  # the machine may be busy
@given(
    st.floats(1, 1e6),
    st.lists(st.floats(0, 500), min_size=1, max_size=60),
)
def test_meter_is_due_exactly_when_it_has_run_the_distance(
    every: float, steps: list[float]
) -> None:
    meter, bases, reading = Meter(("runs",), every), {"runs": 0.0}, 0.0
    for step in steps:
        reading += step
        state = due.read_meters(meter, bases, {"runs": reading})
        assert (state.due is not None) == (reading >= every)
        bases = dict(state.bases)
