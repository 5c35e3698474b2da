"""What every detector must pass, whatever its algorithm."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.points import PointDef
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.calendar import Calendar
from pms_iot.detection.columnar import ColumnarDetector, Watched
from pms_iot.detection.drift import Drift
from pms_iot.detection.missing import Missing
from pms_iot.detection.rate import Rate
from pms_iot.detection.spec import SCORES, DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.arrays import size
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.gates import Lock
from tests.unit.detection import checks
from tests.unit.detection.fleet import T0, S, rows, samples

RUN = 9  # the series that the last watched one is gated by
STATE = 8  # the operating state of the fourth
ZONES = ("Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe", "UTC")
MAKE: dict[str, type[ColumnarDetector]] = {
    "anomaly": Anomaly,
    "drift": Drift,
    "rate": Rate,
    "stuck": Stuck,
    "missing": Missing,
}


def build(name: str, series: tuple[int, ...] = (1, 2, 3, 4)) -> ColumnarDetector:
    point = PointDef("p", Text("点", "point"))
    params = {"level": 60.0, "fast": 10.0, "reference": 120.0, "block": 20.0, "freeze": 300.0}
    spec = DetectorSpec(name, (point,), warmup_s=60, window_s=60, min_change=0.01, params=params)
    # What has no rows for states is tried without.
    by_state = spec if name == "missing" else replace(spec, by="state", blank_s=3)
    running = Lock(RUN, Condition("equals", values=(1.0,)), 5 * S)
    return MAKE[name](
        [
            Watched(
                s,
                tuple(100 * s + i for i in range(len(SCORES[name]))),
                by_state if s == 4 else spec,
                gate=(running,) if s == 3 else (),
                state=STATE if s == 4 else -1,
                zone=ZONES[s - 1],
                beside=(1, 2, 3, 4, STATE, RUN),
            )
            for s in series
        ]
    )


def stream(seconds: int = 700) -> Batch:
    """Series with noise, a flat stretch, a step, a ramp, two states, bad samples and a gap; whole reads."""
    random = np.random.default_rng(7)
    t = np.arange(seconds, dtype=float)
    x = 10 + 0.2 * random.standard_normal((4, seconds))
    x[0, 200:260] = x[0, 200]
    x[1, 400:] += 5
    x[2, 300:] += 0.05 * (t[300:] - 300)
    state = np.where((t // 70) % 2 < 1, 3.0, 1.0)
    x[3] += np.where(state == 3, 40, 0)
    x[:, 150:155] = np.nan
    parts = [samples(s + 1, t, x[s]) for s in range(4)]
    parts.append(samples(STATE, t[::5], state[::5]))
    run = samples(RUN, t, np.where((t // 50) % 4 < 3, 1.0, 0.0))
    all_ = Batch.concat([*parts, run]).sorted_by_time()
    return all_.take((all_.at < T0 + 500 * S) | (all_.at > T0 + 560 * S))


DATA = stream()


@cache
def whole(name: str) -> list[checks.Row]:
    """All scores of the stream."""
    return rows(build(name).update(DATA))


every_detector = pytest.mark.parametrize("name", list(MAKE))


def test_each_algorithm_is_in_the_battery() -> None:
    assert set(MAKE) == set(SCORES) - {
        "forecast"
    }  # which has a battery of its own: test_forecast.py


@every_detector
def test_it_says_something_and_only_finite_things(name: str) -> None:
    scores = build(name).update(DATA)
    assert len(scores) > 40
    assert np.isfinite(scores.value).all()
    assert set((scores.series // 100).tolist()) == {1, 2, 3, 4}


@every_detector
def test_input_is_not_mutated(name: str) -> None:
    checks.input_is_not_mutated(partial(build, name), DATA)


@every_detector
def test_bad_samples_are_masked(name: str) -> None:
    checks.bad_samples_are_masked(partial(build, name), DATA, whole(name))


@every_detector
@settings(max_examples=15, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_same_scores(name: str, places: list[int]) -> None:
    checks.any_cut_gives_the_same(partial(build, name), DATA, places, whole(name))


@every_detector
@settings(max_examples=8, deadline=None)
@given(place=st.integers(0, 10_000))
def test_restore_and_replay_equal_an_uninterrupted_run(name: str, place: int) -> None:
    checks.restore_and_replay_equal_an_uninterrupted_run(
        partial(build, name), DATA, place, whole(name)
    )


@every_detector
def test_duplicates_and_late_samples_are_dropped(name: str) -> None:
    checks.duplicates_and_late_samples_are_dropped(partial(build, name), DATA, whole(name))


@every_detector
def test_out_of_order_samples_count_for_nothing(name: str) -> None:
    """Within a batch as between batches: what comes after a newer one of its series is late."""
    late = DATA.take((DATA.at >= T0 + 200 * S) & (DATA.at < T0 + 210 * S))
    wild = Batch.of(late.series, late.at - 50 * S, late.value + 1e3, late.quality)
    before, after = DATA.take(DATA.at < T0 + 210 * S), DATA.take(DATA.at >= T0 + 210 * S)
    detector = build(name)
    assert rows(detector.update(Batch.concat([before, wild, after]))) == whole(name)


@every_detector
def test_a_clock_that_jumps_ahead_and_back_is_survived(name: str) -> None:
    """An hour ahead for ten seconds: what follows is late until time has caught up, then all goes on."""
    jump = DATA.take((DATA.at >= T0 + 250 * S) & (DATA.at < T0 + 260 * S))
    ahead = Batch.of(jump.series, jump.at + 3600 * S, jump.value, jump.quality)
    detector = build(name)
    detector.update(DATA.take(DATA.at < T0 + 250 * S))
    detector.update(ahead)
    assert len(detector.update(DATA.take(DATA.at >= T0 + 260 * S))) == 0
    again = Batch.of(DATA.series, DATA.at + 3700 * S, DATA.value, DATA.quality)
    found = detector.update(again)
    assert set((found.series // 100).tolist()) == {1, 2, 3, 4}
    assert np.isfinite(found.value).all()


def test_profiles_follow_the_wall_clock_where_it_is_changed() -> None:
    """The same quarter hour of the day before and after the change, in whole-hour and half-hour zones."""
    for zone, days, by_hand in (
        ("Europe/Berlin", ("2026-03-28", "2026-03-30"), (-3600, -7200)),
        ("Europe/Berlin", ("2026-10-24", "2026-10-26"), (-7200, -3600)),
        ("Australia/Lord_Howe", ("2026-04-04", "2026-04-06"), (-39600, -37800)),
    ):
        calendar = Calendar([zone])
        for day, shift in zip(days, by_hand, strict=True):
            noon = int(datetime.fromisoformat(f"{day}T12:07:00+00:00").timestamp()) + shift
            quarter, half = calendar.place(np.zeros(1, np.intp), np.array([noon * S]))
            assert quarter.tolist() == [48], (zone, day)
            weekday = datetime.fromisoformat(day).weekday()
            assert half.tolist() == [48 * weekday + 24], (zone, day)


@every_detector
def test_a_day_on_which_the_clock_is_changed_is_like_any_other(name: str) -> None:
    """A batch of a day or of minutes, across the change in Berlin and in a zone of half hours."""
    start = int(datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()) * S
    stretched = Batch.of(DATA.series, start + (DATA.at - T0) * 240, DATA.value, DATA.quality)
    whole = build(name).update(stretched)
    detector = build(name)
    parts = [detector.update(part) for part in checks.cut(stretched, [40, 300, 1111])]
    assert rows(whole) == rows(Batch.concat(parts))
    assert np.isfinite(whole.value).all()


@every_detector
def test_memory_is_bounded(name: str) -> None:
    detector = build(name)
    detector.update(DATA.take(DATA.at < T0 + 300 * S))
    early = size(detector.snapshot())
    detector.update(stream(2500))
    assert size(detector.snapshot()) < early + 2000  # a row may come, or a gate close


@every_detector
def test_series_that_come_later_leave_the_others_as_they_were(name: str) -> None:
    old = build(name, (1, 2))
    old.update(DATA.take(DATA.at < T0 + 300 * S))
    grown = build(name)
    grown.restore(old.snapshot())
    rest = DATA.take(DATA.at >= T0 + 300 * S)
    expected = rows(old.update(rest))
    assert [row for row in rows(grown.update(rest)) if row[0] < 300] == expected
