"""Devices that publish JSON to a local MQTT broker. Their samples are stamped at arrival."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_edge.clock import Clock
from pms_edge.config import Device
from pms_edge.counters import Counters
from pms_edge.decode import BAD, GOOD, NAN, UNCERTAIN, Convert, Decoded, Raw, judgement
from pms_edge.feed import DeviceFeed
from pms_edge.gateway_file import Address
from pms_edge.line import LineTemplate
from pms_edge.logs import kv
from pms_edge.profiles import Point

log = logging.getLogger(__name__)

# Keys of the envelope, which are no points, when the values lie beside them.
ENVELOPE = frozenset({"ts", "q", "seq"})
_QUALITIES = frozenset({GOOD, UNCERTAIN, BAD})


class MalformedError(ValueError):
    """A message that is not what its device should send; `kind` is counted."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(kind)


class JsonDevice:
    """One device: takes its messages apart and feeds what is a known, finite number."""

    def __init__(self, feed: DeviceFeed, *, clock: Clock, counters: Counters) -> None:
        self._feed, self._clock, self._counters = feed, clock, counters
        self._points = {p.name: (p, judgement(p)) for p in feed.device.profile.points}
        self._templates: dict[tuple[str, ...], LineTemplate] = {}

    @property
    def device(self) -> Device:
        return self._feed.device

    def take(self, topic: str, body: bytes | bytearray) -> None:
        """One message. What is wrong with it is counted, and logged once per kind and topic."""
        at_ns = self._clock.now_ns()
        try:
            message = _json_object(body)
            values, quality = _values(message, self.device.values), _quality(message)
        except MalformedError as error:
            self._wrong(topic, error.kind, error.detail)
            return
        known = [name for name in values if name in self._points]
        for name in values.keys() - self._points.keys() - ENVELOPE:
            self._wrong(topic, "unknown_keys", name)
        if known:
            self._send(topic, known, values, quality, at_ns)

    def _send(
        self, topic: str, names: list[str], values: Mapping[str, Any], quality: int, at_ns: int
    ) -> None:
        points = [self._points[name][0] for name in names]
        pairs = [self._judged(topic, name, values[name], quality) for name in names]
        decoded = Decoded([value for value, _ in pairs], [q for _, q in pairs])
        if any(q != BAD for _, q in pairs):
            self._feed.health.good(at_ns)
        if all(q == GOOD for _, q in pairs):
            decoded = Decoded(decoded.values, None)
        self._feed.send(points, self._template(points), decoded, at_ns)

    def _judged(self, topic: str, name: str, value: Any, quality: int) -> tuple[Raw, int]:
        number = _number(value)
        if number is None:
            self._wrong(topic, "not_a_number", f"{name}={value!r:.40}")
            return NAN, BAD
        judge: Convert = self._points[name][1]
        number, judged = judge(number)
        return (number, min(judged, quality)) if quality != BAD else (NAN, BAD)

    def _template(self, points: Sequence[Point]) -> LineTemplate:
        names = tuple(point.name for point in points)
        if names not in self._templates:
            if len(self._templates) >= 64:  # a device that never sends the same keys twice
                self._templates.clear()
            self._templates[names] = self._feed.template(points)
        return self._templates[names]

    def _wrong(self, topic: str, kind: str, detail: str) -> None:
        self._feed.health.failed(f"{kind} {detail}".strip())
        self._counters.complain(log, f"mqtt_{kind}", place=topic, detail=detail)


class MqttIn:
    """Subscribes the devices of one local broker; the client's own thread delivers."""

    def __init__(
        self, address: Address, devices: Sequence[JsonDevice], *, name: str, counters: Counters
    ) -> None:
        self._address, self._devices, self._counters = address, devices, counters
        self._connected = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"pms-edge-{name}")
        self._client.reconnect_delay_set(1, 60)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connects in the background, and again for ever."""
        self._client.connect_async(*self._address, keepalive=15)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        if self._connected:  # else its thread may hang in a connect; it is a daemon
            self._client.loop_stop()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        place = f"{self._address.host}:{self._address.port}"
        if reason.is_failure:
            self._counters.complain(log, "mqtt_refused", place=place, reason=reason)
            return
        log.info("local broker connected", extra=kv(broker=place))
        topics = sorted({device.device.topic for device in self._devices})
        self._client.subscribe([(topic, 1) for topic in topics])
        self._connected = True

    def _on_disconnect(self, *_: Any) -> None:
        if self._connected:
            log.warning("local broker lost", extra=kv(broker=f"{self._address.host}"))
            self._counters.add("local_broker_lost")
        self._connected = False

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            # Of unknown age: stamping it now would make a dead sensor look fresh.
            self._counters.add("mqtt_retained_ignored")
            return
        for device in self._devices:
            if device.device.topic == message.topic:
                self._deliver(device, message)

    def _deliver(self, device: JsonDevice, message: mqtt.MQTTMessage) -> None:
        try:
            device.take(message.topic, message.payload)
        except Exception:
            self._counters.add("mqtt_crashes")
            log.exception("message not taken", extra=kv(topic=message.topic))


def _json_object(body: bytes | bytearray) -> dict[str, Any]:
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("malformed_json", str(error)[:80]) from error
    if not isinstance(message, dict):
        raise MalformedError("not_an_object")
    return message


def _values(message: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    values: Any = message
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise MalformedError("no_values", ".".join(path))
    return values


def _quality(message: Mapping[str, Any]) -> int:
    """The device's own verdict `q`, when it gives one that wire v1 knows."""
    quality = message.get("q", GOOD)
    if type(quality) is not int or quality not in _QUALITIES:
        raise MalformedError("unknown_quality", repr(quality)[:40])
    return quality


def _number(value: Any) -> Raw | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value):
        return value
    return None
