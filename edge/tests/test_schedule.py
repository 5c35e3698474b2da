"""Who is due next."""

from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.clock import NS
from pms_edge.polling.schedule import Schedule, Slot

PERIODS = st.floats(0.05, 60)


@settings(deadline=None)
@given(st.text(max_size=20), PERIODS, st.integers(0, 2**60), st.lists(st.integers(0, 10**11)))
def test_slots_never_leave_their_grid_and_are_always_ahead(name, period, start, delays):
    slot, now = Slot(name, period), start
    slot.first_due(now)
    period_ns, first, missed = round(period * NS), slot.due_ns, 0
    assert now < first <= now + period_ns
    for taken, delay in enumerate(delays, 1):
        now = max(now, slot.due_ns) + delay
        missed += slot.advance(now)
        assert now < slot.due_ns <= now + period_ns
        assert slot.due_ns == first + (taken + missed) * period_ns, "every instant counts once"


def test_an_overrun_is_coalesced_and_counted():
    slot = Slot("x", 1)
    slot.first_due(1_000 * NS)
    first = slot.due_ns
    assert slot.advance(first + NS // 10) == 0 and slot.due_ns == first + NS
    assert slot.advance(first + 5 * NS) == 4 and slot.due_ns == first + 6 * NS


def slots(*periods: float) -> list[Slot]:
    made = [Slot(f"s{i}", period) for i, period in enumerate(periods)]
    for slot in made:
        slot.first_due(0)
    return made


def test_of_what_is_due_the_earliest_deadline_goes_first():
    slow, fast = slots(60, 1)
    slow.due_ns, fast.due_ns = 5 * NS, 7 * NS
    schedule = Schedule([slow, fast])
    assert schedule.take(4 * NS) is None and schedule.next_release_ns() == 5 * NS
    assert schedule.take(8 * NS) is fast, "due later, but it has to be done by 8 s"
    assert schedule.take(8 * NS) is slow
    assert schedule.take(8 * NS) is None


@settings(deadline=None)
@given(st.lists(PERIODS, min_size=1, max_size=30), st.integers(0, 10**12))
def test_what_is_taken_is_due_and_in_order_of_deadlines(periods, now):
    made = slots(*periods)
    schedule = Schedule(made)
    taken = []
    while (slot := schedule.take(now)) is not None:
        taken.append(slot)
    assert {id(slot) for slot in taken} == {id(slot) for slot in made if slot.due_ns <= now}
    deadlines = [slot.deadline_ns for slot in taken]
    assert deadlines == sorted(deadlines)


def test_a_deferred_slot_keeps_its_deadline():
    early, late = slots(1, 1)
    early.due_ns, late.due_ns = NS, 2 * NS
    schedule = Schedule([early, late])
    assert schedule.take(NS) is early
    schedule.release_at(early, 3 * NS)
    assert schedule.take(2 * NS) is late
    assert schedule.take(3 * NS) is early and early.due_ns == NS


def test_slots_are_spread_over_the_period_and_stay_there():
    due = [
        slot.due_ns
        for slot in (Slot(f"EL-{i:02}/fast", 1) for i in range(20))
        if not slot.first_due(0)
    ]
    assert len({at // (NS // 10) for at in due}) >= 6
    again = [Slot(f"EL-{i:02}/fast", 1) for i in range(20)]
    for slot in again:
        slot.first_due(0)
    assert [slot.due_ns for slot in again] == due
