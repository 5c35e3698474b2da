"""Severity laws, and a catalogue in both languages."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_simulators.faults import (
    CATALOGUE,
    Burst,
    Exponential,
    Fault,
    FaultPlan,
    Ramp,
    Step,
)


def test_a_step_acts_from_onset_to_end_only():
    fault = Fault("x", 10.0, 20.0, 0.7, Step())
    assert [fault.level(t) for t in (9.9, 10, 19.9, 20)] == [0, 0.7, 0.7, 0]


def test_a_ramp_is_linear_and_then_stays():
    fault = Fault("x", 100.0, math.inf, 0.8, Ramp(60.0))
    assert fault.level(130) == pytest.approx(0.4)
    assert fault.level(1000) == pytest.approx(0.8)


def test_an_exponential_grows_e_fold_per_tau():
    law = Exponential(100.0)
    assert law.fraction(0) == pytest.approx(0.02)
    assert law.fraction(200) / law.fraction(100) == pytest.approx(math.e)
    assert law.fraction(1e9) == 1.0


def test_bursts_come_at_their_rate_and_repeat():
    def episodes(key):
        law = Burst(48.0, key)
        on = [law.fraction(t) > 0 for t in range(0, 30 * 86400, 30)]
        return sum(1 for a, b in itertools.pairwise(on) if b and not a)

    counts = [episodes(key) for key in (1, 1, 2)]
    assert counts[0] == counts[1]
    # Poisson over 30 days; an episode shortens the time in which the next may begin.
    assert all(0.8 * 48 * 30 < c < 1.1 * 48 * 30 for c in counts)


@given(st.floats(0, 1e6), st.floats(0.01, 1), st.floats(0, 1e6))
def test_levels_stay_within_the_severity(onset, severity, t):
    plan = FaultPlan([Fault("x", onset, onset + 1000, severity, Exponential(300.0))])
    assert 0 <= plan.levels(t).of("x") <= severity


@pytest.mark.parametrize("kind", [k for k in CATALOGUE if k != "replay"])
def test_every_kind_has_four_faults_named_in_both_languages(kind):
    assert len(CATALOGUE[kind]) >= 4
    for words in CATALOGUE[kind].values():
        assert any("\u4e00" <= c <= "\u9fff" for c in words.zh)
        assert words.en.isascii() and words.en
