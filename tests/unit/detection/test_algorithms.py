"""What each algorithm is for."""

import numpy as np
import pytest
from scipy import stats

from pms_iot.assets.points import PointDef
from pms_iot.detection import tail
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.columnar import Watched
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.missing import Missing
from pms_iot.detection.rate import Rate
from pms_iot.detection.spec import DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.errors import ConfigError
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition, Gate
from tests.unit.detection.fleet import T0, FixedCatalog, S, samples

POINT = PointDef("p", Text("点", "point"))


def spec(detector: str, **more: float) -> DetectorSpec:
    names = ("warmup_s", "window_s", "min_change")
    fields = {name: more.pop(name) for name in names if name in more}
    return DetectorSpec(detector, (POINT,), params=more, **fields)


def score(batch: Batch, series: int) -> np.ndarray:
    return batch.value[batch.series == series]


def test_rate_is_the_least_squares_slope() -> None:
    t = np.arange(0, 120, 2.0)
    x = 3 + 0.25 * t
    found = Rate([Watched(1, (10, 11), spec("rate", window_s=60))]).update(samples(1, t, x))
    np.testing.assert_allclose(score(found, 10), 0.25, rtol=1e-9)


def test_rate_of_noise_agrees_with_scipy() -> None:
    t = np.arange(0, 64, 2.0)  # as far apart as the slots of a 64 s window, so that all are kept
    x = np.random.default_rng(3).standard_normal(len(t))
    found = Rate([Watched(1, (10, 11), spec("rate", window_s=64))]).update(samples(1, t, x))
    assert score(found, 10)[-1] == pytest.approx(stats.linregress(t, x).slope)


def test_rate_is_the_same_beside_many_other_series() -> None:
    """More rows than are fitted at once, each with a slope of its own."""
    series, t = np.arange(1, 1201), np.arange(0, 64, 2.0)
    watched = [Watched(i, (2000 + i, 4000 + i), spec("rate", window_s=60)) for i in series.tolist()]
    batches = [samples(i, t, 0.25 * i * t) for i in series.tolist()]
    found = Rate(watched).update(Batch.concat(batches).sorted_by_time())
    last = found.take((found.at == T0 + 62 * S) & (found.series < 4000))
    np.testing.assert_allclose(last.value, 0.25 * (last.series - 2000), rtol=1e-9)


def test_rate_is_right_when_a_clock_says_1970() -> None:
    """The window reaches before the epoch, where empty slots seem to lie."""
    t = np.arange(1, 50, 2)
    found = Rate([Watched(1, (10, 11), spec("rate", window_s=60))]).update(
        Batch.of(np.ones(len(t)), t * S, 0.5 * t)
    )
    np.testing.assert_allclose(score(found, 10), 0.5, rtol=1e-9)


def test_rate_waits_for_half_a_window() -> None:
    t = np.arange(0, 29, 1.0)
    detector = Rate([Watched(1, (10, 11), spec("rate", window_s=60))])
    assert len(detector.update(samples(1, t, t))) == 0
    assert len(score(detector.update(samples(1, [31], [31.0])), 10)) == 1


def test_stuck_counts_seconds_until_the_reading_moves() -> None:
    detector = Stuck([Watched(1, (10,), spec("stuck", min_change=0.1))])
    found = detector.update(samples(1, [0, 10, 20, 30], [1.0, 1.05, 0.98, 1.2]))
    assert found.value.tolist() == [0, 10, 20, 0]


def test_stuck_does_not_count_what_nobody_saw() -> None:
    detector = Stuck([Watched(1, (10,), spec("stuck", min_change=0.1), period_s=1)])
    assert detector.update(samples(1, [0, 10, 500, 510], [1.0] * 4)).value.tolist() == [
        0,
        10,
        0,
        10,
    ]


def test_stuck_learns_what_change_is_and_that_a_constant_reading_is_none() -> None:
    random = np.random.default_rng(4)
    moving = 20 + random.standard_normal(400)
    moving[300:] = moving[300]
    binary = np.where(np.arange(400) % 100 < 50, 1.0, 0.0)
    for x, longest in ((moving, 99.0), (binary, 0.0), (np.full(400, 5.0), 0.0)):
        found = Stuck([Watched(1, (10,), spec("stuck"))]).update(samples(1, np.arange(400), x))
        assert found.value.max() == longest


def test_rate_is_improbable_only_beside_its_own_past() -> None:
    x = np.cumsum(np.random.default_rng(6).standard_normal(3000)) * 0.1
    x[2500:] += 3.0 * np.arange(500)
    found = Rate([Watched(1, (10, 11), spec("rate", window_s=60))])
    steep = score(found.update(samples(1, np.arange(3000), x)), 11)
    assert steep[:2400].max() < 4
    assert steep[2500:2560].max() > 6


def test_missing_measures_silence_in_the_longest_usual_interval() -> None:
    """Every ten seconds, then silence while another point of the asset goes on."""
    detector = Missing([Watched(1, (10,), spec("missing"), period_s=1, beside=(1, 2))])
    t = np.arange(0, 1200, 10.0)
    value = samples(1, t[t < 600], np.ones(60))
    other = samples(2, t, np.ones(120))
    found = detector.update(Batch.concat([value, other]).sorted_by_time())
    spoken, silent = found.at < T0 + 600 * S, found.at >= T0 + 700 * S
    assert found.value[spoken].max() <= 1
    np.testing.assert_allclose(
        found.value[silent], (found.at[silent] - T0 - 590 * S) / (10 * S), rtol=0.1
    )


def test_missing_says_nothing_while_the_whole_asset_is_silent() -> None:
    detector = Missing([Watched(1, (10,), spec("missing"), period_s=1, beside=(1, 2))])
    t = np.concatenate((np.arange(0, 600, 1.0), np.arange(4000, 4600, 1.0)))
    both = [samples(s, t, np.ones(1200)) for s in (1, 2)]
    assert detector.update(Batch.concat(both).sorted_by_time()).value.max() <= 1


def test_tail_of_an_exponential_is_calibrated() -> None:
    """Nominal against achieved: the share of new values scoring over s is 10^-s."""
    random = np.random.default_rng(5)
    counts = np.zeros((1, tail.BINS), np.float32)
    np.add.at(counts[0], tail.bin_of(random.exponential(1.0, 20_000)), 1)
    fresh = random.exponential(1.0, 50_000)
    scores = tail.score(np.repeat(counts, len(fresh), axis=0), fresh, tail.bin_of(fresh))
    for nominal in (1.0, 2.0, 3.0):
        share = (scores > nominal).mean()
        assert share == pytest.approx(10**-nominal, rel=0.4)


def test_bins_lie_between_their_edges() -> None:
    z = np.random.default_rng(1).exponential(10.0, 1000)
    bins = tail.bin_of(z)
    assert (tail.EDGES[bins] <= z * (1 + 1e-6)).all()
    assert (z <= (tail.EDGES + tail.WIDTHS)[bins] * (1 + 1e-6)).all()
    assert tail.bin_of(np.array([0.0, 1e-9, 1e9])).tolist() == [0, 0, tail.BINS - 1]


def test_nine_of_ten_values_lie_up_to_the_bin_of_the_90_percent_quantile() -> None:
    z = np.random.default_rng(1).exponential(1.0, 5000)
    counts = np.zeros(tail.BINS, np.float32)
    np.add.at(counts, tail.bin_of(z), 1)
    assert int(tail.quantile_bin(counts)) == int(tail.bin_of(np.array([np.quantile(z, 0.9)]))[0])


def test_a_histogram_is_read_the_same_alone_and_among_many() -> None:
    random = np.random.default_rng(8)
    counts = random.integers(0, 50, (400, tail.BINS)).astype(np.float32) / np.float32(3)
    counts[random.random(counts.shape) < 0.7] = 0
    counts[7] = 0
    many, reach = tail.quantile_bin(counts), tail.reach(counts, 1e-3)
    for i in range(len(counts)):
        assert tail.quantile_bin(counts[i]) == many[i]
        assert tail.reach(counts[i : i + 1], 1e-3) == reach[i]


ANOMALY, EXCESS, LOW, HIGH, CAUSE = range(10, 15)
QUICK = {"warmup_s": 600.0, "fall": 4500.0, "least": 8.0}


def anomaly(**more: float) -> Anomaly:
    watched = Watched(1, (10, 11, 12, 13, 14), spec("anomaly", **more), zone="Asia/Shanghai")
    return Anomaly([watched])


def noise(n: int) -> np.ndarray:
    return 20 + 0.5 * np.random.default_rng(11).standard_normal(n)


def test_it_is_silent_on_noise_and_during_warm_up() -> None:
    found = anomaly(**QUICK).update(samples(1, np.arange(8000), noise(8000)))
    assert not found.value[(found.series == ANOMALY) & (found.at < T0 + 600 * S)].any()
    assert score(found, EXCESS).max() <= 1


def test_it_finds_a_level_shift_holds_it_and_says_what_it_is() -> None:
    x = noise(6000)
    x[5000:] += 6
    found = anomaly(**QUICK).update(samples(1, np.arange(6000), x))
    excess = found.take(found.series == EXCESS)
    assert excess.value[excess.at < T0 + 5000 * S].max() <= 1
    assert excess.value[excess.at > T0 + 5010 * S].min() > 1
    causes = score(found, CAUSE)
    assert set(causes.tolist()) <= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    assert (causes != 5).mean() > 0.9  # not for its variance


def test_it_takes_a_lasting_change_for_normal_after_the_longest_freeze() -> None:
    x = noise(9000)
    x[5000:] += 6
    found = anomaly(**QUICK, freeze=900).update(samples(1, np.arange(9000), x))
    excess = found.take(found.series == EXCESS)
    assert excess.value[(excess.at > T0 + 5010 * S) & (excess.at < T0 + 5800 * S)].min() > 1
    assert excess.value[excess.at > T0 + 7000 * S].max() <= 1


def test_an_operator_may_take_the_level_for_normal_sooner() -> None:
    x = noise(9000)
    x[5000:] += 6
    detector = anomaly(**QUICK)
    detector.update(samples(1, np.arange(5200), x[:5200]))
    detector.accept(EXCESS, T0 + 5200 * S)
    excess = score(detector.update(samples(1, np.arange(5200, 9000), x[5200:])), EXCESS)
    assert excess.max() <= 1


def test_it_learns_the_day() -> None:
    """A daily square wave: no step is a surprise once the days are known, an odd hour is."""
    t = np.arange(0, 20 * 86_400, 300.0)
    x = np.where((t % 86_400) < 43_200, 10.0, 20.0)
    x += 0.2 * np.random.default_rng(2).standard_normal(len(t))
    x[-100:-90] = 15 + 5 * np.sign(15 - x[-100:-90])  # the level of the other half of the day
    found = anomaly(warmup_s=3 * 86_400).update(samples(1, t, x))
    excess = found.take(found.series == EXCESS)
    odd = excess.at >= T0 + int(t[-100]) * S
    assert excess.value[~odd].max() <= 1
    assert excess.value[odd].max() > 1


def test_band_holds_the_readings_and_not_the_fault() -> None:
    x = noise(6000)
    x[5000:] += 8
    found = anomaly(**QUICK).update(samples(1, np.arange(6000), x))
    low, high = found.take(found.series == LOW), found.take(found.series == HIGH)
    learned = (high.at > T0 + 2000 * S) & (high.at < T0 + 5000 * S)
    assert (low.value[learned] < np.quantile(x[2000:5000], 0.01)).all()
    assert (high.value[learned] > np.quantile(x[2000:5000], 0.99)).all()
    first = (high.at >= T0 + 5000 * S) & (high.at < T0 + 5010 * S)
    assert (high.value[first] < x[5000:5010].min()).all()
    assert learned.sum() <= 3000 / 30 + 100  # about one each 30 s


def test_a_false_alarm_raises_the_limit_and_a_true_fault_does_not() -> None:
    x = noise(6000)
    x[5000:] += 6

    def limit_after(*outcomes: str) -> float:
        detector = anomaly(**QUICK)
        detector.update(samples(1, np.arange(6000), x))
        for outcome in outcomes:
            detector.judged(EXCESS, outcome, T0 + 6000 * S)
        return detector.limits()[EXCESS].limit

    unjudged = limit_after()
    assert limit_after("true_fault") < unjudged < limit_after("false_alarm")
    assert limit_after("sensor_fault") == limit_after("true_fault")
    assert limit_after("no_fault_found") == limit_after("false_alarm")


def test_detectors_want_their_points_in_the_register() -> None:
    catalog = FixedCatalog([("A", "k", "p", False)])
    with pytest.raises(ConfigError, match=r"p\.rate"):
        Detectors({"k": [spec("rate")]}, catalog)


def test_detectors_run_together_and_survive_a_restart_and_a_new_asset() -> None:
    derived = ("rate", "rate_anomaly", "stuck")
    points = [(a, "k", p, d) for a in ("A", "B") for p, d in [("p", False), ("run", False)]]
    points += [(a, "k", f"p.{d}", True) for a in ("A", "B") for d in derived]
    catalog = FixedCatalog(points)
    gate = Gate("run", Condition("equals", values=(1.0,)))
    stuck = DetectorSpec("stuck", (POINT,), min_change=0.1, when=(gate,))
    specs = {"k": [spec("rate", window_s=10), stuck]}
    detectors = Detectors(specs, catalog)
    t = np.arange(20.0)
    first = Batch.concat(
        [samples(catalog.id("A", "p"), t, np.ones(20)), samples(catalog.id("A", "run"), t, t >= 10)]
    )
    found = detectors.update(first)
    assert score(found, catalog.id("A", "p.stuck")).tolist() == [0.0] * 10 + list(range(1, 11))
    resumed = Detectors(specs, catalog)
    resumed.restore(detectors.snapshot())
    assert len(resumed.update(first)) == 0
    assert resumed.snapshot() == detectors.snapshot()
    assert resumed.config_hash == detectors.config_hash
    assert Detectors({"k": [stuck]}, catalog).config_hash != detectors.config_hash
    catalog.generation += 1
    more = resumed.update(samples(catalog.id("A", "p"), [20.0], [1.0]))
    assert score(more, catalog.id("A", "p.stuck")).tolist() == [11.0]
