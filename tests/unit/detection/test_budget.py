"""Limits that keep to a budget of false alarms, whatever scores a series gives by itself."""

import numpy as np
import pytest

from pms_iot.detection import budget

ROWS, DAYS = 300, 200
ALL = np.arange(ROWS)


def alarms_a_month(target: float, scale: float, outcome: str | None = None) -> float:
    """Alarms of a row and month after day 30; an hour's highest score is exponential about 5."""
    random, state = np.random.default_rng(3), budget.blank(ROWS)
    count = 0
    for hour in range(DAYS * 24):
        score = 5 + random.exponential(scale, ROWS)
        over = ALL[score > budget.limits(state, ALL)]
        budget.alarmed(state, over, score[over])
        if outcome is not None:
            budget.judged(state, over, outcome)
        budget.passed(
            state,
            ALL,
            np.full(ROWS, 3600.0),
            score,
            np.full(ROWS, target),
            np.full(ROWS, 14 * 86_400.0),
        )
        count += len(over) if hour >= 30 * 24 else 0
    return count / ROWS / (DAYS - 30) * 30


@pytest.mark.parametrize("scale", [0.8, 2.0, 5.0])
@pytest.mark.parametrize("target", [0.5, 1.0])
def test_alarms_that_nobody_confirmed_stay_within_the_budget(target: float, scale: float) -> None:
    assert alarms_a_month(target, scale) <= target


def test_true_faults_do_not_count_against_the_budget_and_false_alarms_do() -> None:
    unjudged = alarms_a_month(1.0, 2.0)
    assert alarms_a_month(1.0, 2.0, "true_fault") > unjudged
    assert alarms_a_month(1.0, 2.0, "false_alarm") <= unjudged


def test_a_verdict_that_is_withdrawn_leaves_the_limit_as_it_was() -> None:
    state, row = budget.blank(1), np.zeros(1, np.intp)
    state["limit"][:] = np.log(10.0)
    budget.alarmed(state, row, np.array([20.0]))
    before = budget.limits(state, row)[0]
    for outcome in ("true_fault", "false_alarm"):
        budget.judged(state, row, outcome)
        assert budget.limits(state, row)[0] != pytest.approx(before)
        budget.withdrawn(state, row, outcome)
        assert budget.limits(state, row)[0] == pytest.approx(before)
