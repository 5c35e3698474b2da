"""How people use a building: which days are free, and what that does to lifts and taps."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

# Days of the year on which offices and schools are shut whatever the weekday (State Council, fixed dates).
HOLIDAYS = {(1, 1), (5, 1), (5, 2), (10, 1), (10, 2), (10, 3)}
_EPOCH = date(1970, 1, 1)

RIDES_PER_HOUR = (2, 1, 1, 1, 1, 3, 12, 28, 28, 16, 12, 14, 16, 12, 10, 12, 16, 26, 30, 22, 18, 14,
                  8, 4)  # fmt: skip
RIDES_ON_FREE_DAYS = (4, 3, 2, 1, 1, 2, 5, 9, 15, 20, 22, 22, 19, 15, 15, 17, 19, 22, 23, 22, 19,
                      16, 11, 7)  # fmt: skip
DEMAND_M3H = (3.5, 3, 3, 3, 3.5, 6, 16, 27, 24, 16, 14, 15, 18, 14, 12, 12, 14, 20, 27, 30, 28, 22,
              12, 6)  # fmt: skip
DEMAND_ON_FREE_DAYS = (4.5, 3.5, 3, 3, 3.5, 4.5, 8, 15, 22, 25, 24, 22, 22, 18, 15, 15, 17, 21, 26,
                       28, 26, 22, 15, 8)  # fmt: skip


@lru_cache(maxsize=64)
def is_free(day: int) -> bool:
    """Whether local day number `day` since 1970-01-01 is a weekend or a holiday."""
    when = _EPOCH + timedelta(days=day)
    return when.weekday() >= 5 or (when.month, when.day) in HOLIDAYS


def hourly(day: int, hour: float, workday: tuple[float, ...], free: tuple[float, ...]) -> float:
    """The profile's value at local `hour` of `day`, linear between full hours, across midnight too."""
    whole = int(hour)
    next_day = day + 1 if whole == 23 else day
    low = (free if is_free(day) else workday)[whole]
    high = (free if is_free(next_day) else workday)[(whole + 1) % 24]
    return low + (high - low) * (hour - whole)
