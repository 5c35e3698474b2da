"""The life of a work order: every pair of state and verb, and random lives."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.kernel.errors import IllegalMoveError
from pms_iot.workorders import order
from pms_iot.workorders.order import Status, Verb, move, verbs

# The table of the specification, written down a second time: state -> verb -> state.
LEGAL = {
    "new": {"assign": "assigned", "take": "assigned", "cancel": "cancelled"},
    "assigned": {"assign": "assigned", "start": "in_progress", "cancel": "cancelled"},
    "in_progress": {
        "assign": "in_progress",
        "wait_parts": "waiting_parts",
        "wait_access": "waiting_access",
        "finish": "done",
    },
    "waiting_parts": {"assign": "waiting_parts", "resume": "in_progress", "cancel": "cancelled"},
    "waiting_access": {"assign": "waiting_access", "resume": "in_progress", "cancel": "cancelled"},
    "done": {"close": "closed", "reopen": "in_progress"},
    "closed": {},
    "cancelled": {},
}
VERBS: tuple[Verb, ...] = get_args(Verb)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", list(Status))
def test_every_pair_is_decided_as_the_table_says(status: Status, verb: Verb) -> None:
    expected = LEGAL[status.value].get(verb)
    if expected is not None:
        assert move(status, verb) == expected
        return
    with pytest.raises(IllegalMoveError) as refused:
        move(status, verb)
    assert (refused.value.state, refused.value.move) == (status.value, verb)


@pytest.mark.parametrize("status", list(Status))
def test_offered_verbs_are_the_legal_ones(status: Status) -> None:
    assert set(verbs(status)) == set(LEGAL[status.value])


def test_unknown_state_is_refused() -> None:
    with pytest.raises(IllegalMoveError):
        move("lost", "take")


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from(VERBS), max_size=40))
def test_no_life_leaves_the_table_and_ended_orders_stay_ended(life: list[Verb]) -> None:
    status, ended, worked = Status.NEW, False, False
    for verb in life:
        try:
            status = move(status, verb)
        except IllegalMoveError:
            continue
        assert not ended
        worked = worked or status == Status.IN_PROGRESS
        ended = status in order.ENDED
        assert status != Status.DONE or worked


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from(VERBS), max_size=30))
def test_every_live_order_can_still_be_closed(life: list[Verb]) -> None:
    status = Status.NEW
    for verb in life:
        if verb in verbs(status):
            status = move(status, verb)
    if status == Status.CANCELLED:
        return
    way: dict[Status, Verb] = {
        Status.NEW: "take",
        Status.ASSIGNED: "start",
        Status.IN_PROGRESS: "finish",
        Status.WAITING_PARTS: "resume",
        Status.WAITING_ACCESS: "resume",
        Status.DONE: "close",
    }
    while status != Status.CLOSED:
        status = move(status, way[status])


def test_response_times_follow_the_priority() -> None:
    opened = datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert order.due_at("P1", opened) - opened == timedelta(minutes=30)
    assert order.arrive_by("P2", opened) - opened == timedelta(hours=1)
    assert order.due_at("P2", opened) - opened == timedelta(hours=8)
    assert order.due_at("P3", opened) - opened == timedelta(hours=24)
    assert order.due_at("P4", opened) - opened == timedelta(days=7)
    assert order.more_severe("P1", "P2") and not order.more_severe("P2", "P2")
