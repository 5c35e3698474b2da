"""What becomes of one message: committed once, acknowledged after that, and what follows from it."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, event, text

from pms_iot.alerts import service as alerts
from pms_iot.kernel.db import transaction
from pms_iot.workorders import service as workorders
from tests.pipeline.rig import EPOCH, Read, Rig, payload


def run_of(asset: str, start: float, values: Sequence[float], point: str = "temp") -> list[Read]:
    """A read every 10 s."""
    return [(asset, start + 10 * i, {point: value}) for i, value in enumerate(values)]


FAULT = run_of("PU-01", 0, [70, 90, 90, 90])


def test_a_batch_is_committed_and_then_acknowledged(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, run_of("PU-01", 0, [70, 71]))
    assert rig.stored() == [("PU-01", "temp", 0.0, 70.0), ("PU-01", "temp", 10.0, 71.0)]
    assert rig.rows("select lane, seq, batches, samples from watermark") == [("data", 1, 1, 2)]
    assert rig.acks.told == [("data", 1)]
    assert rig.mqtt_acked == ["data"]


def test_nothing_is_acknowledged_before_the_commit(rig: Rig) -> None:
    path = rig.start()
    seen: list[tuple[list[tuple[str, int]], list[str]]] = []

    @event.listens_for(rig.core, "commit")
    def at_commit(_connection: object) -> None:
        seen.append((list(rig.acks.told), list(rig.mqtt_acked)))

    rig.send(path, FAULT)
    assert seen and all(state == ([], []) for state in seen)
    assert rig.acks.told == [("data", 1)]


def test_a_duplicate_is_dropped_counted_and_acknowledged_again(rig: Rig) -> None:
    path = rig.start()
    for _ in range(2):
        rig.send(path, run_of("PU-01", 10.0 * rig.seq, [70]))
    before = rig.stored()
    path.process(rig.received(payload(1, run_of("PU-01", 0, [99]))))
    assert rig.stored() == before
    assert rig.rows("select seq, batches, duplicates from watermark") == [(2, 2, 1)]
    assert rig.acks.told == [("data", 1), ("data", 2), ("data", 2)]
    assert rig.mqtt_acked == ["data"] * 3
    assert path.counters["batches_duplicate"] == 1


def test_a_batch_ahead_of_its_turn_is_ignored_and_counted(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, run_of("PU-01", 0, [70]))
    path.process(rig.received(payload(3, run_of("PU-01", 20, [72]), base=2)))
    assert len(rig.stored()) == 1
    assert rig.acks.told == [("data", 1)]
    assert rig.mqtt_acked == ["data"] * 2  # the gateway sends it again, not the broker
    assert path.counters["batches_ahead"] == 1


def test_batches_that_the_gateway_evicted_are_counted_and_not_waited_for(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, run_of("PU-01", 0, [70]))
    path.process(rig.received(payload(5, run_of("PU-01", 40, [74]), base=5)))
    assert rig.rows("select seq, batches, skipped from watermark") == [(5, 2, 3)]
    assert path.counters["batches_evicted_by_gateways"] == 3
    assert rig.acks.upto() == 5


def test_a_gap_record_is_kept_with_the_watermark_and_acknowledged(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, run_of("PU-01", 0, [70]))
    for last, count in ((5, 4), (9, 8)):  # evicted again before our acknowledgement arrived
        head = f"#pms1 gw=gw-01 epoch={EPOCH} seq={last} n=0 base={last}\n"
        record = f"#gap lane=data from=2 to={last} n={count} t0=1 t1={last} cause=evicted\n"
        path.process(rig.received((head + record + "#gap nonsense\n").encode()))
    assert rig.rows("select start, last, samples, cause from telemetry_gap") == [
        (2, 9, 8, "evicted")
    ]
    assert rig.rows("select seq, skipped from watermark") == [(9, 8)]
    assert rig.acks.told == [("data", 1), ("data", 5), ("data", 9)]
    assert (path.counters["gaps_told"], path.counters["gaps_malformed"]) == (2, 2)
    path.process(rig.received(payload(10, run_of("PU-01", 40, [74]), base=10)))
    assert rig.acks.upto() == 10


def test_an_event_is_stored_and_concludes_nothing(rig: Rig) -> None:
    path = rig.start()
    path.process(rig.received(payload(1, [("PU-01", 5, {"smoke": 1})]), "event"))
    assert rig.stored() == [("PU-01", "smoke", 5.0, 1.0)]
    assert rig.acks.told == [("event", 1)]
    assert rig.alerts() == []
    rig.send(path, [("PU-01", 5, {"smoke": 1})])
    assert rig.alerts() == [("pump.smoke", "PU-01", "firing")]


def test_data_without_a_header_is_taken_in_and_nobody_is_acknowledged(rig: Rig) -> None:
    path = rig.start()
    body = payload(1, FAULT).split(b"\n", 1)[1]
    path.process(rig.received(body))
    path.process(rig.received(body))
    assert len(rig.stored()) == 4
    assert rig.alerts() == [("pump.hot", "PU-01", "firing")]
    assert rig.acks.told == [] and rig.mqtt_acked == ["data"] * 2


def test_a_fault_opens_alert_order_and_message_in_one_transaction(rig: Rig) -> None:
    path = rig.start()
    seen: list[int] = []

    @event.listens_for(rig.core, "commit")
    def at_commit(connection: Connection) -> None:
        tables = ("alert", "work_order", "outbox_message", "watermark")
        counts = [connection.scalar(text(f"select count(*) from {table}")) or 0 for table in tables]
        if any(counts):
            assert counts == [1, 1, 1, 1]
        seen.append(sum(counts))

    rig.send(path, FAULT)
    assert seen[-1] == 4
    assert rig.rows("select event, channel from outbox_message") == [
        ("work_order.opened", "webhook")
    ]
    assert rig.rows(
        "select o.origin, l.key from alert l join work_order o on o.id = l.work_order_id"
    ) == [("fault:PU-01", "pump.hot|PU-01|temp")]


def test_a_message_says_why_in_both_languages(rig: Rig) -> None:
    rig.send(rig.start(), FAULT)
    ((chinese, english),) = rig.rows(
        "select json_extract(body, '$.why.zh'), json_extract(body, '$.why.en') from outbox_message"
    )
    assert english == "Temperature was 90 °C, above the limit of 80 °C."
    assert chinese == "温度为 90 °C，高于限值 80 °C。"


def test_the_end_of_a_fault_is_told_to_its_order(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, [*FAULT, *run_of("PU-01", 40, [60] * 4)])
    assert rig.alerts() == [("pump.hot", "PU-01", "resolved")]
    ((recovered,),) = rig.rows("select recovered_at from order_alert")
    assert recovered == "2026-11-23 08:01:10.000000"


def test_one_fault_is_one_order_however_many_alerts_it_has(rig: Rig) -> None:
    path = rig.start()
    reads = [("PU-01", 10.0 * i, {"temp": 90.0, "level": 0.5 * i}) for i in range(9)]
    rig.send(path, reads)
    assert rig.alerts() == [
        ("pump.hot", "PU-01", "firing"),
        ("pump.rising", "PU-01", "firing"),
    ]
    assert rig.rows("select origin, priority from work_order") == [("fault:PU-01", "P2")]


def test_an_alert_that_breaks_the_code_does_not_hold_back_the_others(rig: Rig) -> None:
    path = rig.start()
    with rig.core.begin() as connection:  # an alert on this asset can no longer be stored
        connection.exec_driver_sql(
            "create trigger broken before insert on alert when new.key like '%PU-01%'"
            " begin select raise(abort, 'broken'); end"
        )
    rig.send(path, [*FAULT, *run_of("PU-02", 0, [90] * 4)])
    assert rig.alerts() == [("pump.hot", "PU-02", "firing")]
    assert path.counters["alerts_failed"] == 1
    assert rig.acks.told == [("data", 1)]


def test_a_bad_message_that_comes_again_is_kept_once_and_acknowledged_again(rig: Rig) -> None:
    path = rig.start()
    bad = payload(1, run_of("PU-01", 0, [70]), n=7)
    for _ in range(2):
        path.process(rig.received(bad))
    assert rig.rows("select reason from quarantined_message") == [("count",)]
    assert rig.rows("select seq, samples, duplicates from watermark") == [(1, 0, 1)]
    assert rig.acks.told == [("data", 1), ("data", 1)]
    assert path.counters["messages_quarantined"] == 1


def test_a_bad_message_ahead_of_its_turn_is_left_to_its_gateway(rig: Rig) -> None:
    path = rig.start()
    path.process(rig.received(payload(2, run_of("PU-01", 0, [70]), n=7)))
    assert rig.rows("select * from quarantined_message") == []
    assert rig.acks.told == [] and rig.mqtt_acked == ["data"]


def test_a_shelved_alert_opens_no_order_until_its_time_is_over(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, FAULT)
    with transaction(rig.core) as session:
        until = rig.clock.now() + timedelta(hours=2)
        alerts.shelve(session, 1, "wang", until, "known", at=rig.clock.now())
        workorders.cancel(session, 1, "wang", rig.clock.now(), reason="known")
    rig.send(path, run_of("PU-01", 40, [20, 20, 20, 20, 20]))  # recovers,
    rig.send(path, run_of("PU-01", 90, [90, 90, 90]))  # and comes back
    path.tick(None)
    assert rig.alerts() == [("pump.hot", "PU-01", "resolved"), ("pump.hot", "PU-01", "firing")]
    assert rig.rows("select count(*) from work_order where status != 'cancelled'") == [(0,)]
    rig.clock.advance(2 * 3600 + 1)
    path.tick(None)
    path.tick(None)
    assert rig.rows("select origin, status from work_order where status != 'cancelled'") == [
        ("fault:PU-01", "new")
    ]


def batches(*seqs: int, base: int = 1) -> list[bytes]:
    """One read of each, 10 s apart by their number."""
    return [payload(seq, run_of("PU-01", 10.0 * seq, [60 + seq]), base=base) for seq in seqs]


def test_a_backlog_is_taken_at_once_and_acknowledged_to_its_end(rig: Rig) -> None:
    path = rig.start()
    path.process_all([rig.received(body) for body in batches(1, 2, 3, 4)])
    assert [row[2] for row in rig.stored()] == [10.0, 20.0, 30.0, 40.0]
    assert rig.rows("select seq, batches, samples, skipped from watermark") == [(4, 4, 4, 0)]
    assert rig.acks.told == [("data", 4)]
    assert rig.mqtt_acked == ["data"] * 4


def test_what_a_gateway_sends_again_within_a_backlog_counts_once(rig: Rig) -> None:
    path = rig.start()
    path.process_all([rig.received(body) for body in batches(1, 2)])
    path.process_all([rig.received(body) for body in batches(2, 3, 4, 3, 4, 5, 4)])
    assert [row[2] for row in rig.stored()] == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert rig.rows("select seq, batches, samples, duplicates from watermark") == [(5, 5, 5, 4)]
    assert rig.acks.upto() == 5


def test_a_backlog_with_a_hole_is_taken_up_to_it(rig: Rig) -> None:
    path = rig.start()
    path.process_all([rig.received(body) for body in batches(1, 2, 4, 5)])
    assert rig.rows("select seq, batches from watermark") == [(2, 2)]
    assert rig.acks.told == [("data", 2)]
    assert path.counters["batches_ahead"] == 2


def test_a_backlog_after_an_eviction_begins_at_the_base(rig: Rig) -> None:
    path = rig.start()
    path.process_all([rig.received(body) for body in batches(1)])
    path.process_all([rig.received(body) for body in batches(7, 8, 9, base=7)])
    assert rig.rows("select seq, batches, skipped from watermark") == [(9, 4, 5)]
    assert rig.acks.told == [("data", 1), ("data", 9)]


def test_a_spoilt_message_in_a_backlog_is_set_aside_alone(rig: Rig) -> None:
    path = rig.start()
    first, second, third = batches(1, 2, 3)
    path.process_all([rig.received(body) for body in (first, second + b"???\n", third)])
    assert [row[2] for row in rig.stored()] == [10.0, 30.0]
    assert rig.rows("select seq from watermark") == [(3,)]
    assert rig.acks.upto() == 3
    assert path.counters["messages_quarantined"] == 1


def test_a_gateway_whose_birth_was_not_heard_is_asked_for_it(rig: Rig) -> None:
    """It was born before it was registered; without its birth nobody knows what to expect of it."""
    path = rig.build()
    rig.say(path, "health", at_ns=rig.clock.now_ns())
    assert rig.acks.asked == [("riverside", "gw-01")]
    rig.say(path, "birth", epoch=EPOCH)
    rig.say(path, "health", at_ns=rig.clock.now_ns())
    assert len(rig.acks.asked) == 1


def test_a_birth_that_the_broker_kept_does_not_raise_the_dead(rig: Rig) -> None:
    path, birth = rig.build(), b'{"epoch":"9f3a1c2b"}'
    path.process(rig.received(b"offline", "state", retained=True))
    path.process(rig.received(birth, "birth", retained=True))
    assert rig.rows("select state, last_seen_at from gateway where code = 'gw-01'") == [
        ("offline", None)
    ]
    path.process(rig.received(birth, "birth"))
    ((state, seen_at),) = rig.rows("select state, last_seen_at from gateway where code = 'gw-01'")
    assert state == "online" and seen_at is not None
