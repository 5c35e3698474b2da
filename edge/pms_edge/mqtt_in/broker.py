"""The connection to one local broker: what it delivers goes to the devices, one at a time."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_edge.clock import Clock
from pms_edge.config.gateway_file import Address, Endpoint
from pms_edge.config.tls import tls_context
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.logs import kv
from pms_edge.mqtt_in.adoption import Adoption
from pms_edge.mqtt_in.device import MappedDevice
from pms_edge.mqtt_in.envelope import EnvelopeDevice
from pms_edge.mqtt_in.filters import fewest, matches
from pms_edge.mqtt_in.messages import Listener, Message
from pms_edge.mqtt_in.sending import Elapsed

log = logging.getLogger(__name__)

MAX_PAYLOAD = 256 * 1024
MAX_LISTED = 20
KEEPALIVE_S = 15
RECONNECT_S = (1, 30)
RESTART_S = 5.0


class MqttIn:
    """Subscribes the devices of one local broker; threads of its own receive and let expire.

    A message larger than 256 KiB is counted and dropped.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        feeds: Sequence[DeviceFeed],
        *,
        client_id: str,
        clock: Clock,
        counters: Counters,
    ) -> None:
        assert endpoint.mqtt is not None
        self._address: Address = endpoint.mqtt
        self._endpoint, self._client_id = endpoint, client_id
        self._clock, self._counters = clock, counters
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._client: mqtt.Client | None = None
        self._connected = self._said_lost = False
        self._subscribed: list[str] = []
        self._asked: dict[int, list[str]] = {}
        self._unknown: set[str] = set()
        self._devices = [_device(feed, counters, self._elapsed_ns) for feed in feeds]
        self._adoption = self._adoption_of(self._devices)
        self._exact: dict[str, list[Listener]] = {}
        self._wild: list[tuple[str, Listener]] = []
        self._index()

    @property
    def _listeners(self) -> list[Listener]:
        return [*self._devices, *([self._adoption] if self._adoption else [])]

    @property
    def _place(self) -> str:
        return f"{self._address.host}:{self._address.port}"

    def start(self) -> None:
        """Connects in the background, and again for ever."""
        for name, target in (("receive", self._receive_for_ever), ("expire", self._expire)):
            thread = threading.Thread(target=target, name=f"mqtt {name}", daemon=True)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._client is not None:
            self._client.disconnect()

    def report(self) -> dict[str, Any]:
        """What `health` says of this broker."""
        with self._lock:
            return {
                "connected": self._connected,
                "subscriptions": len(self._subscribed),
                "unknown_topics": sorted(self._unknown),
                **(self._adoption.report() if self._adoption else {}),
            }

    def take(self, message: Message) -> None:
        """Hands one message to whom it concerns."""
        if len(message.body) > MAX_PAYLOAD:
            place = self._place if message.topic not in self._exact else message.topic
            self._counters.complain(log, "mqtt_too_large", place=place, bytes=len(message.body))
            return
        with self._lock:
            wild = [one for topic_filter, one in self._wild if matches(topic_filter, message.topic)]
            taken = [
                self._handed(one, message)
                for one in _once(self._exact.get(message.topic, []), wild)
            ]
            if not any(taken):
                self._counters.add("mqtt_unknown_topics")
                if len(self._unknown) < MAX_LISTED:
                    self._unknown.add(message.topic[:200])

    def _elapsed_ns(self) -> int:
        return int(time.monotonic_ns() * self._clock.factor)

    def expire(self) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.expire(self._clock.now_ns())

    def _handed(self, listener: Listener, message: Message) -> bool:
        try:
            return listener.take(message)
        except Exception:
            self._counters.add("mqtt_crashes")
            log.exception("message not taken", extra=kv(topic=message.topic))
            return True

    def _adoption_of(self, devices: Sequence[Listener]) -> Adoption | None:
        if self._endpoint.discovery is None:
            return None
        mapped = [device for device in devices if isinstance(device, MappedDevice)]
        return Adoption(
            mapped,
            prefix=self._endpoint.discovery_prefix,
            counters=self._counters,
            on_change=self._topics_changed,
        )

    def _topics_changed(self) -> None:
        self._index()
        if self._connected:
            self._subscribe()

    def _index(self) -> None:
        self._exact, self._wild = {}, []
        for listener in self._listeners:
            for topic_filter in dict.fromkeys(listener.filters()):
                if "+" in topic_filter or "#" in topic_filter:
                    self._wild.append((topic_filter, listener))
                else:
                    self._exact.setdefault(topic_filter, []).append(listener)

    def _subscribe(self) -> None:
        """Brings the broker's list up to what is needed now."""
        client = self._client
        if client is None:
            return
        needed = [f for listener in self._listeners for f in listener.filters()]
        wanted = fewest([*needed, *self._endpoint.subscribe])
        new = [f for f in wanted if f not in self._subscribed]
        gone = [f for f in self._subscribed if f not in wanted]
        self._subscribed = wanted
        if gone:
            client.unsubscribe(gone)
        for start in range(0, len(new), 100):  # a packet of bounded size
            some = new[start : start + 100]
            _, number = client.subscribe([(f, 1) for f in some])
            if number is not None:
                self._asked[number] = some

    def _receive_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._client = self._new_client()
                self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
                self._client.loop_forever(retry_first_connection=True)
            except OSError as error:  # a certificate file that cannot be used
                self._counters.add("local_broker_failures")
                self._lost(str(error))
            except Exception:
                self._counters.add("mqtt_crashes")
                log.exception("local broker client failed", extra=kv(broker=self._place))
            self._stopping.wait(RESTART_S)

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id)
        client.reconnect_delay_set(*RECONNECT_S)
        login = self._endpoint
        if login.username:
            client.username_pw_set(login.username, login.password)
        if login.tls:
            client.tls_set_context(tls_context(login.tls.ca, login.tls.cert, login.tls.key))
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _expire(self) -> None:
        period_s = max(0.05, min(1.0, 1.0 / self._clock.factor))
        while not self._stopping.wait(period_s):
            self.expire()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            self._lost(f"refused: {reason}")
            return
        log.info("local broker connected", extra=kv(broker=self._place))
        with self._lock:
            self._connected, self._said_lost = True, False
            self._subscribed, self._asked = [], {}
            self._subscribe()

    def _on_connect_fail(self, *_: Any) -> None:
        self._lost("cannot be reached")

    def _on_disconnect(self, *_: Any) -> None:
        if self._connected and not self._stopping.is_set():
            self._counters.add("local_broker_lost")
            self._lost("connection lost")
        self._connected = False

    def _lost(self, why: str) -> None:
        """Says it once per outage."""
        if not self._said_lost:
            log.warning("local broker away", extra=kv(broker=self._place, why=why))
        self._said_lost = True

    def _on_subscribe(self, _c: Any, _u: Any, number: int, reasons: Any, _p: Any) -> None:
        with self._lock:
            asked = self._asked.pop(number, [])
        for topic_filter, reason in zip(asked, reasons, strict=False):
            if reason.is_failure:
                name = "mqtt_subscription_refused"
                self._counters.complain(log, name, place=topic_filter, reason=reason)

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        at_ns = self._clock.now_ns()
        self.take(Message(message.topic, bytes(message.payload), bool(message.retain), at_ns))


def _device(
    feed: DeviceFeed, counters: Counters, elapsed_ns: Elapsed
) -> EnvelopeDevice | MappedDevice:
    kind = MappedDevice if feed.device.profile.messages else EnvelopeDevice
    return kind(feed, counters=counters, elapsed_ns=elapsed_ns)


def _once(first: Sequence[Listener], second: Sequence[Listener]) -> list[Listener]:
    """Each listener once, whatever the number of its filters that match."""
    found: list[Listener] = []
    for listener in (*first, *second):
        if not any(listener is other for other in found):
            found.append(listener)
    return found
