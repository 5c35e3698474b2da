import sqlite3

import pytest
from pms_edge.batch import Batch
from pms_edge.counters import Counters
from pms_edge.spool.gap import Gap
from pms_edge.spool.pending import PENDING_BATCHES
from pms_edge.spool.spool import Spool
from tiny_engine import eventually

MB = 1_000_000


def batch(i: int, *, lane: str = "data", size: int = 100) -> Batch:
    return Batch(lane, f"{i} ".encode().ljust(size, b"x"), 1, i, i)


@pytest.fixture
def opened(tmp_path):
    spools = []

    def open_spool(max_bytes: int = MB, name: str = "spool.db") -> Spool:
        counters = Counters()
        spool = Spool(tmp_path / name, max_bytes=max_bytes, sync="normal", counters=counters)
        spool.counters = counters
        spools.append(spool)
        return spool

    yield open_spool
    for spool in spools:
        spool.close()


def filled(spool: Spool, batches: list[Batch]) -> Spool:
    before = sum(spool.span(lane).last for lane in ("data", "event"))
    for one in batches:
        spool.keep(one)
    end = before + len(batches)
    eventually(lambda: sum(spool.span(lane).last for lane in ("data", "event")) == end)
    return spool


def held(spool: Spool, lane: str = "data") -> list[int]:
    return [row.seq for row in spool.read(lane, 0, 1 << 60)]


def test_sequences_start_at_1_per_lane_and_survive_a_restart(opened):
    spool = filled(opened(), [batch(1), batch(2), batch(3, lane="event")])
    epoch = spool.epoch
    assert len(epoch) == 8 and int(epoch, 16) >= 0
    assert spool.close()
    again = filled(opened(), [batch(4)])
    assert again.epoch == epoch
    assert held(again) == [1, 2, 3] and held(again, "event") == [1]
    assert again.read("data", 1, 2)[0].batch == batch(1)


def test_an_ack_frees_up_to_its_seq_and_the_rest_stays_after_a_restart(opened):
    spool = filled(opened(), [batch(i) for i in range(1, 6)])
    spool.ack("data", spool.epoch, 3)
    eventually(lambda: held(spool) == [4, 5])
    assert spool.span("data") == (4, 5, 3)
    spool.ack("data", spool.epoch, 5)
    eventually(lambda: held(spool) == [])
    assert spool.stats()[:3] == (0, 0, None)
    spool.close()
    assert opened().span("data")[:2] == (6, 5), "numbering goes on although nothing is left"


def test_an_ack_of_another_epoch_frees_nothing(opened):
    spool = filled(opened(), [batch(1)])
    spool.ack("data", "00000000", 1)
    spool.ack("nonsense", spool.epoch, 1)
    assert spool.span("data") == (1, 1, 0) and held(spool) == [1]
    assert spool.counters.get("acks_of_other_epoch") == 2


def test_over_the_cap_the_oldest_data_goes_and_no_event(opened):
    events = [batch(i, lane="event", size=5_000) for i in range(5)]
    spool = filled(opened(max_bytes=100_000), events)
    for i in range(1, 41):
        filled(spool, [batch(i, size=5_000)])
    base, last, _ = spool.span("data")
    assert last == 40 and base > 20
    eventually(lambda: held(spool) == list(range(base, 41)))
    assert held(spool, "event") == [1, 2, 3, 4, 5]
    assert spool.stats().bytes <= 110_000
    assert spool.counters.get("batches_evicted") == base
    [record, *rest] = spool.read("data", 0, 99)
    assert record.gap == Gap("data", "evicted", base, 1, base, 1, base)
    assert all(row.gap is None for row in rest)


def test_the_file_stays_bounded_when_much_more_than_the_cap_passes(opened, tmp_path):
    spool = opened(max_bytes=200_000)
    for start in range(0, 400, 40):
        filled(spool, [batch(i, size=5_000) for i in range(start, start + 40)])
    assert (tmp_path / "spool.db").stat().st_size <= 500_000


@pytest.mark.parametrize("keep", [0, 10, 100, 4096, 6000, 20_000])
def test_a_truncated_spool_is_put_aside_and_a_new_epoch_begun(opened, tmp_path, keep):
    spool = filled(opened(), [batch(i, size=1000) for i in range(50)])
    epoch = spool.epoch
    spool.close()
    file = tmp_path / "spool.db"
    file.write_bytes(file.read_bytes()[:keep])
    again = filled(opened(), [batch(1)])
    assert again.epoch != epoch and held(again) == [1, 2]
    assert again.read("data", 1, 2)[0].gap == Gap("data", "corrupt")
    assert again.counters.get("spools_quarantined") == 1
    assert len(list(tmp_path.glob("spool.db.corrupt-*"))) >= 1


def test_a_file_that_is_no_database_is_put_aside(opened, tmp_path):
    (tmp_path / "spool.db").write_text("hello " * 1000)
    assert held(filled(opened(), [batch(1)])) == [1, 2]
    assert next(tmp_path.glob("spool.db.corrupt-*")).read_text().startswith("hello")


def test_pages_overwritten_while_running_begin_a_new_epoch(opened, tmp_path):
    spool = filled(opened(), [batch(i, size=3000) for i in range(300)])
    epoch = spool.epoch
    with sqlite3.connect(tmp_path / "spool.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = (tmp_path / "spool.db").stat().st_size
    with (tmp_path / "spool.db").open("r+b") as file:
        file.write(b"\xff" * size)
    spool.keep(batch(301))
    eventually(lambda: spool.epoch != epoch)
    spool.keep(batch(302))
    eventually(lambda: spool.read("data", spool.span("data").last, 99)[-1].batch == batch(302))
    assert spool.read("data", 1, 2)[0].gap == Gap("data", "corrupt")
    assert spool.counters.get("spools_quarantined") == 1


def test_a_full_disk_is_counted_and_the_agent_recovers_when_space_returns(opened):
    spool = opened(max_bytes=60_000)  # SQLite itself refuses to grow past twice the cap
    for i in range(1, 60):
        spool.keep(batch(i, lane="event", size=5_000))
    eventually(lambda: spool.failing)
    assert "full" in spool.failing and spool.counters.get("spool_write_failures") >= 1
    eventually(lambda: spool.span("event").last > 0)
    assert spool.span("event").last < 59
    while spool.span("event").last < 59:
        spool.ack("event", spool.epoch, spool.span("event").last)
        kept = spool.span("event").last
        eventually(lambda kept=kept: spool.span("event").last > kept or kept == 59)
    eventually(lambda: not spool.failing)
    assert spool.counters.get("batches_lost_before_spool") == 0


def test_when_memory_is_full_too_the_oldest_data_is_given_up_and_counted(opened):
    spool = opened(max_bytes=30_000)
    spool.keep(batch(0, lane="event", size=200_000))  # larger than the whole disk allows
    eventually(lambda: spool.failing)
    for i in range(PENDING_BATCHES + 9):
        spool.keep(batch(i))
    assert spool.counters.get("batches_lost_before_spool") == 10
    assert spool.counters.get("samples_lost_before_spool") == 10


def test_an_engine_that_knows_more_than_the_spool_makes_it_begin_a_new_epoch(opened):
    """A spool restored from a copy would give numbers again that the engine takes for old ones."""
    spool = filled(opened(), [batch(i) for i in range(1, 5)])
    epoch = spool.epoch
    spool.ack("data", epoch, 2)
    spool.ack("data", epoch, 90)
    eventually(lambda: spool.epoch != epoch)
    assert spool.span("data") == (1, 2, 0)
    assert [row.batch for row in spool.read("data", 1, 9)] == [batch(3), batch(4)]
