"""When maintenance is due. Pure arithmetic on dates: no clock, no zone, no hour.

A calendar plan is due on its grid: anchor + n intervals, always counted from the anchor, so that a
plan anchored on the 31st falls on the last day of short months and returns to the 31st.

What a finished occurrence does to the grid is a choice:
* statutory plans keep their grid. The next due date follows the date that was due, whether the work
  was done early or late, so that lateness never moves the legal calendar;
* all other plans start a new grid on the day of completion, because wear counts from the last
  service: work done early or late is not asked for again too soon.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from pms_iot.maintenance.plan import Interval, Meter


def on_grid(anchor: date, every: Interval, n: int) -> date:
    """The n-th date after the anchor (n = 0: the anchor), clamped to the end of the month.

    Raises ValueError for an interval that is not exactly one of days or months, or below 1.
    """
    if (every.days is None) == (every.months is None) or (every.days or every.months or 0) < 1:
        raise ValueError(f"not an interval: {every}")
    if every.days is not None:
        return anchor + timedelta(days=every.days * n)
    return anchor + relativedelta(months=(every.months or 0) * n)


def next_after(anchor: date, every: Interval, after: date) -> date:
    """The first date of the grid later than `after`, the anchor itself left out."""
    n = max(1, _steps_before(anchor, every, after))
    while on_grid(anchor, every, n) <= after:
        n += 1
    return on_grid(anchor, every, n)


def newest_by(anchor: date, every: Interval, day: date) -> date | None:
    """The last date of the grid not later than `day`, the anchor itself left out; None if none."""
    after = next_after(anchor, every, day)
    n = max(0, _steps_before(anchor, every, after) - 1)
    while on_grid(anchor, every, n + 1) < after:
        n += 1
    return on_grid(anchor, every, n) if n else None


def _steps_before(anchor: date, every: Interval, day: date) -> int:
    """A number of steps that certainly does not go past `day`."""
    on_grid(anchor, every, 0)  # refuses what is no interval
    longest = every.days if every.days is not None else (every.months or 0) * 31
    return max(0, (day - anchor).days) // longest


def dates_between(anchor: date, every: Interval, start: date, end: date) -> Iterator[date]:
    """The dates of the grid with start <= date < end."""
    due = next_after(anchor, every, start - timedelta(days=1))
    while due < end:
        yield due
        due = next_after(anchor, every, due)


def today_in(zone: str, now: datetime) -> date:
    """The date that people at the site read off the calendar."""
    return now.astimezone(ZoneInfo(zone)).date()


def end_of(day: date, zone: str) -> datetime:
    """The instant at which the day is over at the site, UTC."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class MeterState:
    """What a look at the meters found.

    bases: the readings to count from, by point. restarted: points whose count starts anew with
    this look, with the base they had (None: no reading before). due: the point that has run far
    enough, with its reading; None if none has.
    """

    bases: Mapping[str, float]
    restarted: Mapping[str, float | None]
    due: tuple[str, float] | None


def read_meters(
    meter: Meter, bases: Mapping[str, float], readings: Mapping[str, float]
) -> MeterState:
    """Compares the readings with their bases. A point without a reading keeps its base.

    A reading below its base means that the meter was replaced or has rolled over: the count
    starts anew from there. Raises ValueError for a meter interval that is not above zero.
    """
    if not meter.every > 0:
        raise ValueError(f"not a meter interval: {meter.every}")
    known = {point: readings[point] for point in meter.points if point in readings}
    restarted = {
        point: bases.get(point)
        for point, at in known.items()
        if point not in bases or at < bases[point]
    }
    counted = {**bases, **{point: known[point] for point in restarted}}
    due = next(
        ((point, at) for point, at in known.items() if at - counted[point] >= meter.every), None
    )
    return MeterState(counted, restarted, due)
