"""The forecast detector: the battery that every detector must pass, and what a forecast is for."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pms_iot.assets.points import PointDef
from pms_iot.detection import paths
from pms_iot.detection.columnar import Watched
from pms_iot.detection.forecast import Forecast
from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.arrays import size
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.gates import Lock
from tests.unit.detection import checks
from tests.unit.detection.fleet import T0, S, rows, samples

RUN = 9  # the series that the last watched one is gated by
DAY = 86_400
POINT = PointDef("p", Text("点", "point"))
Law = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def build(series: tuple[int, ...] = (1, 2, 3)) -> Forecast:
    """Bins of 4 s: a forecast of minutes, for the battery."""
    spec = DetectorSpec("forecast", (POINT,), window_s=480, limit=30.0, horizon_s=1500)
    running = Lock(RUN, Condition("equals", values=(1.0,)), 5 * S)
    return Forecast(
        [
            Watched(s, (100 * s, 100 * s + 1, 100 * s + 2), spec, gate=(running,) if s == 3 else ())
            for s in series
        ]
    )


def stream(seconds: int = 700) -> Batch:
    """Three series with noise, ramps, a repair, bad samples, a gap, and a clock that jumps."""
    random = np.random.default_rng(7)
    t = np.arange(seconds, dtype=float)
    x = 10 + 0.2 * random.standard_normal((3, seconds))
    x[0] += 0.02 * np.maximum(t - 100, 0)
    x[1] += 0.05 * np.where(t < 350, t, 0)
    x[2] += 0.03 * t
    x[:, 150:155] = np.nan
    parts = [samples(s + 1, t, x[s]) for s in range(3)]
    run = samples(RUN, t, np.where((t // 50) % 4 < 3, 1.0, 0.0))
    ahead = samples(1, [seconds + 30.0], [12.0])  # what comes before that is late
    all_ = Batch.concat([*parts, run]).sorted_by_time()
    all_ = all_.take((all_.at < T0 + 500 * S) | (all_.at > T0 + 560 * S))
    return Batch.concat([all_, ahead, samples(1, [seconds + 10.0], [12.0])])


DATA = stream()


WHOLE = rows(build().update(DATA))


def test_it_says_something_and_only_finite_things() -> None:
    scores = build().update(DATA)
    assert len(scores) > 100
    assert np.isfinite(scores.value).all()
    assert set((scores.series // 100).tolist()) == {1, 2, 3}


def test_input_is_not_mutated() -> None:
    checks.input_is_not_mutated(build, DATA)


def test_bad_samples_are_masked() -> None:
    checks.bad_samples_are_masked(build, DATA, WHOLE)


@settings(max_examples=15, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_same_scores(places: list[int]) -> None:
    checks.any_cut_gives_the_same(build, DATA, places, WHOLE)


@settings(max_examples=8, deadline=None)
@given(place=st.integers(0, 10_000))
def test_restore_and_replay_equal_an_uninterrupted_run(place: int) -> None:
    checks.restore_and_replay_equal_an_uninterrupted_run(build, DATA, place, WHOLE)


def test_duplicates_and_late_samples_are_dropped() -> None:
    checks.duplicates_and_late_samples_are_dropped(build, DATA, WHOLE)


def test_memory_is_bounded() -> None:
    detector = build()
    detector.update(DATA.take(DATA.at < T0 + 300 * S))
    early = size(detector.snapshot())
    detector.update(stream(2500))
    assert size(detector.snapshot()) == early


def test_series_that_come_later_leave_the_others_as_they_were() -> None:
    old = build((1, 2))
    old.update(DATA.take(DATA.at < T0 + 300 * S))
    grown = build()
    grown.restore(old.snapshot())
    rest = DATA.take(DATA.at >= T0 + 300 * S)
    expected = rows(old.update(rest))
    assert [row for row in rows(grown.update(rest)) if row[0] < 300] == expected


# -- what a forecast is for ----------------------------------------------------------------


def history(law: Law, days: float, *, noise: float = 0.2, seed: int = 1, series: int = 1) -> Batch:
    """A sample each 15 min."""
    t = np.arange(0, days * DAY, 900.0)
    value = law(t / DAY) + noise * np.random.default_rng(seed).standard_normal(len(t))
    return samples(series, t.tolist(), value.tolist())


def forecasts(
    batch: Batch, *, limit: float = 10.0, rising: bool = True, horizon_days: float = 90.0
) -> NDArray[np.float64]:
    """Rows of: day, days_left, days_lo, days_hi."""
    spec = DetectorSpec(
        "forecast",
        (POINT,),
        window_s=30.0 * DAY,
        limit=limit,
        rising=rising,
        horizon_s=horizon_days * DAY,
    )
    scores = Forecast([Watched(1, (11, 12, 13), spec)]).update(batch)
    days, low, high = (scores.take(scores.series == series) for series in (11, 12, 13))
    np.testing.assert_array_equal(days.at, low.at)
    np.testing.assert_array_equal(days.at, high.at)
    return np.column_stack(((days.at - T0) / (S * DAY), days.value, low.value, high.value))


def ramp(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """2 until day 15, then 0.25 a day: 10 on day 47."""
    return 2 + 0.25 * np.maximum(t - 15, 0)


def test_a_ramp_is_seen_weeks_ahead_and_its_date_is_in_the_interval() -> None:
    found = forecasts(history(ramp, 47))
    assert found[0, 0] < 30  # 17 days ahead of the crossing
    left = 47 - found[:, 0]
    inside = (found[:, 2] <= left + 0.5) & (left - 0.5 <= found[:, 3])
    assert inside.mean() > 0.8
    assert (found[:, 2] <= found[:, 1]).all()
    assert (found[:, 1] <= found[:, 3]).all()
    assert np.abs(found[-20:, 1] - left[-20:]).max() < 1.5


def test_exponential_growth_is_not_taken_for_a_line() -> None:
    def law(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2 + 0.16 * np.exp((t - 10) / 8) * (t >= 10)

    crosses = 10 + 8 * np.log(8 / 0.16)
    found = forecasts(history(law, 38, noise=0.05))
    near = found[(crosses - found[:, 0] < 10)]
    assert np.abs(near[:, 1] - (crosses - near[:, 0])).max() < 2.5


def test_a_quantity_may_fall_to_its_limit() -> None:
    up, down = history(ramp, 40), history(lambda t: -ramp(t), 40)
    mirrored = Batch.of(up.series, up.at, -up.value)
    np.testing.assert_array_equal(
        forecasts(mirrored, limit=-10.0, rising=False), forecasts(up, limit=10.0)
    )
    assert len(forecasts(down, limit=-10.0, rising=False)) > 20


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(lambda t: np.full_like(t, 5.0), id="steady"),
        pytest.param(lambda t: 5 + 3 * np.sin(2 * np.pi * t), id="by day and night"),
        pytest.param(lambda t: np.where(t > 25, 8.0, 3.0), id="a step"),
        pytest.param(lambda t: 8 - 0.1 * t, id="away from the limit"),
        pytest.param(lambda t: 5 + 0.01 * t, id="too slow for the horizon"),
    ],
)
def test_without_a_trend_towards_the_limit_it_is_silent(law: Law) -> None:
    assert len(forecasts(history(law, 60))) == 0


def test_the_time_of_day_does_not_hide_a_trend() -> None:
    found = forecasts(history(lambda t: ramp(t) + 2 * np.sin(2 * np.pi * t), 45))
    assert found[0, 0] < 32


def test_a_repair_ends_the_forecast_with_one_word_and_the_history_before_it_is_forgotten() -> None:
    found = forecasts(history(lambda t: np.where(t < 40, ramp(t), 2.0), 80))
    ended = found[found[:, 0] > 40]
    assert ended[-1, 1:].tolist() == [90.0, 90.0, 90.0]
    assert ended[-1, 0] < 41.5
    again = forecasts(history(lambda t: np.where(t < 40, ramp(t), ramp(t - 45)), 92))
    later = again[again[:, 0] > 45]
    assert 60 < later[0, 0] < 78  # learned anew from day 60 on, where the growth begins anew
    assert np.abs(later[-8:, 1] - (92 - later[-8:, 0])).max() < 2


def test_beyond_the_limit_no_day_is_left_even_if_it_grows_no_further() -> None:
    found = forecasts(history(lambda t: np.minimum(ramp(t), 11.0), 70))
    assert found[-1, 1:].tolist() == [0.0, 0.0, 0.0]
    assert found[-1, 0] > 69


def test_bursts_of_wrong_readings_do_not_matter() -> None:
    clean = history(ramp, 40)
    wild = clean.value.copy()
    wild[np.arange(len(wild)) % 24 == 5] = 500.0  # one reading of each bin
    spoilt = Batch.of(clean.series, clean.at, wild)
    assert len(forecasts(spoilt)) > 0.8 * len(forecasts(clean))


def test_a_week_without_samples_is_survived() -> None:
    whole = history(ramp, 46)
    torn = whole.take((whole.at < T0 + 22 * DAY * S) | (whole.at > T0 + 29 * DAY * S))
    last = forecasts(torn)[-1]
    assert last[2] - 0.5 <= 47 - last[0] <= last[3] + 0.5


# -- the arithmetic ------------------------------------------------------------------------


def test_students_distribution_is_that_of_scipy() -> None:
    t = np.linspace(-6, 6, 121)
    for freedom in (10, 20, 110):
        np.testing.assert_allclose(paths.student(t, freedom), stats.t.cdf(t, freedom), atol=1.5e-3)


def test_autocorrelation_of_known_noise_is_found_without_bias() -> None:
    random = np.random.default_rng(3)
    for rho in (0.0, 0.5, 0.8):
        found: list[float] = []
        for _ in range(200):
            noise = random.standard_normal(180)
            for i in range(1, 180):
                noise[i] += rho * noise[i - 1]
            noise = noise[60:]
            x = np.linspace(-1, 0, 120)
            fitted = np.polynomial.Polynomial.fit(x, noise, 1)(x)
            found.append(paths.autocorrelation(noise - fitted, 2))
        assert abs(float(np.mean(found)) - rho) < 0.06


def test_the_interval_of_a_line_agrees_with_ordinary_least_squares() -> None:
    """Against scipy, where there is nothing but a line and white noise: the estimate of its slope."""
    random = np.random.default_rng(5)
    days = np.linspace(-30, 0, 120)
    value = 8 + 0.1 * days + 0.2 * random.standard_normal(120)
    verdict = paths.judge(days, value, np.zeros(120, np.int64), 10.0, 90.0, believed=False)
    line = stats.linregress(days, value)
    expected = (10 - line.intercept) / line.slope
    assert verdict.crossing is not None
    assert verdict.crossing.low < expected < verdict.crossing.high


def test_what_falls_by_factors_is_forecast_by_its_logarithm() -> None:
    """A seal that leaks: 500 kΩ falls to 10 kΩ in 30 days by the same factor each day."""
    t = np.arange(0, 27 * DAY, 900.0)
    leak = np.maximum(t / DAY - 10, 0) / 30
    noise = np.random.default_rng(4).normal(0, 5, len(t))
    batch = samples(1, t.tolist(), (500 * (10 / 500) ** leak + noise).tolist())
    spec = DetectorSpec(
        "forecast",
        (POINT,),
        window_s=30.0 * DAY,
        limit=50.0,
        rising=False,
        params={"log": 1.0},
    )
    scores = Forecast([Watched(1, (11, 12, 13), spec)]).update(batch)
    crosses = 10 + 30 * np.log(10) / np.log(50)
    last = scores.take(scores.series == 11)
    assert abs(last.value[-1] - (crosses - (last.at[-1] - T0) / (S * DAY))) < 1
