"""The increase of counters over roll-over, reset, replacement and nonsense."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.assets.points import CounterDef
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.counter_points import (
    JUMP,
    ODD_KINDS,
    REPLACED,
    RESET,
    RETURN,
    ROLLOVER,
    CounterState,
    Replacement,
    Steps,
    advance,
)

MIN = 60 * 10**9
PLAIN = CounterDef()
HOURS = CounterDef(most_per_h=1.0)
U16 = CounterDef(modulus=65536)


def minutely(*values: float) -> Batch:
    return Batch.of([7] * len(values), np.arange(1, len(values) + 1) * MIN, values)


def steps_of(
    *values: float, counter: CounterDef = PLAIN, replaced: tuple[Replacement, ...] = ()
) -> Steps:
    """The steps of readings a minute apart; the last is repeated, so that all are confirmed."""
    return advance(CounterState(), minutely(*values, values[-1]), counter, replaced)[1]


@pytest.mark.parametrize(
    ("what", "values", "counter", "increase", "kinds"),
    [
        ("plain", (10, 12, 12, 15), PLAIN, 5, {}),
        ("declared roll-over", (65530, 65534, 3, 4), U16, 10, {ROLLOVER: 1}),
        ("guessed 16 bit", (65530, 65534, 3, 4), PLAIN, 10, {ROLLOVER: 1}),
        ("guessed 16 bit tenths", (6553.0, 6553.5, 0.1, 0.2), PLAIN, 0.8, {ROLLOVER: 1}),
        ("guessed 32 bit", (4294967290, 4294967295, 4), PLAIN, 10, {ROLLOVER: 1}),
        ("guessed five digits", (99_990, 99_999, 1), PLAIN, 11, {ROLLOVER: 1}),
        ("fast declared roll-over", (90, 99, 12, 25), CounterDef(modulus=100), 35, {ROLLOVER: 1}),
        ("reset to zero", (5000, 5001, 0, 1, 2), PLAIN, 3, {RESET: 1}),
        ("reset, counted since", (5000, 5001, 4, 5), PLAIN, 6, {RESET: 1}),
        ("a used controller", (5000, 5001, 60, 61), PLAIN, 2, {RESET: 1}),
        ("reset of a 16 bit one half way", (30000, 30001, 0, 1), U16, 2, {RESET: 1}),
        ("hours cannot leap", (100, 100.1, 3100, 3100.1), HOURS, 0.2, {JUMP: 1}),
        ("hours after a reset", (100, 100.1, 30, 30.1), HOURS, 0.2, {RESET: 1}),
        ("nearly full, but no time for it", (65530, 0), CounterDef(65536, 1.0), 0, {RESET: 1}),
        ("spike down", (100, 101, 0, 102), PLAIN, 2, {}),
        ("spike up", (100, 101, 65535, 102), PLAIN, 2, {}),
        ("shows zero while it starts", (100, 101, 0, 0, 0, 102), PLAIN, 2, {RESET: 1, RETURN: 1}),
        ("counts past its old value", (4, 0, 1, 2, 3, 4, 5), PLAIN, 5, {RESET: 1}),
        ("hours return", (900, 0, 0, 900.1), HOURS, 0.1, {RESET: 1, RETURN: 1}),
        ("swings between two values", (5, 900, 5, 900, 5, 6), PLAIN, 1, {}),
        ("negative is not a count", (5, -1, 6), PLAIN, 1, {}),
    ],
)  # fmt: skip
def test_increase(
    what: str, values: tuple[float, ...], counter: CounterDef, increase: float, kinds: dict
) -> None:
    steps = steps_of(*values, counter=counter)
    assert steps.total == pytest.approx(increase), what
    assert {kind: steps.count(kind) for kind in ODD_KINDS if steps.count(kind)} == kinds
    assert (steps.increase >= 0).all()


def test_a_glitch_is_told_with_its_time() -> None:
    assert steps_of(100, 101, 0, 102).glitches.tolist() == [3 * MIN]


def test_missing_bad_and_uncertain_samples_are_passed_over() -> None:
    batch = Batch.of(
        [7] * 6,
        np.arange(6) * MIN,
        [10, np.nan, 0, 500, 14, 14],
        [GOOD, GOOD, BAD, UNCERTAIN, GOOD, GOOD],
    )
    assert advance(CounterState(), batch, PLAIN)[1].total == 4


def test_a_recorded_replacement_counts_by_its_readings() -> None:
    change = Replacement(int(2.5 * MIN), old=5010, new=20)
    steps = steps_of(5000, 5001, 23, 24, replaced=(change,))
    assert steps.total == 1 + 9 + 3 + 1
    assert steps.count(REPLACED) == 1 and steps.count(RESET) == 0


def test_a_replacement_by_a_higher_counter_does_not_gain() -> None:
    change = Replacement(int(2.5 * MIN), old=101, new=7000)
    assert steps_of(100, 101, 7000, 7001, replaced=(change,)).total == 2


def test_two_replacements_in_one_silence() -> None:
    both = (Replacement(int(2.7 * MIN), 8, 0), Replacement(int(2.2 * MIN), 120, 0))
    assert steps_of(100, 101, 5, 6, replaced=both).total == 1 + 19 + 8 + 5 + 1


def test_the_newest_reading_counts_when_the_next_confirms_it() -> None:
    state, steps = advance(CounterState(), minutely(10, 12, 65535), PLAIN)
    assert steps.total == 2
    assert state.open is not None and state.open.value == 65535
    state, steps = advance(state, Batch.of([7], [4 * MIN], [13]), PLAIN)
    assert steps.total == 0 and steps.glitches.tolist() == [3 * MIN]
    assert advance(state, Batch.of([7], [5 * MIN], [13]), PLAIN)[1].total == 1


def test_a_repeat_changes_nothing() -> None:
    batch = minutely(10, 12, 13, 15)
    state, _ = advance(CounterState(), batch, PLAIN)
    again, steps = advance(state, batch, PLAIN)
    assert again == state and steps.total == 0


values = st.lists(
    st.one_of(
        st.floats(0, 70_000, allow_nan=False).map(round),
        st.just(float("nan")),
        st.sampled_from([0, 1, 65535, 65534, 99_999, 1_000]),
    ),
    max_size=40,
)
defs = st.sampled_from([PLAIN, HOURS, U16, CounterDef(65536, 6000.0), CounterDef(100)])
changes = st.lists(
    st.builds(
        Replacement,
        st.integers(0, 40 * MIN),
        st.integers(0, 70_000).map(float),
        st.integers(0, 70_000).map(float),
    ),
    max_size=3,
)


@given(values, defs, changes, st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_any_split_gives_the_same_and_parts_add_up(
    shown: list[float],
    counter: CounterDef,
    replaced: list[Replacement],
    cuts: list[int],
    sparse: bool,
) -> None:
    at = np.arange(1, len(shown) + 1) * (30 if sparse else 1) * MIN
    whole = Batch.of([7] * len(shown), at, shown)
    end, steps = advance(CounterState(), whole, counter, replaced)
    state, parts = CounterState(), list[Steps]()
    edges = [0, *sorted(cuts), len(shown)]
    for start, stop in pairwise(edges):
        state, part = advance(state, whole.take(np.arange(start, min(stop, len(shown)))), counter, replaced)  # fmt: skip
        parts.append(part)
    assert state == end
    for name in ("at", "increase", "kind", "glitches"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(steps, name))
    assert sum(part.total for part in parts) == pytest.approx(steps.total)
    assert (steps.increase >= 0).all()


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=60),
    st.integers(0, 65535),
    st.integers(0, 60),
)
def test_roll_over_and_a_recorded_replacement_lose_and_gain_nothing(
    used: list[int], begin: int, swap: int
) -> None:
    """A 16 bit counter that is read each minute, and at some time replaced by one that shows 7."""
    swap = min(swap, len(used) - 1)
    true = np.cumsum([0, *used])
    shown = (begin + true) % 65536
    at = np.arange(1, len(true) + 1) * MIN
    shown[swap + 1 :] = 7 + (true - true[swap])[swap + 1 :]
    change = Replacement(int(at[swap]) + MIN // 2, float(shown[swap]), 7.0)
    batch = Batch.of([7] * len(at), at, shown)
    close = Batch.of([7], [int(at[-1]) + MIN], [float(shown[-1])])
    _, steps = advance(CounterState(), Batch.concat([batch, close]), U16, [change])
    assert steps.total == true[-1]
