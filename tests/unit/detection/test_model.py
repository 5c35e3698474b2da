"""The asset model: the battery of the detectors, and what it is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import PointDef
from pms_iot.detection.asset_model import AssetModel
from pms_iot.detection.model import Models
from pms_iot.detection.ridge import PENALTY, Ridge
from pms_iot.detection.spec import DetectorSpec
from pms_iot.feedback.service import Limit
from pms_iot.kernel.arrays import pack, size, unpack
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from tests.unit.detection import checks
from tests.unit.detection.fleet import T0, S, rows

POINTS = ("flow", "head", "power")
KEYS = (*POINTS, "run", "state")
STATES = (1.0, 3.0)  # at rest, running


def point(key: str) -> PointDef:
    return PointDef(key, Text(key, key), "bool" if key == "run" else "number", period_s=1.0)


def spec(by: str = "state", **params: float) -> DetectorSpec:
    learned = {"learn": 300.0, "refit": 200.0, "freeze": 400.0, "band": 5.0}
    return DetectorSpec(
        "model",
        tuple(point(key) for key in (*POINTS, "run")),
        warmup_s=160,
        by=by,
        blank_s=2.0 if by else 0.0,
        params=learned | params,
        name="pump",
        label=Text("泵", "Pump"),
    )


def infos(assets: tuple[str, ...], of: DetectorSpec) -> list[SeriesInfo]:
    """Series count from 100 for the first asset, 200 for the second, …"""
    keys = [*KEYS, *(made.key for made in of.derived_points())]
    return [
        SeriesInfo(
            id=100 * (1 + int(asset[1:])) + i,
            asset_id=1,
            asset=asset,
            site="riverside",
            kind="pump",
            point=key,
            type=point(key).type,
            unit="",
            label_zh=key,
            label_en=key,
            low=None,
            high=None,
            period_s=1.0,
            derived=i >= len(KEYS),
        )
        for asset in assets
        for i, key in enumerate(keys)
    ]


def build(assets: tuple[str, ...] = ("A0", "A1"), of: DetectorSpec | None = None) -> Models:
    of = of or spec()
    return Models({"pump": [of]}, infos(assets, of), {"riverside": "Asia/Shanghai"})


def number(asset: int, key: str) -> int:
    keys = [*KEYS, *(made.key for made in spec().derived_points())]
    return 100 * (1 + asset) + keys.index(key)


def values(seconds: int, seed: int) -> np.ndarray:
    """(seconds, KEYS): a pump that runs two minutes of three; head and power follow the flow."""
    random = np.random.default_rng(seed)
    running = (np.arange(seconds) // 60) % 3 < 2
    flow = np.where(running, 10 + 0.3 * random.standard_normal(seconds), 0.0)
    head = np.where(running, 40 - 0.1 * flow**2, 0.0) + 0.05 * random.standard_normal(seconds)
    power = np.where(running, 2 + 0.3 * flow, 0.1) + 0.02 * random.standard_normal(seconds)
    flow = flow + 0.05 * random.standard_normal(seconds)
    return np.column_stack((flow, head, power, running, np.where(running, STATES[1], STATES[0])))


def read(asset: int, value: np.ndarray, start_s: int = 0) -> Batch:
    at = T0 + (start_s + np.arange(len(value))) * S
    series = np.array([number(asset, key) for key in KEYS])
    quality = np.where(np.isnan(value), 0, 192).ravel()
    return Batch.of(np.tile(series, len(at)), np.repeat(at, len(series)), value.ravel(), quality)


def stream(seconds: int = 1500) -> Batch:
    """Two pumps with a fault, bad samples and a gap; whole reads."""
    parts: list[Batch] = []
    for asset in (0, 1):
        value = values(seconds, seed=asset)
        value[900:, 2] += 0.5 * (asset == 1) * value[900:, 3]
        value[150:155, :3] = np.nan
        parts.append(read(asset, value))
    both = Batch.concat(parts).sorted_by_time()
    return both.take((both.at < T0 + 700 * S) | (both.at > T0 + 760 * S))


DATA = stream()
WHOLE = rows(build().update(DATA))


def of(batch: Batch, asset: int, key: str) -> Batch:
    return batch.take(batch.series == number(asset, key))


# -- the battery -------------------------------------------------------------------------------


def test_it_says_something_and_only_finite_things() -> None:
    found = build().update(DATA)
    assert np.isfinite(found.value).all()
    for asset in (0, 1):
        for made in spec().derived_points():
            assert len(of(found, asset, made.key)) > 20, made.key


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


def test_a_clock_that_jumps_back_is_waited_for_and_one_that_jumps_ahead_is_a_gap() -> None:
    models = build()
    early = DATA.take(DATA.at < T0 + 600 * S)
    models.update(early)
    assert len(models.update(early.take(early.at > T0 + 500 * S))) == 0
    ahead = read(0, values(60, seed=5), start_s=90_000)
    assert np.isfinite(models.update(ahead).value).all()


def test_memory_is_bounded() -> None:
    models = build()
    models.update(DATA.take(DATA.at < T0 + 500 * S))
    early = [size(model.snapshot()) for model in models.of().values()]
    models.update(stream(3000))
    assert [size(model.snapshot()) for model in models.of().values()] == early


def test_an_asset_scores_the_same_alone_and_beside_others() -> None:
    alone = build(("A1",)).update(DATA)
    assert rows(alone) == [row for row in WHOLE if row[0] >= 200]


def test_assets_that_come_later_leave_the_others_as_they_were() -> None:
    old = build(("A0",))
    early, late = (DATA.take((DATA.at < T0 + 600 * S) == first) for first in (True, False))
    old.update(early)
    grown = build(("A0", "A1"))
    grown.restore(old.snapshot())
    expected = rows(old.update(late))
    assert [row for row in rows(grown.update(late)) if row[0] < 200] == expected


def test_a_site_without_such_an_asset_starts_and_takes_one_that_comes() -> None:
    empty, later, alone = build(()), build(("A0",)), build(("A0",))
    batch = stream(600)
    assert len(empty.update(batch)) == 0
    later.restore(empty.snapshot())
    found, expected = later.update(batch), alone.update(batch)
    assert len(expected) > 0
    assert np.array_equal(found.series, expected.series)
    assert np.array_equal(found.value, expected.value)


# -- what it is for ------------------------------------------------------------------------------


def test_it_finds_the_pump_that_draws_more_power_and_names_the_point() -> None:
    found = build().update(DATA)
    healthy, faulty = (of(found, asset, "pump.excess") for asset in (0, 1))
    assert healthy.value.max() <= 1
    assert faulty.value[faulty.at < T0 + 900 * S].max() <= 1
    alarm_at = int(faulty.at[faulty.value > 1][0])
    assert T0 + 900 * S <= alarm_at < T0 + 960 * S
    share = {
        key: of(found, 1, f"{key}.share").value[
            of(found, 1, f"{key}.share").at >= alarm_at + 20 * S
        ][0]
        for key in POINTS
    }
    assert max(share, key=share.__getitem__) == "power"
    assert sum(share.values()) == pytest.approx(1.0)


def test_each_state_has_its_own_normal() -> None:
    """With states the standstill is no event; nothing is said in the two seconds after a change."""
    excess = of(build().update(DATA), 0, "pump.excess")
    second = (excess.at - T0) // S
    assert not np.isin(second % 180, (0, 1, 120, 121)).any()
    assert excess.value.max() <= 1


def test_an_unknown_state_is_not_judged() -> None:
    value = values(400, seed=0)
    value[200:, 4] = 0.0
    excess = of(build().update(read(0, value)), 0, "pump.excess")
    assert excess.at.max() < T0 + 200 * S


def test_a_stale_point_is_missing_not_zero() -> None:
    value = values(900, seed=0)
    value[600:, 1] = np.nan  # head is not read any more
    found = build().update(read(0, value))
    assert of(found, 0, "pump.excess").value.max() <= 1
    assert of(found, 0, "head.expected").at.max() < T0 + 610 * S
    assert of(found, 0, "pump.excess").at.max() > T0 + 880 * S


def test_an_alarm_holds_until_accepted_and_then_the_new_state_is_normal() -> None:
    of_pump = spec(freeze=100_000.0)
    models = build(("A1",), of_pump)
    value = values(2400, seed=1)
    value[900:, 2] += 0.5 * value[900:, 3]
    found = of(models.update(read(1, value[:1500])), 1, "pump.excess")
    assert found.value[-1] > 1
    models.accept(number(1, "pump.excess"), T0 + 1500 * S)
    after = of(models.update(read(1, value[1500:], start_s=1500)), 1, "pump.excess")
    assert after.value.max() <= 1


def test_false_alarms_raise_the_limit_and_true_faults_lower_it_again() -> None:
    def peak(outcomes: list[str]) -> float:
        models = build(("A1",))
        for outcome in outcomes:
            models.judged(number(1, "pump.excess"), outcome, T0)
        return float(of(models.update(DATA), 1, "pump.excess").value.max())

    plain, raised = peak([]), peak(["false_alarm", "no_fault_found"])
    assert raised < plain
    assert peak(["false_alarm", *["true_fault"] * 5]) == plain
    assert peak(["false_alarm", *["sensor_fault"] * 5]) == plain  # it was right, too


def level(models: Models) -> float:
    return models.limits()[number(1, "pump.excess")].limit


def test_the_limit_is_told_for_each_excess_with_its_target() -> None:
    models = build()
    models.judged(number(1, "flow.share"), "false_alarm", T0)  # any series that the model makes
    limits = models.limits()
    assert limits == {
        number(0, "pump.excess"): Limit(1.0, spec().budget),
        number(1, "pump.excess"): Limit(1.25, spec().budget),
    }
    models.judged(number(1, "flow"), "false_alarm", T0)  # measured: not ours
    assert models.limits() == limits


@pytest.mark.parametrize("outcome", ["true_fault", "false_alarm", "no_fault_found", "sensor_fault"])
@pytest.mark.parametrize("before", [0, 1, 20])
def test_a_verdict_taken_back_leaves_the_limit_where_it_was(outcome: str, before: int) -> None:
    """At the least and at the highest limit too, where a verdict moves nothing."""
    models, excess = build(("A1",)), number(1, "pump.excess")
    for _ in range(before):
        models.judged(excess, "false_alarm", T0)
    limit = level(models)
    models.judged(excess, outcome, T0)
    models.withdrawn(excess, outcome, T0)
    assert level(models) == pytest.approx(limit)


def test_the_limit_stays_between_one_and_four_and_survives_a_restart() -> None:
    models, excess = build(("A1",)), number(1, "pump.excess")
    for outcome, most in (("false_alarm", 4.0), ("true_fault", 1.0)):
        for _ in range(30):
            models.judged(excess, outcome, T0)
        assert level(models) == most
        resumed = build(("A1",))
        resumed.restore(models.snapshot())
        assert resumed.limits() == models.limits()


def test_a_fit_is_that_of_the_normal_equations() -> None:
    """Against numpy's least squares with the penalty as extra rows."""
    random = np.random.default_rng(4)
    ridge = Ridge(points=2, statuses=1, least=1.7)
    state = ridge.fresh(1)
    row = np.zeros(1, np.intp)
    state["ridge.origin"][:] = 0.0
    n = 400
    before = random.standard_normal((n, 3)) * [1, 5, 0.5]
    status = (random.random((n, 1)) < 0.5).astype(float)
    x = ridge.row(before, status, random.uniform(0, 24, n))
    y = x @ random.standard_normal((ridge.inputs, 2)) + 0.1 * random.standard_normal((n, 2))
    for i in range(n):
        ridge.learn(state, row, x[i : i + 1], y[i : i + 1])
    ridge.fit(state, row, np.zeros(1, np.int64), most=1e9)
    free = x[:, 1:]
    z = (free - free.mean(axis=0)) / free.std(axis=0)
    penalty = np.sqrt(PENALTY * n) * np.eye(z.shape[1])
    target = np.concatenate((y - y.mean(axis=0), np.zeros((z.shape[1], 2))))
    w = np.linalg.lstsq(np.concatenate((z, penalty)), target, rcond=None)[0]
    expected = y.mean(axis=0) + z @ w
    found = ridge.expected(state, np.zeros(n, np.intp), x)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_damaged_state_leaves_it_quiet_and_is_counted() -> None:
    models = build()
    models.update(DATA.take(DATA.at < T0 + 850 * S))
    state = bytearray(models.snapshot())
    state[-100] ^= 1
    again = build()
    again.restore(bytes(state))
    assert again.damaged == 1
    found = again.update(DATA.take(DATA.at >= T0 + 850 * S))
    first = found.take(found.at < T0 + 1000 * S)
    assert not of(first, 1, "pump.excess").value.any()


def test_a_state_of_another_version_is_refused_as_a_whole() -> None:
    model = AssetModel(spec(), [])
    meta, arrays = unpack(model.snapshot())
    model.restore(pack(meta, arrays))
    del arrays["chart.home"]
    with pytest.raises(ValueError, match=r"without chart\.home"):
        model.restore(pack(meta, arrays))
