"""The chart over the points of an asset: when an alarm begins and ends, and what becomes the reference."""

import numpy as np

from pms_iot.detection.chart import Chart
from pms_iot.kernel.arrays import Arrays

WARMUP = 400
CHART = Chart(points=2, warmup=float(WARMUP), limit=0.75)


class Watch:
    """One asset, a reading a step. The first point is moved, the second only makes its noise."""

    def __init__(self) -> None:
        self.state: Arrays = CHART.fresh(1)
        self._random = np.random.default_rng(3)
        self.see(np.zeros(2 * WARMUP))

    def see(self, levels: np.ndarray) -> np.ndarray:
        """Whether the first point is in alarm at each of these readings; levels: in its noise."""
        rows, one = np.zeros(1, np.intp), np.ones(1)
        found = np.empty(len(levels), np.bool_)
        for i, level in enumerate(levels):
            value = 20 + self._random.standard_normal((1, 2)) + [[level, 0.0]]
            CHART.judge(self.state, rows, value, one, one)
            found[i] = self.state["chart.alarm"][0, 0]
        assert not self.state["chart.alarm"][0, 1]
        return found

    @property
    def reference(self) -> float:
        return float(self.state["chart.reference"][0, 0])


def hold(level: float, steps: int) -> np.ndarray:
    return np.full(steps, level)


def fall(high: float, low: float, steps: int) -> np.ndarray:
    """From one level to another, slower than the average follows."""
    return low + (high - low) * np.exp(-np.arange(steps) / (2 * CHART.fast))


def test_what_happens_is_only_noise_and_nothing_is_said() -> None:
    assert not Watch().see(np.zeros(2000)).any()


def test_a_higher_limit_is_judged_by_a_shorter_average() -> None:
    low, high = (Chart(points=1, warmup=400.0, limit=limit).fast for limit in (0.75, 2.0))
    assert low * 0.75 == high * 2.0
    assert Chart(points=1, warmup=400.0, limit=0.01).fast == 50  # a quarter of the reference's


def test_a_shift_of_two_noises_is_found_and_a_large_one_at_once() -> None:
    assert Watch().see(hold(2.0, 100))[-1]
    assert Watch().see(hold(40.0, 5))[-1]


def test_the_alarm_of_a_fault_that_ends_ends_and_the_old_reference_stays() -> None:
    watch = Watch()
    before = watch.reference
    assert watch.see(hold(10.0, 200))[-1]
    alarm = watch.see(hold(0.0, 400))
    assert not alarm[int(4 * CHART.fast) :].any()
    assert abs(watch.reference - before) < 0.5


def test_what_is_left_after_a_repair_becomes_the_reference_once_it_is_still() -> None:
    watch = Watch()
    assert watch.see(hold(400.0, 200))[-1]
    alarm = watch.see(fall(400.0, 8.0, 1000))
    assert not alarm[200:].any()
    assert abs(watch.reference - 28) < 1


def test_a_point_that_swings_through_its_old_level_is_out_on_the_other_side() -> None:
    watch = Watch()
    assert watch.see(hold(10.0, 200))[-1]
    assert watch.see(hold(-6.0, 400))[-1]
    assert abs(watch.reference - 20) < 0.5


def test_a_fault_that_comes_back_before_the_point_is_still_is_found() -> None:
    watch = Watch()
    assert watch.see(hold(40.0, 200))[-1]
    alarm = watch.see(fall(40.0, 4.0, 120))
    assert not alarm[-1]
    assert watch.see(hold(40.0, 100))[-1]
    assert abs(watch.reference - 20) < 0.5


def test_a_point_that_never_comes_to_rest_after_an_alarm_is_heard_again() -> None:
    watch = Watch()
    assert watch.see(hold(400.0, 200))[-1]
    wave = 60 + 30 * np.sin(np.arange(1000) / 20)
    alarm = watch.see(wave)
    assert not alarm[200]
    assert alarm.sum() > 500
