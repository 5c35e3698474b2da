"""Computed points: sums over windows, however the samples come, and values against their own past."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.points import PointDef
from pms_iot.derived.computed import Against, ComputedSpec
from pms_iot.derived.derived import Derived
from pms_iot.derived.formula import Floats, Formula, Input, Stat
from pms_iot.derived.physics.catalogue import FORMULAS
from pms_iot.derived.spec import DerivedSpecs
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition, Gate
from tests.unit.detection import checks
from tests.unit.detection.fleet import T0, FixedCatalog, S, rows, samples

ON = Condition("equals", values=(1.0,))
DAY = 86_400
STATS: tuple[Stat, ...] = ("mean", "slope", "gain", "share", "starts")


def number(key: str) -> PointDef:
    return PointDef(key, Text(key, key), derived=True)


def itself(value: Floats) -> Floats:
    return value


def computed(key: str, stat: Stat, source: str, *when: Gate, every_s: float = 60) -> ComputedSpec:
    formula = Formula(f"plain {stat}", None, (Input("value", stat),), itself)
    return ComputedSpec(number(key), formula, ((source,),), every_s=every_s, when=when)


SPECS = {
    "pump": DerivedSpecs(
        computed=(
            computed("mean", "mean", "x", Gate("run", ON, 2)),
            computed("slope", "slope", "x"),
            computed("gain", "gain", "x", Gate("run", ON)),
            computed("share", "share", "state"),
            computed("starts", "starts", "state"),
        )
    )
}
ASSETS = ("A", "B")
KEYS = ("x", "run", "state")
FLEET = FixedCatalog(
    [(asset, "pump", key, key in STATS) for asset in ASSETS for key in (*KEYS, *STATS)]
)


def plant(seed: int) -> Batch:
    """Two pumps read each second, with a gap, lost values and doubled reads; ordered by time."""
    random = np.random.default_rng(seed)
    parts: list[Batch] = []
    for asset in ASSETS:
        t = np.flatnonzero(random.random(600) < 0.95).astype(float)
        silent = random.integers(0, 400)
        t = t[(t < silent) | (t > silent + random.integers(0, 250))]
        nth = t.astype(int)
        x = np.cumsum(random.normal(0.1, 1, 600))[nth]
        x[random.random(len(t)) < 0.02] = np.nan
        run = np.repeat(random.integers(0, 2, 100), 6)[nth]
        state = np.repeat(random.choice([0, 1, 1, 2, 3], 100), 6)[nth]
        for key, value in (("x", x), ("run", run), ("state", state)):
            parts.append(samples(FLEET.id(asset, key), t.tolist(), value.tolist()))
    batch = Batch.concat(parts).sorted_by_time()
    return Batch.concat([batch, batch.take(random.random(len(batch)) < 0.1)])


def walked(batch: Batch) -> list[tuple[int, int, float]]:
    """The same by the plainest means: one point of one asset, one sample after another."""
    found: list[tuple[int, int, float]] = []
    usable = batch.take(batch.quality > 0)
    for asset in ASSETS:
        run = series_of(usable, asset, "run")
        for spec in SPECS["pump"].computed:
            key, source = spec.point.key, spec.sources[0][0]
            for_s = spec.when[0].for_s if spec.when else None
            made = windows_of(key, series_of(usable, asset, source), run, for_s)
            found += [(FLEET.id(asset, key), at, value) for at, value in made]
    return sorted(found)


def series_of(batch: Batch, asset: str, key: str) -> list[tuple[int, float]]:
    mine = batch.take(batch.series == FLEET.id(asset, key))
    return sorted(set(zip(mine.at.tolist(), mine.value.tolist(), strict=True)))


def windows_of(
    stat: str,
    source: Sequence[tuple[int, float]],
    run: Sequence[tuple[int, float]],
    for_s: float | None,
) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    sums, window, last = [0.0] * 5, -1, (0, math.nan, False)
    for at, raw in source:
        counts = for_s is None or is_running(run, at, for_s)
        value = raw
        if stat in ("share", "starts"):
            value = float(raw in (2, 3, 4, 6))
            counts = counts and raw != 0
        if at // (60 * S) != window:
            if window >= 0:
                found.append(
                    ((window + 1) * 60 * S, result(stat, sums, last[1] if last[2] else math.nan))
                )
            sums, window = [0.0] * 5, at // (60 * S)
        if counts:
            sums[0] += 1
            sums[1] += value
        if counts and last[2] and at - last[0] <= 60 * S:
            sums[2] += (at - last[0]) / S
            grown = value - last[1]
            sums[3] += max(grown, 0.0) if stat == "gain" else grown
            if stat == "share":
                sums[4] += last[1] * ((at - last[0]) / S)
            if stat == "starts":
                sums[4] += grown > 0
        last = at, value, counts
    return [(at, value) for at, value in found if math.isfinite(value)]


def is_running(run: Sequence[tuple[int, float]], at: int, for_s: float) -> bool:
    since = None
    for t, value in run:
        if t > at:
            break
        since = None if value != 1 else t if since is None else since
    return since is not None and at - since >= for_s * S


def result(stat: str, sums: Sequence[float], last: float) -> float:
    count, total, time_s, change, other = sums
    if stat == "mean":
        return total / count if count else last
    if not time_s:
        return math.nan
    if stat == "gain":
        return change
    if stat == "share":
        return other / time_s
    return (other if stat == "starts" else change) / time_s * 3600


def build() -> Derived:
    return Derived(SPECS, FLEET)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), places=st.lists(st.integers(0, 10_000), max_size=8))
def test_any_cut_gives_what_a_walk_gives(seed: int, places: list[int]) -> None:
    batch = plant(seed)
    checks.any_cut_gives_the_same(build, batch, places, walked(batch))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), place=st.integers(0, 10_000))
def test_restore_and_replay_equal_an_uninterrupted_run(seed: int, place: int) -> None:
    batch = plant(seed)
    whole = rows(build().update(batch))
    checks.restore_and_replay_equal_an_uninterrupted_run(build, batch, place, whole)


def test_a_row_keeps_its_state_when_others_come_and_change() -> None:
    """Another formula is added and one has more inputs: what has stayed the same goes on."""
    added = FORMULAS["specific_energy"]
    wide = ComputedSpec(number("mean"), added, (("x", "run", "state"), ("x",)), every_s=60)
    specs = {"pump": DerivedSpecs(computed=(wide, *SPECS["pump"].computed[1:]))}
    before, after, straight = Derived(SPECS, FLEET), Derived(specs, FLEET), Derived(SPECS, FLEET)
    batch = plant(3)
    early = batch.at < T0 + 90 * S
    first, rest = batch.take(early), batch.take(~early)
    before.update(first)
    straight.update(first)
    after.restore(before.snapshot())
    changed = [FLEET.id(asset, "mean") for asset in ASSETS]
    found, expected = after.update(rest), straight.update(rest)
    assert rows(found.take(~np.isin(found.series, changed))) == rows(
        expected.take(~np.isin(expected.series, changed))
    )


def test_formula_waits_for_its_share_of_the_window_and_for_all_its_inputs() -> None:
    trip = ComputedSpec(
        number("trip"), FORMULAS["trip_energy"], (("energy",), ("trips",)), every_s=600
    )
    fleet = FixedCatalog([("A", "lift", k, k == "trip") for k in ("energy", "trips", "trip")])
    derived = Derived({"lift": DerivedSpecs(computed=(trip,))}, fleet)
    t = list(range(0, 1830, 30))
    # Half of the first window is missing, and a bit more; in the second the counter of energy begins anew.
    t = [at for at in t if at >= 330]
    energy = [0.1 * at / 60 if at < 900 else 0.1 * (at - 900) / 60 for at in t]
    trips = [at // 60 for at in t]
    found = derived.update(Batch.concat([samples(1, t, energy), samples(2, t, trips)]))
    assert [(at - T0) // S for at in found.at.tolist()] == [1200, 1800]
    assert found.value.tolist() == pytest.approx([(2.0 - 0.15 + 0.1) / 20 * 1000, 100.0], rel=0.06)


def test_slow_point_counts_with_its_last_value_while_that_is_good() -> None:
    """A setpoint read each minute, windows of ten seconds; then it stops."""
    spec = ComputedSpec(
        number("dev"), FORMULAS["pressure_deviation"], (("p",), ("set",)), every_s=10
    )
    fleet = FixedCatalog([("A", "set", k, k == "dev") for k in ("p", "set", "dev")])
    t = list(range(200))
    p = samples(1, t, [0.55] * 200)
    setpoint = samples(2, [0, 60], [0.5, 0.5])
    found = Derived({"set": DerivedSpecs(computed=(spec,))}, fleet).update(
        Batch.concat([p, setpoint]).sorted_by_time()
    )
    assert ((found.at - T0) // S).tolist() == list(range(10, 130, 10))
    assert found.value == pytest.approx(10.0)


# -- against its own median ----------------------------------------------------------------------


def days(
    values: Sequence[Sequence[float]], against: Against, *, cut: int | None = None
) -> list[tuple[int, float]]:
    """(day, mean of what is said on it) of days with these values at equal steps."""
    formula = FORMULAS["value"]
    spec = ComputedSpec(number("y"), formula, (("x",),), every_s=600, against=against)
    fleet = FixedCatalog([("A", "pump", "x", False), ("A", "pump", "y", True)])
    at = [
        d * DAY + DAY / len(day) * (i + 0.5)
        for d, day in enumerate(values)
        for i in range(len(day))
    ]
    batch = samples(1, at, [value for day in values for value in day])
    specs = {"pump": DerivedSpecs(computed=(spec,))}
    derived = Derived(specs, fleet)
    found = [derived.update(batch.take(np.arange(cut or 0)))]
    saved, derived = derived.snapshot(), Derived(specs, fleet)
    derived.restore(saved)
    found.append(derived.update(batch))
    made = Batch.concat(found)
    day = (made.at - T0 - 1) // (DAY * S)
    return [(int(d), float(made.value[day == d].mean())) for d in np.unique(day)]


def test_nothing_is_said_before_three_days_are_known() -> None:
    said = days([[2.0] * 24] * 6, Against("ratio"))
    assert said == [(3, 1.0), (4, 1.0), (5, 1.0)]


@pytest.mark.parametrize(
    ("relation", "expected"), [("ratio", 1.5), ("percent", 50.0), ("difference", 1.0)]
)
def test_relation(relation: str, expected: float) -> None:
    said = days([[2.0] * 24] * 4 + [[3.0] * 24], Against(relation))  # type: ignore[arg-type]  # one of them
    assert said[-1] == (4, pytest.approx(expected, rel=0.05))


def test_daily_medians_are_those_of_the_days() -> None:
    random = np.random.default_rng(4)
    values = [random.normal(10, 1, 120).tolist() for _ in range(8)]
    said = days([*values, [10.0] * 24], Against("difference", days=7, lag=0))
    expected = 10.0 - np.median([np.median(day) for day in values[-7:]])
    assert said[-1][1] == pytest.approx(expected, abs=0.1), "of 32 values a day instead of all"


def test_slow_wear_does_not_pull_its_measure_along() -> None:
    """1 % a day: against the last seven days it never shows, three weeks back it does."""
    worn = [[2.0 * (1 + 0.01 * day)] * 24 for day in range(50)]
    near, far = days(worn, Against("ratio", lag=0)), days(worn, Against("ratio", lag=21))
    assert max(value for _, value in near) < 1.06
    assert far[-1][1] > 1.18


def test_a_fault_does_not_become_the_norm_until_it_has_lasted() -> None:
    values = [[2.0] * 24] * 5 + [[3.0] * 24] * 20
    said = dict(days(values, Against("ratio", relearn=10)))
    assert [said[day] for day in range(6, 15)] == pytest.approx([1.5] * 9)
    assert 15 not in said, "the tenth day in a row: learning begins anew"
    assert said[24] == pytest.approx(1.0)


def test_a_repaired_machine_is_not_measured_by_its_fault() -> None:
    values = [[2.0] * 24] * 5 + [[3.0] * 24] * 6 + [[2.0] * 24] * 3
    assert days(values, Against("ratio"))[-1] == (13, pytest.approx(1.0, rel=0.03))


@pytest.mark.parametrize("cut", [1, 50, 97, 131])
def test_medians_survive_a_restart(cut: int) -> None:
    random = np.random.default_rng(5)
    values = [random.normal(10, 1, 24).tolist() for _ in range(8)]
    assert days(values, Against("ratio"), cut=cut) == days(values, Against("ratio"))


def test_what_is_undefined_is_not_said() -> None:
    said = days([[0.0] * 24] * 5, Against("ratio"))
    assert said == []
