"""What is read of a device that refuses some addresses; the device is a set of addresses."""

from collections import deque

from edge_rig import PROFILE, point
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.batch import Batcher
from pms_edge.config.load import Device
from pms_edge.config.located import Document
from pms_edge.feed import DeviceFeed
from pms_edge.polling.planner import Refusals, plan
from pms_edge.polling.reads import REPROBE_S, Reads, smallest_first
from pms_edge.profiles.profile import ReadLimits, load_profile

LIMITS = ReadLimits(max_words=60, max_gap=8)


def feed(limits: ReadLimits = LIMITS) -> DeviceFeed:
    profile = load_profile(Document(PROFILE))
    assert profile
    device = Device("D", "s", profile._replace(limits=limits), "plc", 1, "", (), None)
    return DeviceFeed(device, Batcher(lambda _batch: None))


class Polled:
    """Polls `reads` of a device that has all addresses but `missing`."""

    def __init__(self, reads: Reads, missing: set[int]) -> None:
        self.reads, self.missing = reads, missing

    def poll(self, now_s: float = 0.0) -> tuple[list[str], int]:
        """Names that were read, and how many requests were refused."""
        got, refused = [], 0
        todo = deque(self.reads.begin(now_s))
        while todo:
            read = todo.popleft()
            if self.missing.isdisjoint(range(read.block.start, read.block.end)):
                got += read.names
                if read.probe:
                    self.reads.found(read)
                continue
            refused += 1
            smaller = self.reads.cut(read)
            if not smaller:
                self.reads.leave_out(read, now_s)
            todo.extendleft(reversed(smaller))
        return got, refused


def registers(*addresses: int) -> list:
    return [point(f"p{at}", at) for at in addresses]


def polled(points, missing: set[int], known: Refusals | None = None) -> Polled:
    return Polled(Reads(feed(), points, known if known is not None else Refusals()), missing)


ADDRESSES = st.lists(st.integers(0, 120), min_size=1, max_size=40, unique=True)
MISSING = st.sets(st.integers(0, 120), max_size=6)


@settings(deadline=None)
@given(ADDRESSES, MISSING)
def test_all_that_exists_is_read_from_the_first_poll_on_and_in_the_end_nothing_is_refused(
    addresses, missing
):
    there = sorted(f"p{at}" for at in addresses if at not in missing)
    device = polled(registers(*addresses), missing)
    for _ in range(len(missing) + 2):
        got, refused = device.poll()
        assert sorted(got) == there
    assert refused == 0


@settings(deadline=None)
@given(ADDRESSES, MISSING)
def test_a_neighbour_with_the_same_gaps_is_refused_once_for_each_block_and_address(
    addresses, missing
):
    known, points = Refusals(), registers(*addresses)
    first, second = polled(points, missing, known), polled(points, missing, known)
    for _ in range(len(missing) + 2):
        first.poll()
    blocks = len(plan(points, LIMITS))
    gone = sum(at in missing for at in addresses)
    refusals = [second.poll()[1] for _ in range(len(missing) + 2)]
    assert sum(refusals) <= sum(first_refusals(points, missing)) and refusals[-1] == 0
    if gone == len(missing):  # no hole among the gaps
        assert refusals[0] <= blocks + gone


def first_refusals(points, missing) -> list[int]:
    device = polled(points, missing)
    return [device.poll()[1] for _ in range(len(missing) + 2)]


def test_a_neighbour_that_has_what_the_first_lacks_is_still_read():
    known, points = Refusals(), registers(*range(10))
    polled(points, {4}, known).poll()
    got, refused = polled(points, set(), known).poll()
    assert len(got) == 10 and refused == 0


def test_what_is_refused_is_tried_again_after_ten_minutes_by_one_request():
    device = polled(registers(*range(10)), {4})
    device.poll(0.0)
    assert device.poll(REPROBE_S - 1) == ([f"p{at}" for at in range(10) if at != 4], 0)
    got, refused = device.poll(REPROBE_S)
    assert refused == 1 and len(got) == 9
    assert device.poll(REPROBE_S + 1)[1] == 0
    device.missing.clear()  # the device got a new program
    assert sorted(device.poll(2 * REPROBE_S)[0]) == [f"p{at}" for at in range(10)]
    [read] = device.reads.begin(2 * REPROBE_S + 1)
    assert read.block.count == 10, "and is read in one block again"


def test_around_a_bad_address_two_blocks_are_left():
    device = polled(registers(*range(16)), {2})
    device.poll()
    blocks = [(r.block.start, r.block.count) for r in device.reads.begin(0.0)]
    assert blocks == [(0, 2), (3, 13)]


def test_a_hole_that_cannot_be_read_across_is_not_read_again():
    device = polled(registers(0, 1, 6, 7), {3})
    assert device.poll() == (["p0", "p1", "p6", "p7"], 1)
    assert device.poll() == (["p0", "p1", "p6", "p7"], 0)


def test_a_probe_asks_for_the_smallest_block_first():
    device = polled(registers(0, 1, 2, 40, 80, 81), set())
    starts = [read.block.start for read in smallest_first(device.reads.begin(0.0))]
    assert starts[0] == 40
