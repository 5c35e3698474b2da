"""Spool and uplink against a real broker and an engine that keeps the rules of wire v1."""

import gzip
import json

import pytest
import zstandard
from pms_edge.batch import Batch
from pms_edge.config.gateway_file import Uplink as UplinkSettings
from pms_edge.counters import Counters
from pms_edge.spool.lane import Span
from pms_edge.spool.spool import Spool
from pms_edge.uplink.cursor import RESEND_S, Cursor
from pms_edge.uplink.uplink import Uplink, parse_ack
from tiny_engine import HEADER, Engine, eventually

ROOT = "pms/v1/riverside/gw-01"


def batch(i: int, *, lane: str = "data", size: int = 60) -> Batch:
    body = f"pump,site=s,asset=P1 flow={i},q=192i {i}\n"
    return Batch(lane, body.encode().ljust(size), 1, i, i)


class Gateway:
    def __init__(
        self, folder, port: int, *, window=64, max_bytes=1_000_000, resend_s=RESEND_S, **more
    ) -> None:
        self.counters = Counters()
        self.spool = Spool(
            folder / "spool.db", max_bytes=max_bytes, sync="normal", counters=self.counters
        )
        self.uplink = Uplink(
            UplinkSettings(**{"host": "127.0.0.1", "port": port, **more}),
            self.spool,
            gateway="gw-01",
            site="riverside",
            window=window,
            birth=lambda: {"gateway": "gw-01"},
            health=lambda: {"counters": self.counters.all()},
            health_every_s=1.0,
            counters=self.counters,
            resend_s=resend_s,
        )

    def keep(self, *batches: Batch) -> None:
        for one in batches:
            self.spool.keep(one)

    def close(self) -> None:
        self.uplink.stop()
        self.spool.close()


@pytest.fixture
def gateway_link(tmp_path, broker):
    links = []

    def make(**more) -> Gateway:
        links.append(Gateway(tmp_path, broker.port, **more))
        return links[-1]

    yield make
    for link in links:
        link.close()


def test_every_batch_arrives_once_in_order_and_is_freed_by_the_ack(gateway_link, engine):
    link = gateway_link()
    link.keep(*(batch(i) for i in range(1, 501)), batch(1, lane="event"))
    link.uplink.start()
    engine.wait(lambda: len(engine.committed(link.spool.epoch, "data")) == 500)
    assert engine.committed(link.spool.epoch, "data") == list(range(1, 501))
    assert engine.committed(link.spool.epoch, "event") == [1]
    assert engine.gaps == []
    eventually(lambda: link.spool.stats().rows == 0)


def test_the_header_says_epoch_seq_n_and_base(gateway_link, engine):
    engine.acking = False
    link = gateway_link()
    link.keep(batch(1), batch(2))
    link.uplink.start()
    engine.wait(lambda: len(engine.messages) == 2)
    heads = [HEADER.match(body) for _, body in engine.messages]
    epoch = link.spool.epoch.encode()
    assert [head and head.groups() for head in heads] == [
        (b"gw-01", epoch, b"1", b"1", b"1"),
        (b"gw-01", epoch, b"2", b"1", b"1"),
    ]


def test_no_more_than_the_window_is_sent_without_an_ack(gateway_link, engine):
    engine.acking = False
    link = gateway_link(window=5)
    link.keep(*(batch(i) for i in range(1, 21)))
    link.uplink.start()
    engine.wait(lambda: len(engine.messages) == 5)
    engine.ack(ROOT, "data", link.spool.epoch, 2)
    engine.wait(lambda: len(engine.messages) == 7)
    sent = [int(HEADER.match(body)[3]) for _, body in engine.messages]
    assert sent == [1, 2, 3, 4, 5, 6, 7]


def test_an_ack_of_another_epoch_or_a_malformed_one_frees_nothing(gateway_link, engine):
    engine.acking = False
    link = gateway_link()
    link.keep(batch(1), batch(2))
    link.uplink.start()
    engine.wait(lambda: len(engine.messages) == 2)
    engine.ack(ROOT, "data", "00000000", 2)
    for body in ("", "[]", '{"epoch": 1, "seq": "x"}', '{"seq": 1}', "\xff"):
        engine.client.publish(f"{ROOT}/ack/data", body, 1)
    eventually(lambda: link.counters.get("malformed_acks") == 5)
    assert link.counters.get("acks_of_other_epoch") == 1
    assert link.spool.stats().rows == 2
    engine.ack(ROOT, "data", link.spool.epoch, 2)
    eventually(lambda: link.spool.stats().rows == 0)


def test_evicted_batches_show_as_a_gap_record_at_the_base(gateway_link, engine):
    link = gateway_link(max_bytes=30_000)
    for i in range(1, 31):
        link.keep(batch(i, size=1_500))
        eventually(lambda i=i: link.spool.span("data").last == i)
    base = link.spool.span("data").base
    assert base > 5
    link.uplink.start()
    engine.wait(lambda: engine.committed(link.spool.epoch, "data")[-1:] == [30])
    assert engine.gaps == [("data", 0, base)]
    assert engine.committed(link.spool.epoch, "data") == list(range(base, 31))
    head = f"#pms1 gw=gw-01 epoch={link.spool.epoch} seq={base} n=0 base={base}\n"
    record = f"#gap lane=data from=1 to={base} n={base} t0=1 t1={base} cause=evicted\n"
    assert engine.messages[0] == ("data", (head + record).encode())


@pytest.mark.parametrize(
    ("encoding", "expand"),
    [("gzip", gzip.decompress), ("zstd", lambda x: zstandard.ZstdDecompressor().decompress(x))],
)
def test_bodies_are_compressed_when_asked_for(gateway_link, engine, encoding, expand):
    engine.acking = False
    link = gateway_link(encoding=encoding)
    link.keep(batch(1, size=3_000))
    link.uplink.start()
    engine.wait(lambda: engine.messages)
    head, _, body = engine.messages[0][1].partition(b"\n")
    epoch = link.spool.epoch
    assert head.decode() == f"#pms1 gw=gw-01 epoch={epoch} seq=1 n=1 base=1 encoding={encoding}"
    assert expand(body) == batch(1, size=3_000).body and len(body) < 300


def test_a_rebirth_command_is_answered_with_a_birth(gateway_link, engine):
    link = gateway_link()
    link.keep(batch(1))
    link.uplink.start()
    engine.wait(lambda: engine.births)
    engine.client.publish(f"{ROOT}/cmd/rebirth", b"", 1)
    engine.wait(lambda: len(engine.births) == 2)
    assert engine.births[1]["epoch"] == link.spool.epoch
    assert engine.births[1]["last_seq"] == {"data": 1, "event": 0}


def test_a_broker_killed_in_the_middle_loses_nothing(gateway_link, broker, engine):
    link = gateway_link(window=8)
    link.uplink.start()
    link.keep(*(batch(i) for i in range(1, 101)))
    engine.wait(lambda: len(engine.committed(link.spool.epoch, "data")) > 20)
    broker.kill()
    link.keep(*(batch(i) for i in range(101, 201)))
    eventually(lambda: link.counters.get("uplink_failures") >= 1)
    broker.start()
    engine.wait(lambda: len(engine.committed(link.spool.epoch, "data")) == 200, 25)
    assert engine.committed(link.spool.epoch, "data") == list(range(1, 201))
    assert engine.gaps == []


def test_a_late_engine_gets_everything_from_the_base(gateway_link, broker):
    """What the broker took while nobody listened is gone; the resend brings it."""
    link = gateway_link()
    link.keep(*(batch(i) for i in range(1, 11)))
    link.uplink.start()
    eventually(lambda: link.uplink.connected.is_set())
    engine = Engine(broker.port)
    engine.wait(lambda: len(engine.committed(link.spool.epoch, "data")) == 10)
    assert engine.committed(link.spool.epoch, "data") == list(range(1, 11))
    engine.close()


def test_a_cursor_starts_over_from_the_base_only_without_progress():
    cursor = Cursor(4)
    assert cursor.due(Span(1, 9, 0), 0.0) == (1, 5)
    cursor.next = 5
    assert cursor.due(Span(1, 9, 0), RESEND_S - 0.1) == (5, 5)
    assert cursor.due(Span(3, 9, 2), RESEND_S - 0.1) == (5, 7), "an ack is progress"
    cursor.next = 7
    assert cursor.due(Span(3, 9, 2), 2 * RESEND_S - 0.2) == (7, 7)
    assert cursor.due(Span(3, 9, 2), 2 * RESEND_S) == (3, 7)
    cursor.next = 7
    assert cursor.due(Span(10, 9, 9), 3 * RESEND_S) == (10, 10)
    assert not cursor.waits_for_ack()
    assert cursor.due(Span(10, 10, 9), 9 * RESEND_S) == (10, 11), (
        "waiting for work is no lack of progress"
    )


def test_evictions_are_no_progress():
    """Else an engine that returns to a full spool would wait for its first batch for ever."""
    cursor = Cursor(4)
    for second in range(int(RESEND_S) + 1):
        first, end = cursor.due(Span(1 + second, 9 + second, 0), float(second))
        cursor.next = end
    assert (first, end) == (1 + second, 5 + second)
    assert cursor.resends == 1


@pytest.mark.parametrize("seq", [True, -1, 1.5, None])
def test_a_seq_that_is_no_number_is_no_ack(seq):
    assert parse_ack(json.dumps({"epoch": "00000000", "seq": seq}).encode()) is None


def test_silence_of_the_engine_is_said_once_and_its_return_too(gateway_link, engine, caplog):
    caplog.set_level("INFO", "pms_edge.uplink.uplink")
    engine.acking = False
    link = gateway_link(resend_s=0.3)
    link.keep(batch(1), batch(2))
    link.uplink.start()
    eventually(lambda: link.counters.get("resends") >= 6)
    engine.acking = True
    eventually(lambda: "acknowledged again" in caplog.messages)
    unheard = "nothing is acknowledged: engine away, or not allowed by the broker"
    assert caplog.messages.count(unheard) == 1
    eventually(lambda: link.spool.stats().rows == 0)
