"""The consumer against a real broker: acknowledged only when told, bounded, back after every outage."""

import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import orjson
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs

from pms_iot.kernel.clock import ManualClock, to_ns
from pms_iot.settings import MqttSettings
from pms_iot.telemetry.consumer import Consumer, Received
from pms_iot.telemetry.counters import Counters
from tests.servers import Server, free_port, mosquitto, wait_for

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DATA = "pms/v1/riverside/gw-01/data"

Connect = Callable[..., Consumer]


@pytest.fixture
def connect(broker: Server) -> Generator[Connect]:
    """Starts consumers that are stopped when the test ends."""
    with ExitStack() as started:

        def connect(**options: Any) -> Consumer:
            consumer = Consumer(
                MqttSettings(port=broker.port), ManualClock(NOW), retry_s=(1, 1), **options
            )
            started.callback(consumer.stop)
            consumer.start()
            wait_for(lambda: consumer.connected_since_ns is not None, "the subscription")
            return consumer

        yield connect


@pytest.fixture
def gateway(broker: Server) -> Generator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-01")
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def publish(client: mqtt.Client, payload: str, topic: str = DATA, **options: Any) -> None:
    """Returns when the broker has the message."""
    client.publish(topic, payload.encode(), qos=1, **options).wait_for_publish(20)


def take(consumer: Consumer) -> Received:
    received = consumer.receive(20)
    assert received is not None
    return received


def test_messages_of_all_lanes_come_with_their_topic(
    connect: Connect, gateway: mqtt.Client
) -> None:
    consumer = connect()
    lanes = ("data", "event", "state", "birth", "health")
    for lane in lanes:
        publish(gateway, lane.upper(), f"pms/v1/riverside/gw-01/{lane}")
    publish(gateway, "no", "pms/v1/riverside/gw-01/other")
    got = [take(consumer) for _ in lanes]
    assert [(r.topic.rsplit("/", 1)[1], r.payload.decode()) for r in got] == [
        (lane, lane.upper()) for lane in lanes
    ]
    assert consumer.receive(0) is None


def test_retained_messages_are_marked(connect: Connect, gateway: mqtt.Client) -> None:
    publish(gateway, "online", "pms/v1/riverside/gw-01/state", retain=True)
    received = take(connect())
    assert (received.payload, received.retained) == (b"online", True)


def test_what_was_not_acknowledged_comes_again(connect: Connect, gateway: mqtt.Client) -> None:
    first = connect()
    for i in range(3):
        publish(gateway, str(i))
    got = [take(first) for _ in range(3)]
    got[0].ack()
    got[1].ack()
    publish(gateway, "3")
    take(first)  # the acks went out before this one came in
    first.stop()
    publish(gateway, "4")
    second = connect()
    assert [take(second).payload for _ in range(3)] == [b"2", b"3", b"4"]


def test_a_full_queue_leaves_the_rest_at_the_broker(connect: Connect, gateway: mqtt.Client) -> None:
    consumer = connect(queue_size=5)
    for i in range(300):
        publish(gateway, str(i))
    wait_for(lambda: consumer.waiting == 5, "a full queue")
    got: list[int] = []
    while len(got) < 300:
        assert consumer.waiting <= 5
        received = take(consumer)
        got.append(int(received.payload))
        received.ack()
    assert got == list(range(300))


def test_the_first_of_the_queue_tells_how_long_it_has_waited(
    connect: Connect, gateway: mqtt.Client
) -> None:
    consumer = connect()
    assert consumer.oldest_wait_s() == 0
    publish(gateway, "first")
    wait_for(lambda: consumer.oldest_wait_s() > 0.05, "the first to wait")
    publish(gateway, "second")
    wait_for(lambda: consumer.waiting == 2, "the second")
    assert take(consumer).came_s < take(consumer).came_s
    assert consumer.oldest_wait_s() == 0


def test_an_outage_of_the_broker_is_logged_when_it_begins_and_when_it_ends(
    tmp_path: Path,
) -> None:
    port, counters = free_port(), Counters()
    with capture_logs() as logs:
        consumer = Consumer(MqttSettings(port=port), ManualClock(NOW), counters, retry_s=(1, 1))
        consumer.start()
        wait_for(lambda: logs, "the first try that fails")
        with mosquitto(tmp_path / "broker", port=port) as broker:
            wait_for(lambda: consumer.connected_since_ns is not None, "the broker", 30)
            broker.kill()
            wait_for(lambda: len(logs) == 3, "the loss")
        consumer.stop()
    said = [entry["event"] for entry in logs]
    assert said == ["broker does not answer", "listening to the gateways", "broker lost"]


def test_start_does_not_need_a_broker(tmp_path: Any) -> None:
    port = free_port()
    counters = Counters()
    consumer = Consumer(MqttSettings(port=port), ManualClock(NOW), counters, retry_s=(1, 1))
    consumer.start()
    assert consumer.connected_since_ns is None
    with mosquitto(tmp_path / "broker", port=port):
        wait_for(lambda: consumer.connected_since_ns is not None, "the first connection")
        assert consumer.connected_since_ns == to_ns(NOW)
        consumer.stop()
    assert consumer.connected_since_ns is None


def test_a_broker_that_restarts_is_found_again_and_nothing_is_lost(
    broker: Server, connect: Connect, gateway: mqtt.Client
) -> None:
    consumer = connect()
    publish(gateway, "before")
    before = take(consumer)
    broker.stop()
    wait_for(lambda: consumer.connected_since_ns is None, "the loss to be noticed")
    broker.start()
    wait_for(lambda: consumer.connected_since_ns is not None, "the reconnection")
    before.ack()  # of the old connection: must not acknowledge anything of the new one
    again = take(consumer)
    assert again.payload == b"before"
    again.ack()
    publish(gateway, "after")
    assert take(consumer).payload == b"after"


def test_gateways_hear_what_is_committed(
    broker: Server, connect: Connect, gateway: mqtt.Client
) -> None:
    heard: Queue[tuple[str, bytes]] = Queue()
    subscribed: Queue[int] = Queue()
    gateway.on_message = lambda _c, _u, message: heard.put((message.topic, message.payload))
    gateway.on_subscribe = lambda _c, _u, mid, _r, _p: subscribed.put(mid)
    gateway.subscribe([("pms/v1/riverside/gw-01/ack/+", 1), ("pms/v1/riverside/gw-01/cmd/+", 1)])
    subscribed.get(timeout=20)
    consumer = connect()
    consumer.publish_ack("riverside", "gw-01", "data", "9f3a1c2b", 57)
    topic, payload = heard.get(timeout=20)
    assert topic == "pms/v1/riverside/gw-01/ack/data"
    assert orjson.loads(payload) == {"epoch": "9f3a1c2b", "seq": 57}
    consumer.ask_rebirth("riverside", "gw-01")
    assert heard.get(timeout=20) == ("pms/v1/riverside/gw-01/cmd/rebirth", b"")


def test_a_server_that_is_no_broker_stops_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        counters = Counters()
        settings = MqttSettings(port=server.getsockname()[1])
        consumer = Consumer(settings, ManualClock(NOW), counters, retry_s=(1, 1))
        consumer.start()
        for _ in range(2):  # it comes back after being hung up on
            connection, _ = server.accept()
            connection.close()
        assert consumer.connected_since_ns is None
        consumer.stop()
