"""The MQTT side of the engine: messages in, acknowledgements out.

Nothing is acknowledged before the caller says so, the session persists at the broker, and the queue to
the caller is bounded: when it is full, reading from the socket stops and the broker keeps the rest. If
that lasts longer than the keep-alive the broker ends the connection and sends all that was not
acknowledged again; a batch that comes twice is known by its seq.
"""

import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from pms_iot.kernel.clock import Clock
from pms_iot.settings import MqttSettings
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.tls import tls_context

_log = structlog.get_logger(__name__)

LANES = ("data", "event", "state", "birth", "health")
_KEEPALIVE_S = 60
_JITTER_S = 0.5  # so that not everybody returns to a restarted broker in the same instant


@dataclass(frozen=True, slots=True)
class Received:
    """A message; the broker keeps it until `ack()`, which may be called from any thread, once."""

    topic: str
    payload: bytes
    retained: bool
    ack: Callable[[], None]
    at_ns: int | None = None  # when it came, by the engine's clock
    came_s: float = field(default_factory=time.monotonic, compare=False)


class Consumer:
    """Subscribes to all gateways, and to `topics` of third parties. One engine per client id: a second one would push out the first.

    Counts `mqtt_messages`, `mqtt_connects`, `mqtt_disconnects`, `mqtt_refused`, `mqtt_bad_topics`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        clock: Clock,
        counters: Counters | None = None,
        *,
        topics: Sequence[str] = (),
        queue_size: int = 200,
        retry_s: tuple[int, int] = (1, 30),
    ) -> None:
        self._settings = settings
        self._filters = [f"pms/v1/+/+/{lane}" for lane in LANES] + list(dict.fromkeys(topics))
        self._clock = clock
        self._counters = counters or Counters()
        self._messages: queue.Queue[Received] = queue.Queue(queue_size)
        self._closing = threading.Event()
        self._away = False  # an outage was logged, its end was not
        self._connection = 0  # counts up; an ack belongs to the connection its message came on
        self._connected_since_ns: int | None = None
        self._client = self._make_client(retry_s)

    def start(self) -> None:
        """Begins to connect, in a thread of its own and for ever; returns at once, broker or not."""
        self._client.connect_async(self._settings.host, self._settings.port, _KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnects; what was not acknowledged stays at the broker."""
        self._closing.set()
        self._client.disconnect()
        self._client.loop_stop()
        self._connected_since_ns = None

    def receive(self, timeout_s: float) -> Received | None:
        """The next message, or None if none comes in time."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def waiting(self) -> int:
        """Messages received and not yet taken."""
        return self._messages.qsize()

    def oldest_wait_s(self) -> float:
        """How long the first message of the queue has waited to be taken; 0 if there is none."""
        with self._messages.mutex:
            first = self._messages.queue[0] if self._messages.queue else None
        return 0.0 if first is None else time.monotonic() - first.came_s

    @property
    def connected_since_ns(self) -> int | None:
        """Since when gateways are heard, by the engine's clock; None while not subscribed."""
        return self._connected_since_ns

    def publish_ack(self, site: str, gateway: str, lane: str, epoch: str, seq: int) -> None:
        """Tells a gateway that everything up to and including `seq` is committed."""
        payload = orjson.dumps({"epoch": epoch, "seq": seq})
        self._client.publish(f"pms/v1/{site}/{gateway}/ack/{lane}", payload, qos=1)

    def ask_rebirth(self, site: str, gateway: str) -> None:
        """Asks a gateway to publish its birth again."""
        self._client.publish(f"pms/v1/{site}/{gateway}/cmd/rebirth", b"", qos=1)

    def _make_client(self, retry_s: tuple[int, int]) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            clean_session=False,
            manual_ack=True,
        )
        client.reconnect_delay_set(*retry_s)
        if self._settings.username is not None:
            password = self._settings.password
            client.username_pw_set(
                self._settings.username, password.get_secret_value() if password else None
            )
        if (tls := tls_context(self._settings)) is not None:
            client.tls_set_context(tls)
        client.on_pre_connect = self._on_pre_connect
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_pre_connect(self, _client: mqtt.Client, _userdata: Any) -> None:
        if self._connection:
            self._closing.wait(random.uniform(0, _JITTER_S))

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: Any) -> None:
        self._is_away("broker does not answer", broker=self._settings.host)

    def _is_away(self, message: str, **fields: object) -> None:
        """Logged once until gateways are heard (again); every try is counted."""
        if not self._away and not self._closing.is_set():
            self._away = True
            _log.error(message, **fields)

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._counters.add("mqtt_refused")
            self._is_away("broker refuses us", reason=str(reason))
            return
        self._connection += 1
        self._counters.add("mqtt_connects")
        client.subscribe([(one, 1) for one in self._filters])

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Any,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._counters.add("mqtt_refused")
            said = [str(reason) for reason in reasons]
            self._is_away("broker refuses a subscription", reasons=said)
            return
        self._connected_since_ns = self._clock.now_ns()
        self._away = False
        _log.info("listening to the gateways", broker=self._settings.host)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: Any,
        _flags: Any,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if self._connected_since_ns is not None:
            self._is_away("broker lost", reason=str(reason))
        self._connected_since_ns = None
        self._counters.add("mqtt_disconnects")

    def _on_message(self, client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._counters.add("mqtt_bad_topics")
            client.ack(message.mid, message.qos)
            return
        self._counters.add("mqtt_messages")
        ack = partial(self._ack, self._connection, message.mid, message.qos)
        at_ns = self._clock.now_ns()
        self._hand_over(Received(topic, bytes(message.payload), message.retain, ack, at_ns))

    def _hand_over(self, received: Received) -> None:
        while not self._closing.is_set():
            try:
                return self._messages.put(received, timeout=0.2)
            except queue.Full:
                continue
        return None

    def _ack(self, connection: int, mid: int, qos: int) -> None:
        """After a reconnect the broker sends the message again; its old number may mean another one."""
        if connection == self._connection:
            self._client.ack(mid, qos)


def _send_at_once(_client: mqtt.Client, _userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
