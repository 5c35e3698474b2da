"""What does not answer rests, and how long one waits for it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.polling.breaker import DEAD_IDLE, Breaker
from pms_edge.polling.timeouts import LONGEST_S, SHORTEST_S, Timeouts, quantile


def plain(**more) -> Breaker:
    return Breaker(jitter=lambda: 1.0, **more)


def test_a_unit_is_half_open_until_its_first_answer():
    breaker = plain()
    assert breaker.state(0.0) == "half_open" and breaker.allows(0.0)
    breaker.answered()
    assert breaker.state(0.0) == "closed"


def test_one_lost_reply_opens_nothing_and_two_in_a_row_do():
    breaker = plain()
    breaker.answered()
    breaker.failed(10.0, spent_s=0.1)
    assert breaker.state(10.0) == "closed" and breaker.allows(10.0)
    breaker.answered()
    breaker.failed(11.0, spent_s=0.1)
    breaker.failed(12.0, spent_s=0.1)
    assert breaker.state(12.0) == "open" and not breaker.allows(13.9)
    assert breaker.state(14.0) == "half_open" and breaker.allows(14.0)


def test_rests_double_to_a_minute_and_an_answer_forgets_them():
    breaker, now, rests = plain(), 0.0, []
    for _ in range(8):
        breaker.failed(now, spent_s=0.0)
        rest = next(s / 10 for s in range(1000) if breaker.allows(now + s / 10))
        rests.append(rest)
        now += rest
    assert rests == [2, 4, 8, 16, 32, 60, 60, 60]
    breaker.answered()
    breaker.failed(now, spent_s=0.0)
    breaker.failed(now, spent_s=0.0)
    assert breaker.allows(now + 2)


@settings(deadline=None)
@given(st.lists(st.floats(0.8, 1.2), min_size=1, max_size=5))
def test_rests_are_spread_by_a_fifth(jitters):
    drawn = iter(jitters)
    breaker, now = Breaker(jitter=lambda: next(drawn)), 0.0
    for rest in (2, 4, 8, 16, 32)[: len(jitters)]:
        breaker.failed(now, spent_s=0.0)
        assert not breaker.allows(now + 0.79 * rest) and breaker.allows(now + 1.21 * rest)
        now += 1.21 * rest


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 2.0)), min_size=1, max_size=100))
def test_a_failing_unit_takes_a_quarter_of_the_time_of_its_neighbours_at_most(outcomes):
    breaker, now, lost = plain(shared=True), 0.0, 0.0
    for answered, spent in outcomes:
        while not breaker.allows(now):
            now += 0.01
        now += spent
        if answered:
            breaker.answered()
        else:
            breaker.failed(now, spent_s=spent)
            lost += spent
    assert lost <= 0.25 * now + 2.0  # the last failure is still to be rested for


def test_a_dead_unit_takes_a_twentieth():
    breaker = plain(shared=True)
    breaker.failed(0.0, spent_s=2.0)
    assert not breaker.allows(2 * DEAD_IDLE - 0.1) and breaker.allows(2 * DEAD_IDLE)


def test_time_outs_begin_at_the_longest_and_follow_the_round_trips():
    timeouts = Timeouts()
    assert timeouts.seconds(None) == LONGEST_S and timeouts.seconds(0.1) == LONGEST_S
    for _ in range(100):
        timeouts.answered(0.05)
    assert timeouts.seconds(0.05) == 0.2
    for _ in range(100):
        timeouts.answered(0.001)
    assert timeouts.seconds(0.001) == SHORTEST_S


def test_a_block_that_takes_longer_than_most_is_waited_for():
    timeouts = Timeouts()
    for _ in range(100):
        timeouts.answered(0.03)
    assert timeouts.seconds(0.3) == 1.2
    assert timeouts.seconds(None) == LONGEST_S, "a block never read before may be a long one"


def test_a_time_out_makes_the_next_one_longer_and_answers_shorten_it_again():
    timeouts = Timeouts()
    for _ in range(16):
        timeouts.answered(0.05)
    timeouts.expired(0.2)
    assert timeouts.seconds(0.05) == 0.4
    timeouts.expired(0.4)
    timeouts.expired(0.8)
    timeouts.expired(1.6)
    assert timeouts.seconds(0.05) == LONGEST_S
    for _ in range(100):
        timeouts.answered(0.05)
    assert timeouts.seconds(0.05) == 0.2


def test_a_time_out_that_was_given_is_kept():
    timeouts = Timeouts(0.7)
    timeouts.expired(0.7)
    assert timeouts.seconds(None) == timeouts.seconds(9.0) == 0.7


def test_quantiles_of_little():
    assert quantile([], 0.5) is None
    assert quantile([3.0], 0.99) == 3.0
    assert quantile([float(i) for i in range(1, 101)], 0.95) == 95.0
