"""The weather of a site: warm and cold spells, showers and wet ground. A pure function of seed and time."""

from __future__ import annotations

from typing import NamedTuple

from pms_simulators.clock import LocalCalendar
from pms_simulators.signals import drift, generator

DAY_S = 86400.0
WET_DAYS = 0.3  # share of days with rain
SPELL_S = 2.5 * DAY_S  # how long a warm or cold spell takes to turn
DRY_OUT_S = 10 * 3600.0  # the ground dries to half
SOAKED_MM = 15.0  # rain after which the ground takes no more


class Shower(NamedTuple):
    """Rain that rises to `peak_mm_h` in the middle and falls again, times in simulated seconds."""

    begin_s: float
    span_s: float
    peak_mm_h: float

    def rain(self, t: float) -> float:
        part = (t - self.begin_s) / self.span_s
        return self.peak_mm_h * (1 - abs(2 * part - 1)) if 0 < part < 1 else 0.0

    def fallen(self, t: float) -> float:
        """Millimetres by `t`."""
        part = min(1.0, max(0.0, (t - self.begin_s) / self.span_s))
        share = 2 * part * part if part < 0.5 else 1 - 2 * (1 - part) ** 2
        return self.peak_mm_h * self.span_s / 7200 * share


class Weather:
    """`key` names the site's randomness, so that all its machines stand in the same rain."""

    def __init__(self, key: int, calendar: LocalCalendar) -> None:
        self._key, self._calendar = key, calendar
        self._minute = -1
        self._now = (0.0, 0.0, 0.0)
        self._showers: dict[int, tuple[Shower, ...]] = {}

    def warmth_c(self, t: float) -> float:
        """Outdoor temperature above the season's mean at that hour, K; within about +-8."""
        return self._at(t)[0]

    def rain_mm_h(self, t: float) -> float:
        """Rain, mm/h: 0 on most days, up to about 12 in a shower."""
        return self._at(t)[1]

    def wetness(self, t: float) -> float:
        """How wet the ground is, 0 dry to 1 soaked; half of it dries in ten hours."""
        return self._at(t)[2]

    def _at(self, t: float) -> tuple[float, float, float]:
        minute = int(t // 60)
        if minute != self._minute:
            self._minute, self._now = minute, self._look(t)
        return self._now

    def _look(self, t: float) -> tuple[float, float, float]:
        day = int(t // DAY_S)
        showers = [s for d in range(day - 2, day + 1) for s in self._of_day(d)]
        rain = sum(shower.rain(t) for shower in showers)
        water = sum(s.fallen(t) * 0.5 ** (max(0.0, t - s.begin_s) / DRY_OUT_S) for s in showers)
        warmth = 2.3 * drift(self._key, t, SPELL_S)
        return warmth, rain, min(1.0, water / SOAKED_MM)

    def _of_day(self, day: int) -> tuple[Shower, ...]:
        known = self._showers.get(day)
        if known is None:
            rng = generator(self._key, day + 1_000_000)
            count = rng.randint(1, 3) if rng.random() < WET_DAYS else 0
            known = tuple(
                Shower(
                    day * DAY_S + rng.uniform(0, DAY_S),
                    rng.uniform(0.5, 5) * 3600,
                    rng.uniform(0.5, 3.5) ** 2,
                )
                for _ in range(count)
            )
            self._showers[day] = known
            self._showers.pop(day - 4, None)
        return known
