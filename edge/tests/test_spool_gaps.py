"""What the spool has to give up stands in the stream as a gap record, at its place."""

import sqlite3
from contextlib import closing

import pytest
from pms_edge.spool.gap import Gap, parse_gap
from pms_edge.spool.pending import PENDING_BATCHES
from spool_rig import batch, keep, open_spool, settle
from tiny_engine import eventually


def rows(spool, lane="data"):
    return spool.read(lane, 0, 1 << 60)


def test_a_gap_record_survives_a_restart_and_grows_with_later_evictions(tmp_path):
    spool = open_spool(tmp_path / "spool.db", 40_000)
    keep(spool, *(batch(i, size=5_000, samples=3) for i in range(1, 20)))
    gap = rows(spool)[0].gap
    assert gap == Gap("data", "evicted", 3 * gap.last, 1, gap.last, 1, gap.last)
    spool.close()
    spool = open_spool(tmp_path / "spool.db", 40_000)
    assert rows(spool)[0].gap == gap
    keep(spool, *(batch(i, size=5_000, samples=3) for i in range(20, 30)))
    grown = [row.gap for row in rows(spool) if row.gap]
    assert grown == [Gap("data", "evicted", 3 * grown[0].last, 1, grown[0].last, 1, grown[0].last)]
    assert grown[0].last > gap.last and spool.span("data").base == grown[0].last
    spool.ack("data", spool.epoch, grown[0].last)
    assert all(row.gap is None for row in rows(settle(spool)))
    spool.close()


def test_only_what_was_not_acknowledged_of_a_packed_row_counts_as_lost(tmp_path):
    spool = open_spool(tmp_path / "spool.db", 60_000)
    keep(spool, *(batch(i, size=600, samples=i) for i in range(1, 65)))
    assert spool.counters.get("batches_packed") == 32
    spool.ack("data", spool.epoch, 20)
    keep(spool, batch(65, size=30_000))
    keep(spool, batch(66, size=9_000))
    assert rows(spool)[0].gap[:3] == ("data", "evicted", sum(range(21, rows(spool)[0].seq + 1)))
    assert rows(spool)[0].gap.first == 21
    spool.close()


def test_batches_given_up_on_a_full_disk_leave_one_record_at_their_place(tmp_path):
    spool = open_spool(tmp_path / "spool.db", 60_000)
    keep(spool, *(batch(i) for i in range(1, 6)))
    for i in range(40):  # SQLite itself refuses to grow past twice the cap
        spool.keep(batch(i, lane="event", size=5_000))
    eventually(lambda: spool.failing)
    for i in range(6, 6 + PENDING_BATCHES):
        spool.keep(batch(i, size=40))
    lost = spool.counters.get("batches_lost_before_spool")
    assert lost > 10

    def catch_up():
        spool.ack("event", spool.epoch, spool.span("event").last)
        return spool.span("event").last == 40 and not spool._has_work()

    eventually(catch_up)
    found = [row.gap or row.batch for row in rows(spool)]
    assert found[0] == Gap("data", "evicted", 5, 1, 5, 1, 5), "the events in memory count, too"
    assert found[1] == Gap("data", "disk_full", lost, 6, 5 + lost)
    told = found[1].last_ns
    for one in found[2:]:  # among them the record of what was evicted when the disk was free again
        assert one.first_ns == told + 1
        told = one.last_ns
    assert told == 5 + PENDING_BATCHES
    assert not spool.failing
    spool.close()


def test_a_packed_row_that_cannot_be_unpacked_puts_the_file_aside(tmp_path):
    spool = keep(open_spool(tmp_path / "spool.db"), *(batch(i) for i in range(1, 70)))
    epoch = spool.epoch
    spool.close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        assert db.execute("UPDATE batch SET blob = x'00' WHERE kind = 1").rowcount == 1
    spool = open_spool(tmp_path / "spool.db")
    assert spool.read("data", 1, 9) == []
    eventually(lambda: spool.epoch != epoch and spool.span("data").last == 1)
    assert rows(spool)[0].gap == Gap("data", "corrupt")
    assert spool.counters.get("spools_quarantined") == 1
    spool.close()


def test_a_start_ended_between_putting_aside_and_renaming_is_made_up_for(tmp_path):
    (tmp_path / "spool.db").write_text("no database")
    open_spool(tmp_path / "spool.db").close()
    (tmp_path / "spool.db").rename(tmp_path / "spool.db.new")
    spool = open_spool(tmp_path / "spool.db")
    assert [row.gap for row in rows(spool)] == [Gap("data", "corrupt")]
    spool.close()


def test_a_new_epoch_keeps_gap_records_without_their_old_numbers(tmp_path):
    spool = open_spool(tmp_path / "spool.db", 40_000)
    keep(spool, *(batch(i, size=5_000) for i in range(1, 20)))
    gap, *kept = rows(spool)
    spool.ack("data", spool.epoch, 999)
    settle(spool)
    assert [row.seq for row in rows(spool)] == list(range(1, len(kept) + 2))
    assert rows(spool)[0].gap == gap.gap._replace(first=None, last=None)
    assert [row.batch for row in rows(spool)[1:]] == [row.batch for row in kept]
    spool.close()


OLD_SCHEMA = """
CREATE TABLE meta (epoch TEXT NOT NULL);
CREATE TABLE lane (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE batch (
    lane TEXT NOT NULL, seq INTEGER NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL,
    n INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (lane, seq)
);
INSERT INTO meta VALUES ('9f3a1c2b');
INSERT INTO lane VALUES ('data', 203), ('event', 0);
"""


def test_a_spool_of_the_first_version_opens_and_is_packed(tmp_path):
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        db.executescript(OLD_SCHEMA)
        for seq in range(4, 204):
            b = batch(seq)
            values = (b.lane, seq, b.first_ns, b.last_ns, b.samples, b.body)
            db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)", values)
    spool = keep(open_spool(tmp_path / "spool.db"), batch(204))
    assert spool.epoch == "9f3a1c2b" and spool.span("data") == (4, 204, 3)
    assert [row.batch for row in rows(spool)] == [batch(i) for i in range(4, 205)]
    assert spool.counters.get("batches_packed") >= 128
    spool.close()


def test_a_spool_of_a_later_version_is_put_aside_not_misread(tmp_path):
    open_spool(tmp_path / "spool.db").close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        db.execute("PRAGMA user_version = 99")
    spool = open_spool(tmp_path / "spool.db")
    assert spool.counters.get("spools_quarantined") == 1
    assert rows(spool)[0].gap == Gap("data", "corrupt")
    spool.close()


@pytest.mark.parametrize(
    "gap",
    [
        Gap("data", "corrupt"),
        Gap("event", "disk_full", 7, 1, 2),
        Gap("data", "evicted", 0, 5, 6, 1, 9),
    ],
)
def test_a_gap_is_read_back_as_it_was_written(gap):
    assert parse_gap(gap.line()) == gap
