"""Weather and traffic: repeatable, within their stated bounds, and felt by the machines."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from pms_simulators.clock import LocalCalendar
from pms_simulators.faults import FaultPlan
from pms_simulators.machines.drainage_pump import DrainagePump
from pms_simulators.machines.elevator import Elevator
from pms_simulators.machines.fire_panel import FirePanel
from pms_simulators.machines.machine import Placement
from pms_simulators.signals import stream
from pms_simulators.traffic import (
    DEMAND_M3H,
    DEMAND_ON_FREE_DAYS,
    RIDES_ON_FREE_DAYS,
    RIDES_PER_HOUR,
    hourly,
    is_free,
)
from pms_simulators.weather import Weather

ZONE = ZoneInfo("Asia/Shanghai")
CALENDAR = LocalCalendar(int(datetime(2026, 6, 1, tzinfo=ZONE).timestamp()) * 10**9, ZONE)
QUARTERS = [900.0 * k for k in range(30 * 96)]


def day(year, month, day_):
    return (date(year, month, day_) - date(1970, 1, 1)).days


def test_a_month_has_warm_and_cold_spells_and_a_few_rainy_days():
    for seed in range(1, 6):
        weather = Weather(stream(seed, "weather"), CALENDAR)
        warmth = [weather.warmth_c(t) for t in QUARTERS]
        rain = [weather.rain_mm_h(t) for t in QUARTERS]
        wet = [weather.wetness(t) for t in QUARTERS]
        assert -8.5 < min(warmth) < -1
        assert 1 < max(warmth) < 8.5
        assert 0 < sum(r > 0 for r in rain) < len(rain) / 4
        assert 1 < max(rain) < 30
        assert min(wet) == 0
        assert 0.05 < max(wet) <= 1


def test_weather_is_the_same_in_whatever_order_it_is_asked():
    forth = Weather(5, CALENDAR)
    back = Weather(5, CALENDAR)
    seen = {t: (forth.warmth_c(t), forth.rain_mm_h(t), forth.wetness(t)) for t in QUARTERS}
    for t in reversed(QUARTERS):
        assert (back.warmth_c(t), back.rain_mm_h(t), back.wetness(t)) == seen[t]


def test_ground_stays_wet_after_a_shower_and_dries():
    weather = Weather(stream(1, "weather"), CALENDAR)
    wettest = max(QUARTERS, key=weather.wetness)
    later = [weather.wetness(wettest + h * 3600) for h in (0, 60)]
    assert later[1] < later[0]


@pytest.mark.parametrize(
    ("when", "free"),
    [((2026, 6, 1), False), ((2026, 6, 6), True), ((2026, 6, 7), True), ((2026, 10, 1), True),
     ((2026, 10, 8), False), ((2026, 1, 1), True)],
)  # fmt: skip
def test_weekends_and_holidays_are_free(when, free):
    assert is_free(day(*when)) is free


@pytest.mark.parametrize(
    ("work", "rest"), [(DEMAND_M3H, DEMAND_ON_FREE_DAYS), (RIDES_PER_HOUR, RIDES_ON_FREE_DAYS)]
)
def test_profiles_have_24_hours_and_meet_at_midnight(work, rest):
    assert len(work) == len(rest) == 24
    sunday = day(2026, 6, 7)
    before = hourly(sunday, 23.9999, work, rest)
    assert before == pytest.approx(hourly(sunday + 1, 0.0, work, rest), abs=0.01)
    assert hourly(sunday, 8.0, work, rest) == rest[8]
    assert hourly(sunday + 1, 8.0, work, rest) == work[8]


def test_a_lift_has_no_rush_hour_on_sunday():
    place = Placement("EL", 3, FaultPlan(), CALENDAR)
    rides = [Elevator(place, d * 86400 + 7 * 3600) for d in (6, 7)]  # Sunday, Monday
    counts = []
    for lift in rides:
        before = lift.runs
        for t in range(int(lift.t) + 1, int(lift.t) + 7201):
            lift.step(float(t))
        counts.append(lift.runs - before)
    assert counts[0] < 0.6 * counts[1]


def test_rain_fills_the_pit_faster_and_wets_the_cables():
    place = Placement("X", 1, FaultPlan(), CALENDAR)
    wettest = max(QUARTERS, key=place.weather.rain_mm_h)
    dry = next(
        t for t in QUARTERS if place.weather.wetness(t) == 0 and t % 86400 == wettest % 86400
    )
    pits = [DrainagePump(place, t) for t in (wettest, dry)]
    panels = [FirePanel(place, t) for t in (wettest, dry)]
    for each in (*pits, *panels):
        each.step(each.t + 1)
    assert pits[0].inflow > pits[1].inflow + 1
    assert panels[0].values()["earth_kohm"] < 0.9 * panels[1].values()["earth_kohm"]
