"""How long a line is left alone after a request that was not answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.modbus.quiet import LONGEST_S, OPENING_S, SAME_UNIT_S, Quiet

UNIT, OTHER = 1, 2


def test_a_clean_answer_leaves_only_the_gap():
    quiet = Quiet(0.01)
    quiet.sent(5.0)
    quiet.heard(5.1)
    quiet.answered(5.1)
    assert quiet.over_at(UNIT) == pytest.approx(5.11)


def test_the_line_rests_for_the_time_out_and_the_same_unit_for_longer():
    quiet = Quiet(0.0)
    quiet.sent(5.0)
    quiet.failed(UNIT, 5.2, 0.2)
    assert quiet.over_at(OTHER) == pytest.approx(5.4)
    assert quiet.over_at(UNIT) == pytest.approx(5.2 + SAME_UNIT_S)


def test_a_reply_seen_late_makes_the_next_quiet_twice_as_long_as_it_took():
    quiet = Quiet(0.0)
    quiet.sent(5.0)
    quiet.failed(UNIT, 5.2, 2.0)
    quiet.strayed(6.5)
    quiet.sent(9.0)
    quiet.failed(UNIT, 9.2, 0.2)
    assert quiet.over_at(OTHER) == pytest.approx(9.2 + 2 * 1.5)


def test_a_glitch_long_after_the_quiet_is_no_late_reply():
    quiet = Quiet(0.0)
    quiet.sent(5.0)
    quiet.failed(UNIT, 5.2, 0.2)
    quiet.strayed(9.0)
    quiet.sent(10.0)
    quiet.failed(UNIT, 10.2, 0.2)
    assert quiet.over_at(OTHER) == pytest.approx(10.4)


def test_an_opened_line_rests_for_replies_to_whoever_had_it():
    quiet = Quiet(0.0)
    quiet.opened(5.0)
    assert quiet.over_at(UNIT) == 5.0 + OPENING_S


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0.01, 5), st.floats(0, 6)), max_size=30))
def test_no_failed_request_is_followed_before_its_time_out_has_passed_twice(requests):
    quiet, now = Quiet(0.0), 100.0
    for unit, timeout_s, stray_s in requests:
        now = max(now, quiet.over_at(unit))
        quiet.sent(now)
        now += timeout_s
        quiet.failed(unit, now, timeout_s)
        for each in (1, 2, 3):
            assert quiet.over_at(each) >= now + timeout_s
            assert quiet.over_at(each) <= now + max(LONGEST_S, timeout_s)
        quiet.heard(now + stray_s)
        quiet.strayed(now + stray_s)
        assert quiet.over_at(unit) >= now + stray_s
