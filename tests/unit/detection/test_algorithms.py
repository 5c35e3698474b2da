"""What each algorithm is for."""

import numpy as np
import pytest
from scipy import stats

from pms_iot.assets.points import PointDef
from pms_iot.detection import tail
from pms_iot.detection.columnar import Watched
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.rate import Rate
from pms_iot.detection.seasonal import Seasonal
from pms_iot.detection.spec import DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.errors import ConfigError
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition, Gate
from tests.unit.detection.fleet import FixedCatalog, S, samples

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
    found = Rate([Watched(1, (10,), spec("rate", window_s=60))]).update(samples(1, t, x))
    np.testing.assert_allclose(found.value, 0.25, rtol=1e-9)


def test_rate_of_noise_agrees_with_scipy() -> None:
    t = np.arange(0, 64, 2.0)  # as far apart as the slots of a 64 s window, so that all are kept
    x = np.random.default_rng(3).standard_normal(len(t))
    found = Rate([Watched(1, (10,), spec("rate", window_s=64))]).update(samples(1, t, x))
    assert found.value[-1] == pytest.approx(stats.linregress(t, x).slope)


def test_rate_waits_for_half_a_window() -> None:
    t = np.arange(0, 29, 1.0)
    detector = Rate([Watched(1, (10,), spec("rate", window_s=60))])
    assert len(detector.update(samples(1, t, t))) == 0
    assert len(detector.update(samples(1, [31], [31.0]))) == 1


def test_stuck_counts_seconds_until_the_reading_moves() -> None:
    detector = Stuck([Watched(1, (10,), spec("stuck", min_change=0.1))])
    found = detector.update(samples(1, [0, 10, 20, 30], [1.0, 1.05, 0.98, 1.2]))
    assert found.value.tolist() == [0, 10, 20, 0]


def test_stuck_does_not_count_what_nobody_saw() -> None:
    detector = Stuck([Watched(1, (10,), spec("stuck"), period_s=1)])
    assert detector.update(samples(1, [0, 10, 500, 510], [1.0] * 4)).value.tolist() == [
        0,
        10,
        0,
        10,
    ]


def test_tail_of_an_exponential_is_calibrated() -> None:
    """Nominal against achieved: the share of new values scoring over s is 10^-s."""
    random = np.random.default_rng(5)
    counts = np.zeros((1, tail.BINS))
    for value in random.exponential(1.0, 20_000):
        counts[0, tail.bin_of(np.array([value]))[0]] += 1
    fresh = random.exponential(1.0, 50_000)
    scores = tail.Tail(np.repeat(counts, len(fresh), axis=0)).score(fresh)
    for nominal in (1.0, 2.0, 3.0):
        share = (scores > nominal).mean()
        assert share == pytest.approx(10**-nominal, rel=0.4)


def seasonal(**more: float) -> Seasonal:
    return Seasonal([Watched(1, (10, 11, 12), spec("seasonal", **more), zone="Asia/Shanghai")])


def noise(n: int) -> np.ndarray:
    return 20 + 0.5 * np.random.default_rng(11).standard_normal(n)


def test_seasonal_is_silent_on_noise_and_during_warm_up() -> None:
    found = seasonal(warmup_s=600).update(samples(1, np.arange(6000), noise(6000)))
    anomaly = score(found, 10)
    assert not anomaly[:600].any()
    assert anomaly.max() < 6


def test_seasonal_finds_a_level_shift_and_holds_it() -> None:
    x = noise(3000)
    x[2000:] += 6
    anomaly = score(seasonal(warmup_s=600).update(samples(1, np.arange(3000), x)), 10)
    assert anomaly[:2000].max() < 6
    assert anomaly[2001:].min() > 6  # what is learned is frozen, so the alarm stays


def test_one_spike_is_not_enough_two_are() -> None:
    x = noise(3000)
    x[2000] += 50
    x[2500:2502] += 50
    anomaly = score(seasonal(warmup_s=600).update(samples(1, np.arange(3000), x)), 10)
    assert anomaly[:2501].max() < 6
    assert anomaly[2501] > 6


def test_seasonal_takes_a_lasting_change_for_normal_after_the_longest_freeze() -> None:
    x = noise(4000)
    x[2000:] += 6
    anomaly = score(seasonal(warmup_s=300, freeze=600).update(samples(1, np.arange(4000), x)), 10)
    assert anomaly[2100:2600].min() > 6
    assert anomaly[2700:].max() < 6


def test_seasonal_learns_the_day() -> None:
    """A daily square wave: by the level each step is a surprise, by the day's profile none is."""
    t = np.arange(0, 6 * 86_400, 60.0)
    x = np.where((t % 86_400) < 43_200, 10.0, 20.0)
    x += 0.2 * np.random.default_rng(2).standard_normal(len(t))
    x[-200:-150] += 10  # a fault in the second half of the last day
    found = seasonal(warmup_s=2 * 86_400, level=1800).update(samples(1, t, x))
    anomaly = score(found, 10)
    assert anomaly[:-200].max() < 6
    assert anomaly[-198:-150].min() > 6


def test_band_holds_the_readings_and_not_the_fault() -> None:
    x = noise(2000)
    x[1500:] += 8
    found = seasonal(warmup_s=600).update(samples(1, np.arange(2000), x))
    low, high = found.take(found.series == 11), found.take(found.series == 12)
    inside = high.at < found.at.min() + 1500 * S
    assert (low.value[inside] < x[600:1500].min()).all()
    assert (high.value[inside] > x[600:1500].max()).all()
    assert (high.value[~inside] < x[1500:].min()).all()
    assert inside.sum() <= 900 / 30 + 30  # about one each 30 s


def test_detectors_want_their_points_in_the_register() -> None:
    catalog = FixedCatalog([("A", "k", "p", False)])
    with pytest.raises(ConfigError, match=r"p\.rate"):
        Detectors({"k": [spec("rate")]}, catalog)


def test_detectors_run_together_and_survive_a_restart_and_a_new_asset() -> None:
    derived = ("rate", "stuck")
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
