"""Gap records: read from comments behind the header, kept once, updated when they grow."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from pms_iot.kernel import migrations
from pms_iot.kernel.clock import from_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.telemetry.gaps import GapRecord, gaps, read_gaps, record_gaps
from pms_iot.telemetry.wire import decode
from tests.register import small_register

NOW = datetime(2026, 11, 23, tzinfo=UTC)
T = 1_700_000_000_000_000_000
EVICTED = GapRecord("data", "evicted", 12, 90, 79_000, T, T + 10**9)


@pytest.fixture
def core(core_url: str) -> Engine:
    engine = open_engine(core_url)
    migrations.upgrade(engine)
    return engine


def tell(core: Engine, gap: GapRecord, *, seq: int = 90, minutes: int = 0) -> None:
    with transaction(core) as session:
        at = NOW + timedelta(minutes=minutes)
        record_gaps(session, "riverside", "gw-01", "9f3a1c2b", seq, [gap], at)


def test_a_gap_told_twice_is_one_row_and_a_grown_one_updates_it(core: Engine) -> None:
    tell(core, EVICTED)
    tell(core, EVICTED)
    tell(core, EVICTED._replace(last=95, samples=84_000, last_ns=T + 2 * 10**9), seq=95, minutes=1)
    with transaction(core) as session:
        [row] = gaps(session)
        assert (row.start, row.last, row.samples, row.cause) == (12, 95, 84_000, "evicted")
        assert (row.first_at, row.last_at) == (from_ns(T), from_ns(T + 2 * 10**9))
        assert row.noted_at == NOW + timedelta(minutes=1)


def test_gaps_without_numbers_are_told_apart_by_the_message_that_tells(core: Engine) -> None:
    unknown = GapRecord("data", "corrupt", None, None, None, None, None)
    for seq in (1, 1, 7):
        tell(core, unknown, seq=seq, minutes=seq)
    tell(core, EVICTED)
    with transaction(core) as session:
        assert [(row.start, row.samples) for row in gaps(session)] == [
            (7, None),
            (1, None),
            (12, 79_000),
        ]


@pytest.mark.parametrize(
    "line",
    [
        b"#gap ",
        b"#gap lane=data",
        b"#gap lane=ack from=1 to=2 cause=evicted",
        b"#gap lane=data from=1 to=2 cause=boredom",
        b"#gap lane=data from=1 cause=evicted",
        b"#gap lane=data from=3 to=2 cause=evicted",
        b"#gap lane=data from=-1 to=2 cause=evicted",
        b"#gap lane=data from=1 to=2 n=1e9 cause=evicted",
        b"#gap lane=data t0=9 t1=8 cause=evicted",
        b"#gap lane=data t0=99999999999999999999 cause=evicted",
        b"#gap lane=data\xff cause=evicted",
    ],
)
def test_a_malformed_record_is_counted(line: bytes) -> None:
    good = b"#gap lane=data from=1 to=2 cause=evicted"
    assert read_gaps([b"#pms1", line, good], 1) == (
        (GapRecord("data", "evicted", 1, 2, None, None, None),),
        1,
    )


@given(st.lists(st.binary(max_size=60).map(lambda rest: b"#gap " + rest)))
def test_any_records_are_read_or_counted(lines: list[bytes]) -> None:
    found, malformed = read_gaps(lines, 0)
    assert len(found) + malformed == len(lines)


def test_other_comments_are_skipped_and_records_elsewhere_too(tmp_path: Path) -> None:
    catalog = small_register(tmp_path)
    line = f"elevator,site=riverside,asset=EL-01 motor_temp=1.5,q=192i {T}"
    record = "#gap lane=data from=1 to=2 cause=evicted"
    head = "#pms1 gw=gw-01 epoch=9f3a1c2b seq=57 n=1 base=41"
    for text, told in (
        ([head, record, line], 1),
        ([head, "# words", line, record], 0),
        ([line, record], 0),
    ):
        payload = "\n".join(text).encode() + b"\n"
        decoded = decode("pms/v1/riverside/gw-01/data", payload, catalog, T)
        assert (len(decoded.batch), len(decoded.gaps), decoded.malformed_gaps) == (1, told, 0)
