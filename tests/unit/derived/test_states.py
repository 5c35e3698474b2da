"""Operating states: exact in sample time, however the samples come."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.points import PointDef
from pms_iot.derived.derived import Derived
from pms_iot.derived.spec import CircleError, DerivedSpecs
from pms_iot.derived.state import Clause, StateSpec
from pms_iot.kernel.errors import ConfigError
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition, Gate
from tests.unit.detection import checks
from tests.unit.detection.fleet import T0, FixedCatalog, S, rows, samples

UNKNOWN, OFF, STARTING, RUNNING, DOOR = 0, 1, 2, 3, 5
ON, NOT_ON = Condition("equals", values=(1.0,)), Condition("equals", values=(0.0,))
MOVING = Condition("in", values=(6.0, 7.0))


def enum(key: str) -> PointDef:
    return PointDef(key, Text(key, key), type="enum", period_s=60.0, derived=True)


def clause(state: int, *when: Gate, within: float | None = None) -> Clause:
    past = tuple(Gate(g.point, g.condition, within) for g in when) if within else ()
    return Clause(state, when, past)


STATE = StateSpec(
    enum("state"),
    (
        clause(DOOR, Gate("door", MOVING)),
        clause(STARTING, Gate("run", ON), within=10),
        clause(RUNNING, Gate("run", ON)),
        clause(OFF, Gate("run", NOT_ON)),
    ),
)
SPECS = {"lift": DerivedSpecs(states=(STATE,))}


def catalog(assets: Sequence[str] = ("A",)) -> FixedCatalog:
    points = [("run", False), ("door", False), ("state", True), ("load", False)]
    return FixedCatalog([(asset, "lift", *point) for asset in assets for point in points])


FLEET = catalog()
RUN, DOORS, STATE_OF_A = (FLEET.id("A", point) for point in ("run", "door", "state"))


def said(*batches: Batch) -> list[tuple[float, int]]:
    """(second, state) of each sample that the engine makes."""
    derived = Derived(SPECS, FLEET)
    found = Batch.concat(derived.update(batch) for batch in batches)
    assert set(found.series.tolist()) <= {STATE_OF_A}
    at = ((found.at - T0) / S).tolist()
    return list(zip(at, found.value.astype(int).tolist(), strict=True))


def reads(run: Sequence[float], door: Sequence[float] | None = None, start: float = 0.0) -> Batch:
    """Whole reads, one per second."""
    t = [start + i for i in range(len(run))]
    parts = [samples(RUN, t, run), samples(DOORS, t, door if door is not None else [0.0] * len(t))]
    return Batch.concat(parts).sorted_by_time()


def test_first_clause_that_holds_says_the_state() -> None:
    batch = reads([0, 0, 1, 1], [0, 7, 6, 0])
    assert said(batch) == [(0, OFF), (1, DOOR), (3, STARTING)]


def test_starting_ends_exactly_when_its_time_is_over() -> None:
    assert said(reads([0] * 5 + [1] * 20)) == [(0, OFF), (5, STARTING), (15, RUNNING)]
    # Between samples nothing is judged: the next one ends it.
    sparse = Batch.concat([reads([0, 1]), reads([1], start=30.0)])
    assert said(sparse) == [(0, OFF), (1, STARTING), (30, RUNNING)]


def test_lasting_state_is_said_again_in_each_minute() -> None:
    assert said(reads([0] * 150)) == [(0, OFF), (60, OFF), (120, OFF)]


def test_nothing_is_said_in_a_gap_and_the_state_after_it_at_once() -> None:
    batch = Batch.concat([reads([1] * 20), reads([1] * 5, start=500.0)])
    assert said(batch) == [(0, STARTING), (10, RUNNING), (500, RUNNING)]


def test_one_input_that_stops_makes_the_state_unknown() -> None:
    t = list(range(100))
    batch = Batch.concat([samples(RUN, t, [0] * 100), samples(DOORS, [0], [0])]).sorted_by_time()
    assert said(batch) == [(0, OFF), (60, OFF), (61, UNKNOWN)]


def test_bad_samples_refresh_nothing() -> None:
    door = [0.0] * 2 + [float("nan")] * 98
    assert said(reads([0] * 100, door)) == [(0, OFF), (60, OFF), (62, UNKNOWN)]


def test_input_that_never_comes_is_left_aside() -> None:
    assert said(samples(RUN, [0, 1], [0, 1])) == [(0, OFF), (1, STARTING)]
    assert said(samples(DOORS, [0], [0])) == [(0, UNKNOWN)]


def test_late_and_repeated_samples_change_nothing() -> None:
    first = reads([0, 0, 0, 1])
    again = [reads([1, 1]), first, samples(DOORS, [2.5], [7])]
    assert said(first, *again) == said(first)


def test_rest_of_an_instant_speaks_at_the_next_one() -> None:
    """An instant cut in two breaks what is asked of batches; no sample is said twice for it all the same."""
    run, door = samples(RUN, [0, 1], [0, 0]), samples(DOORS, [1], [7])
    assert said(run, door, samples(RUN, [2], [0])) == [(0, OFF), (2, DOOR)]


def test_states_may_follow_from_states() -> None:
    set_state = StateSpec(
        enum("set"), (clause(RUNNING, Gate("state", Condition("in", values=(2.0, 3.0)))),)
    )
    fleet = FixedCatalog(
        [("A", "lift", p, p in ("state", "set")) for p in ("run", "door", "state", "set")]
    )
    derived = Derived({"lift": DerivedSpecs(states=(set_state, STATE))}, fleet)
    found = derived.update(reads([0, 0, 1]))
    assert rows(found.take(found.series == 4)) == [(4, T0, UNKNOWN), (4, T0 + 2 * S, RUNNING)]


def test_circle_is_refused() -> None:
    one = StateSpec(enum("one"), (clause(OFF, Gate("two", ON)),))
    two = StateSpec(enum("two"), (clause(OFF, Gate("one", ON)),))
    with pytest.raises(CircleError, match="one -> two -> one"):
        DerivedSpecs(states=(one, two)).levels()


def test_register_that_lacks_the_point_is_told() -> None:
    with pytest.raises(ConfigError, match="asset A lacks point 'state'"):
        Derived(SPECS, FixedCatalog([("A", "lift", "run", False)]))


def test_what_is_given_is_not_made() -> None:
    assert not len(Derived(SPECS, FLEET, {STATE_OF_A}).update(reads([0, 1])))


# -- against one walk through the samples, instant by instant ----------------------------------

ASSETS = ("A", "B", "C")
BIG = catalog(ASSETS)


def plant(seed: int) -> Batch:
    """Three lifts read each second, with gaps, lost values and doubled reads; ordered by time."""
    random = np.random.default_rng(seed)
    parts: list[Batch] = []
    for asset in ASSETS:
        t = np.flatnonzero(random.random(400) < 0.97).astype(float)
        silent = random.integers(0, 300)
        t = t[(t < silent) | (t > silent + random.integers(0, 200))]
        for point, codes in (("run", (0, 0, 1)), ("door", (0, 0, 6, 7))):
            value = np.repeat(random.choice(codes, 100), 5)[t.astype(int)].astype(float)
            value[random.random(len(t)) < 0.02] = np.nan
            parts.append(samples(BIG.id(asset, point), t.tolist(), value.tolist()))
    batch = Batch.concat(parts).sorted_by_time()
    return Batch.concat([batch, batch.take(random.random(len(batch)) < 0.1)])


def walked(batch: Batch) -> list[tuple[int, int, float]]:
    """The same by the plainest means: one asset, one instant after another."""
    found: list[tuple[int, int, float]] = []
    usable = batch.take(batch.quality > 0)
    for asset in ASSETS:
        run, door, state = (BIG.id(asset, point) for point in ("run", "door", "state"))
        mine = usable.take(np.isin(usable.series, [run, door]))
        last: dict[int, tuple[int, float]] = {}
        rose, before, before_at = 0, -1, 0
        for at in sorted(set(mine.at.tolist())):
            for series, value in zip(
                *(c[mine.at == at] for c in (mine.series, mine.value)), strict=True
            ):
                if series == run and (run not in last or value != last[run][1]):
                    rose = at
                last[int(series)] = at, float(value)
            if at - before_at > 60 * S:
                before = -1
            code = judged({k: v[1] for k, v in last.items()}, run, door, at - rose)
            if any(at - heard > 60 * S for heard, _ in last.values()):
                code = UNKNOWN
            if code != before or at // (60 * S) != before_at // (60 * S):
                found.append((state, at, code))
            before, before_at = code, at
    return sorted(found)


def judged(values: dict[int, float], run: int, door: int, since_ns: int) -> int:
    if values.get(door) in (6, 7):
        return DOOR
    if values.get(run) == 1:
        return STARTING if since_ns < 10 * S else RUNNING
    return OFF if values.get(run) == 0 else UNKNOWN


def build() -> Derived:
    return Derived(SPECS, BIG)


@settings(max_examples=30, deadline=None)
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


def test_new_asset_joins_and_a_changed_rule_starts_fresh() -> None:
    fleet = catalog()
    derived = Derived(SPECS, fleet)
    derived.update(reads([0, 0]))
    fleet.infos = catalog(("A", "B")).infos
    fleet.generation += 1
    b = fleet.id("B", "run")
    found = derived.update(Batch.concat([reads([0], start=2), samples(b, [2], [0])]))
    assert rows(found) == [(fleet.id("B", "state"), T0 + 2 * S, OFF)], "A has said so before"
    other = StateSpec(STATE.point, STATE.order, hold_s=600)
    changed = Derived({"lift": DerivedSpecs(states=(other,))}, fleet)
    changed.restore(derived.snapshot())
    found = changed.update(reads([0], start=3))
    assert rows(found) == [(STATE_OF_A, T0 + 3 * S, OFF)], "it begins anew"


def test_input_is_not_mutated() -> None:
    checks.input_is_not_mutated(build, plant(1))
