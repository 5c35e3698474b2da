"""The judge itself: it must see what it is there to see."""

from tests.chaos import evil_device as device
from tests.chaos.ledger import End, Sample, Served, judge

S = 10**9
UNIT = device.PLAIN_UNITS[0]
WHOLE = device.POINTS * device.POINT_WORDS
NEVER = float("inf")


def served(*seqs: int) -> list[Served]:
    return [Served(seq * S, UNIT, 0, WHOLE, seq) for seq in seqs]


def stored(*seqs: int, point: int | None = None, evil: bool = False) -> list[Sample]:
    points = range(device.POINTS) if point is None else [point]
    return [
        Sample(UNIT, p, seq * S, float(device.encode(UNIT, p, seq, evil=evil)))
        for seq in seqs
        for p in points
    ]


def test_all_served_and_stored_once_is_in_order():
    verdict = judge(served(1, 2, 3), stored(1, 2, 3), [])
    assert (verdict.served, verdict.stored) == (30, 30)
    assert not (verdict.lost or verdict.duplicated or verdict.wrong or verdict.in_flight)


def test_a_missing_value_is_lost_when_nothing_ended():
    assert len(judge(served(1, 2, 3), stored(1, 2), []).lost) == 10


def test_the_tail_before_a_kill_is_in_flight_and_nothing_else():
    killed = [End(4 * S, 5 * S, 2.0)]
    verdict = judge(served(1, 2, 3, 4, 6), stored(1, 2, 6), killed)
    assert len(verdict.in_flight) == 20 and not verdict.lost
    assert verdict.oldest_in_flight_s == 1.0


def test_a_hole_before_a_kill_is_lost():
    killed = [End(4 * S, 5 * S, 2.0)]
    assert len(judge(served(1, 2, 3, 4, 6), stored(1, 2, 4, 6), killed).lost) == 10


def test_a_tail_longer_than_the_window_is_lost():
    killed = [End(4 * S, 5 * S, 1.5)]
    verdict = judge(served(1, 2, 3, 4, 6), stored(1, 6), killed)
    assert {key.seq for key in verdict.lost} == {2}


def test_the_first_reply_of_the_next_run_is_not_excused_by_the_kill_before():
    killed = [End(2 * S, 3 * S, 60.0)]
    assert len(judge(served(1, 3, 4), stored(1, 4), killed).lost) == 10


def test_one_value_at_two_instants_is_a_duplicate():
    twice = stored(1) + [sample._replace(at_ns=5 * S) for sample in stored(1, point=3)]
    assert len(judge(served(1), twice, []).duplicated) == 1


def test_values_of_bad_replies_of_other_points_and_never_served_are_wrong():
    moved = [sample._replace(point=4) for sample in stored(1, point=3)]
    for bad in (stored(1, point=3, evil=True), moved, stored(9, point=3)):
        assert len(judge(served(1), stored(1) + bad, []).wrong) == 1


def test_registers_carry_their_names_in_both_encodings():
    import struct

    words = device.registers(UNIT, 0, WHOLE, 7)
    for point in range(device.POINTS):
        raw = words[point * 8 : point * 8 + 8]
        swapped = b"".join(raw[i : i + 2] for i in (6, 4, 2, 0))
        value = struct.unpack(">d", swapped)[0] if point % 2 else struct.unpack(">Q", raw)[0]
        assert value == device.encode(UNIT, point, 7)
