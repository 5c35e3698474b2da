"""What a device sends on: report by exception, nameplates, and counts read in parts."""

import math
import re
import struct

from edge_rig import point
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.batch import Batcher
from pms_edge.config.load import Device
from pms_edge.counters import Counters
from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN, Decoded, Decoder
from pms_edge.feed import DeviceFeed
from pms_edge.polling.planner import plan
from pms_edge.profiles.profile import Profile, ReadLimits

NS = 10**9


class Feed:
    """One device and the lines that it sent."""

    def __init__(self, *points, limits=ReadLimits()) -> None:  # noqa: B008
        self.points, self.limits = points, limits
        self.batches = []
        self.batcher = Batcher(self.batches.append)
        self.counters = Counters()
        profile = Profile("pump.v1", 1, "water_pump", points, limits, (), "")
        device = Device("P-01", "s1", profile, "plc", 1, "", (), None)
        self.feed = DeviceFeed(device, self.batcher, self.counters)
        self.template = self.feed.template(points)

    def give(self, *values, qualities=None, at_s=0.0):
        decoded = Decoded(list(values), qualities)
        self.feed.send(self.points, self.template, decoded, round(at_s * NS))
        return self.sent()

    def read(self, registers, at_s=0.0):
        for block in plan(self.points, self.limits):
            wire = struct.pack(f">{block.count}H", *registers[block.start :][: block.count])
            decoded = Decoder(block.points, start=block.start).decode(wire)
            template = self.feed.template(block.points)
            self.feed.send(block.points, template, decoded, round(at_s * NS))
        return self.sent()

    def sent(self, lane="data"):
        """Fields of the lines sent since the last look."""
        self.batcher.flush()
        bodies = [b.body.decode() for b in self.batches if b.lane == lane]
        self.batches.clear()
        return [line.split(" ")[1] for body in bodies for line in body.splitlines()]


def test_a_value_within_the_deadband_waits_for_the_heartbeat():
    feed = Feed(point("flow", deadband=0.5, heartbeat_s=60))
    assert feed.give(10.0) == ["flow=10.0,q=192i"]
    assert feed.give(10.4, at_s=1) == []
    assert feed.give(10.5, at_s=2) == []
    assert feed.give(10.6, at_s=3) == ["flow=10.6,q=192i"]
    assert feed.give(10.6, at_s=62) == []
    assert feed.give(10.6, at_s=63) == ["flow=10.6,q=192i"]
    assert feed.counters.get("suppressed_by_deadband") == 3


def test_a_slow_drift_is_measured_from_the_last_value_sent():
    feed = Feed(point("flow", deadband=1.0, heartbeat_s=1e6))
    sent = [feed.give(0.3 * i, at_s=i) for i in range(12)]
    assert [i for i, lines in enumerate(sent) if lines] == [0, 4, 8]


def test_a_change_of_quality_is_sent_within_the_deadband():
    feed = Feed(point("flow", deadband=5.0))
    assert feed.give(10.0)
    assert feed.give(11.0, qualities=[UNCERTAIN], at_s=1) == ["flow=11.0,q=64i"]
    assert feed.give(math.nan, qualities=[BAD], at_s=2) == ['bad="flow",q=0i']
    assert feed.give(math.nan, qualities=[BAD], at_s=3) == []
    assert feed.give(11.0, at_s=4) == ["flow=11.0,q=192i"]


def test_the_first_value_after_silence_is_sent():
    feed = Feed(point("flow", deadband=5.0))
    feed.give(10.0)
    feed.feed.send_bad(["flow"], NS)
    feed.sent()
    assert feed.give(10.0, at_s=2) == ["flow=10.0,q=192i"]


def test_points_without_a_deadband_and_events_are_not_held_back():
    feed = Feed(point("flow", deadband=5.0), point("rpm", 1), point("run", 2, event=True))
    feed.give(10.0, 1450, 0)
    feed.give(10.0, 1450, 1, at_s=1)
    assert feed.feed.template(feed.points).names == ("flow", "rpm", "run")
    assert feed.give(10.0, 1450, 1, at_s=2) == ["rpm=1450,run=1,q=192i"]


def test_an_event_is_sent_at_once_though_its_point_has_a_deadband():
    feed = Feed(point("pressure", deadband=5.0, event=True))
    feed.give(10.0)
    feed.feed.send(feed.points, feed.template, Decoded([11.0], None), NS)
    assert feed.sent("event") == ["pressure=11.0,q=192i"]


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.sampled_from([GOOD, UNCERTAIN]), st.integers(1, 90)),
        min_size=1,
    )
)
def test_nothing_that_moved_further_than_the_deadband_is_dropped(samples):
    feed, at_s, last = Feed(point("x", deadband=2.0, heartbeat_s=60)), 0, None
    for value, quality, later_s in samples:
        at_s += later_s
        lines = feed.give(value, qualities=[quality], at_s=at_s)
        due = last is None or abs(value - last[0]) > 2 or quality != last[1] or at_s - last[2] >= 60
        assert bool(lines) == due
        if lines:
            assert float(re.match(r"x=([^,]+)", lines[0])[1]) == value
            last = value, quality, at_s


def test_a_text_is_no_sample_and_a_new_one_is_said():
    feed, said = Feed(point("flow"), point("model", 1, type="string", words=2)), []
    feed.feed.renamed = lambda: said.append(dict(feed.feed.nameplate))
    assert feed.read([7, 0x4352, 0x3634]) == ["flow=7,q=192i"]
    assert feed.read([7, 0x4352, 0x3634]) == ["flow=7,q=192i"]
    feed.read([7, 0x4352, 0x3332])
    feed.read([7, 0xFFFF, 0x3332])
    assert said == [{"model": "CR64"}, {"model": "CR32"}]
    assert feed.feed.nameplate == {"model": "CR32"}
    assert feed.counters.get("undecodable_texts") == 1
    feed.feed.send_bad(["flow", "model"], 0)
    assert feed.sent() == ['bad="flow",q=0i']


def test_a_count_in_parts_is_sent_once_when_all_were_read():
    fire = point("fire", type="any", words=250, equals=(1,), event=True)
    count = point("fire_n", type="count", words=250, equals=(1,))
    panel = Feed(fire, count, point("mains", 250), limits=ReadLimits(100))
    registers = [0] * 251
    assert sorted(panel.read(registers)) == ["fire=0,q=192i", "fire_n=0,q=192i", "mains=0,q=192i"]
    registers[3] = registers[249] = 1
    panel.read(registers, at_s=1)
    registers[150] = 1
    assert sorted(panel.read(registers, at_s=2))[1] == "fire_n=3,q=192i"


def test_a_part_that_was_not_read_holds_the_count_back():
    count = point("fire_n", type="count", words=150, equals=(1,))
    panel = Feed(count, limits=ReadLimits(100))
    first, second = plan([count], ReadLimits(100))
    for block in (first, first, second):
        decoded = Decoder(block.points, start=block.start).decode(b"\0\1" * block.count)
        panel.feed.send(block.points, panel.feed.template(block.points), decoded, NS)
    assert panel.sent() == ["fire_n=150,q=192i"]
