"""A backlog is packed into fewer, smaller rows and comes out byte for byte."""

import os
import random
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.batch import Batch
from pms_edge.spool.outlook import STEP_S, WINDOW_S, Outlook
from pms_edge.spool.packing import pack, unpack
from spool_rig import batch, keep, open_spool, settle

BODIES = st.lists(st.binary(max_size=80) | st.text(",= \n%a1é").map(str.encode), min_size=1)


@given(BODIES, st.integers(-(2**63), 2**63 - 1))
def test_any_bodies_come_out_as_they_went_in(bodies, at):
    batches = [Batch("data", body, i, at, at) for i, body in enumerate(bodies)]
    assert unpack("data", pack(batches)) == batches


def test_a_backlog_is_packed_and_read_back_byte_for_byte(tmp_path):
    spool = keep(open_spool(tmp_path / "spool.db"), *(batch(i) for i in range(1, 301)))
    assert spool.counters.get("batches_packed") >= 224
    assert spool.stats().rows == 300
    for first, end in ((1, 301), (17, 60), (299, 301), (33, 34), (301, 400)):
        expected = [(i, batch(i)) for i in range(first, min(end, 301))]
        assert [row[:2] for row in spool.read("data", first, end)] == expected
    spool.close()
    spool = open_spool(tmp_path / "spool.db")
    assert [row.batch for row in spool.read("data", 1, 301)] == [batch(i) for i in range(1, 301)]
    spool.close()


def test_packed_bytes_are_what_counts_against_the_cap(tmp_path):
    plain = open_spool(tmp_path / "plain.db", packing=False)
    packed = open_spool(tmp_path / "packed.db")
    for spool in (plain, packed):
        body = batch(1, size=4_000).body
        keep(spool, *(Batch("data", body, 1, i, i) for i in range(1, 129)))
    assert packed.stats().bytes < plain.stats().bytes / 2
    assert packed.stats().rows == plain.stats().rows == 128
    for spool in (plain, packed):
        spool.close()


def test_an_ack_inside_a_packed_row_frees_it_only_with_its_last(tmp_path):
    spool = keep(open_spool(tmp_path / "spool.db"), *(batch(i) for i in range(1, 65)))
    before = spool.stats()
    spool.ack("data", spool.epoch, 31)
    assert settle(spool).span("data") == (32, 64, 31)
    assert spool.stats().rows == 33 and spool.stats().bytes == before.bytes
    spool.close()
    spool = open_spool(tmp_path / "spool.db")
    assert spool.span("data").base == 1, "the repeats are duplicates to the engine"
    assert spool.stats().rows == 64
    spool.ack("data", spool.epoch, 32)
    assert settle(spool).span("data") == (33, 64, 32)
    assert spool.stats().bytes < before.bytes
    spool.close()
    spool = open_spool(tmp_path / "spool.db")
    assert spool.span("data").base == 33
    spool.close()


def test_events_are_packed_in_a_lane_of_their_own(tmp_path):
    spool = open_spool(tmp_path / "spool.db")
    keep(spool, *(batch(i, lane=lane) for i in range(1, 90) for lane in ("data", "event")))
    for lane in ("data", "event"):
        found = [row.batch for row in spool.read(lane, 1, 99)]
        assert found == [batch(i, lane=lane) for i in range(1, 90)]
    spool.close()


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from spool_rig import batch, open_spool
spool = open_spool(Path(sys.argv[1]))
while True:
    last = spool.span("data").last
    print(last, flush=True)
    for i in range(last + 1, last + 60):
        spool.keep(batch(i))
    while spool.span("data").last < last + 59:
        pass
"""


def test_kill_9_in_the_middle_of_packing_loses_nothing(tmp_path):
    rng = random.Random(7)
    here = str(Path(__file__).parent)
    for _ in range(4):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "spool.db"), here]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) as child:
            assert child.stdout
            said = [int(child.stdout.readline()) for _ in range(rng.randint(3, 9))]
            child.kill()
        spool = settle(open_spool(tmp_path / "spool.db"))
        last = spool.span("data").last
        assert last >= said[-1] > 0
        found = [row[:2] for row in spool.read("data", 0, 1 << 60)]
        assert found == [(i, batch(i)) for i in range(1, last + 1)]
        assert spool.counters.get("spools_quarantined") == 0
        spool.close()


@settings(max_examples=30)
@given(st.integers(100, 10_000), st.integers(1, 2000))
def test_hours_left_follow_the_rate_of_the_last_minutes(rate, seconds):
    outlook = Outlook(0.0)
    for second in range(seconds):
        outlook.came(random.Random(second).randbytes(rate), float(second))
    hours = outlook.hours(36_000_000, float(seconds))
    if seconds < STEP_S:
        assert hours is None
    else:
        assert 0.8 < hours / (36_000_000 / rate / 3600) < 1.25
    outlook.packed(100, 10)
    later = outlook.hours(36_000_000, float(seconds))
    assert later is None or later > 5 * hours
    assert outlook.hours(-5, WINDOW_S) in (None, 0.0)
