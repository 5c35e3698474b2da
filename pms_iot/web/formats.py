"""Instants, ages and numbers as people read them."""

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pms_iot.web.i18n import N_, translate

_STEPS = (
    (1, N_("{n} s")),
    (60, N_("{n} min")),
    (3600, N_("{n} h")),
    (86_400, N_("{n} d")),
)


def local(at: datetime, zone: str) -> str:
    """ISO date and 24 h time in the site's zone."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def local_seconds(at: datetime, zone: str) -> str:
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def last_day(at: datetime, zone: str) -> str:
    """The last day before an instant that ends a day, as maintenance is due."""
    return str(local_date(at - timedelta(microseconds=1), zone))


def zone_name(zone: str, now: datetime) -> str:
    """`Asia/Shanghai (UTC+08:00)`."""
    offset = now.astimezone(ZoneInfo(zone)).strftime("%z")
    return f"{zone} (UTC{offset[:3]}:{offset[3:]})"


def local_date(at: datetime, zone: str) -> date:
    return at.astimezone(ZoneInfo(zone)).date()


def midnight(day: date, zone: str) -> datetime:
    """Start of a day of the site, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def duration(span: timedelta | float, language: str) -> str:
    """The span in its largest unit, `3 min`; a negative one counts as zero."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    seconds = max(0.0, seconds)
    step, message = next(
        ((size, text) for size, text in reversed(_STEPS) if seconds >= 2 * size), _STEPS[0]
    )
    return translate(language, message, n=int(seconds // step))


def size(count: float) -> str:
    """Bytes in the largest decimal unit that leaves at least one, `82.7 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def number(value: float | None) -> str:
    """Four significant digits without trailing noise; an en dash for a missing value."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def percent(ratio: float | None, digits: int = 1) -> str:
    """`99.9 %`, rounded down so that only what is whole is called 100; an en dash for None."""
    if ratio is None:
        return "–"
    step = 10**digits
    return f"{math.floor(ratio * 100 * step + 1e-6) / step:g} %"
