"""Watermarks: each batch once, in order, gaps and repeats counted; on both databases."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel

from pms_iot.kernel.db import open_engine, transaction
from pms_iot.telemetry import watermarks
from pms_iot.telemetry.tables import Watermark
from pms_iot.telemetry.wire import Header

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def engine(core_url: str) -> Engine:
    engine = open_engine(core_url)
    SQLModel.metadata.create_all(engine)
    return engine


def header(seq: int, base: int = 1, epoch: str = "9f3a1c2b", gateway: str = "gw-01") -> Header:
    return Header(gateway, epoch, seq, n=10, base=base)


def deliver(engine: Engine, seq: int, base: int = 1, lane: str = "data", site: str = "s") -> str:
    """What the pipeline does with a batch."""
    with transaction(engine) as session:
        verdict = watermarks.judge(session, site, lane, header(seq, base))
        if verdict == "accept":
            watermarks.advance(session, site, lane, header(seq, base), AT)
        elif verdict == "duplicate":
            watermarks.count_duplicate(session, site, lane, header(seq, base), AT)
        return verdict


def only_row(session: Session) -> Watermark:
    (row,) = watermarks.of_gateway(session, "s", "gw-01")
    return row


def test_batches_in_order_are_accepted_once(engine: Engine) -> None:
    seqs = (1, 2, 2, 1, 3)
    assert [deliver(engine, seq) for seq in seqs] == ["accept"] * 2 + ["duplicate"] * 2 + ["accept"]
    with transaction(engine) as session:
        row = only_row(session)
        counted = (row.seq, row.batches, row.samples, row.duplicates, row.skipped, row.updated_at)
        assert counted == (3, 3, 30, 2, 0, AT)


def test_a_batch_ahead_of_a_missing_one_is_ignored(engine: Engine) -> None:
    assert deliver(engine, 1) == "accept"
    assert deliver(engine, 3, base=2) == "ahead"
    assert deliver(engine, 2, base=2) == "accept"
    assert deliver(engine, 3, base=2) == "accept"


def test_evicted_batches_are_a_counted_gap(engine: Engine) -> None:
    assert deliver(engine, 1) == "accept"
    assert deliver(engine, 9, base=8) == "ahead"
    assert deliver(engine, 8, base=8) == "accept"
    with transaction(engine) as session:
        assert (only_row(session).seq, only_row(session).skipped) == (8, 6)


def test_advance_tells_how_many_are_lost(engine: Engine) -> None:
    with transaction(engine) as session:
        assert watermarks.advance(session, "s", "data", header(1), AT) == 0
        assert watermarks.advance(session, "s", "data", header(5, base=5), AT) == 3


def test_an_engine_that_lost_its_database_starts_at_the_base(engine: Engine) -> None:
    assert deliver(engine, 41, base=41) == "accept"
    assert deliver(engine, 42, base=41) == "accept"


def test_a_base_that_is_committed_is_a_duplicate(engine: Engine) -> None:
    assert deliver(engine, 1) == "accept"
    assert deliver(engine, 1, base=1) == "duplicate"


def test_lanes_epochs_gateways_and_sites_are_apart(engine: Engine) -> None:
    assert deliver(engine, 1) == "accept"
    assert deliver(engine, 1, lane="event") == "accept"
    assert deliver(engine, 1, site="other") == "accept"
    with transaction(engine) as session:
        for other in (header(1, epoch="00000000"), header(1, gateway="gw-02")):
            assert watermarks.judge(session, "s", "data", other) == "accept"
        assert {row.lane for row in watermarks.of_gateway(session, "s", "gw-01")} == {
            "data",
            "event",
        }


def test_what_is_rolled_back_is_not_committed(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), transaction(engine) as session:
        watermarks.advance(session, "s", "data", header(1), AT)
        session.flush()
        _ = 1 / 0
    assert deliver(engine, 1) == "accept"
