"""Devices that publish JSON with their values under point names, in engineering units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pms_edge.counters import Counters
from pms_edge.decode.decoder import BAD, GOOD, NAN, UNCERTAIN, Raw, judgement
from pms_edge.feed import DeviceFeed
from pms_edge.mqtt_in.messages import MalformedError, Message, parse_json
from pms_edge.mqtt_in.sending import Elapsed, Reading, Sending

# Keys of the envelope, which are no points, when the values lie beside them.
ENVELOPE = frozenset({"ts", "q", "seq"})
_QUALITIES = frozenset({GOOD, UNCERTAIN, BAD})


class EnvelopeDevice:
    """One device: takes its messages apart and feeds what is a known, finite number."""

    def __init__(self, feed: DeviceFeed, *, counters: Counters, elapsed_ns: Elapsed) -> None:
        self._device, self._counters = feed.device, counters
        self._sending = Sending(feed, counters, elapsed_ns)
        self._points = {p.name: (p, judgement(p)) for p in feed.device.profile.points}
        self._sending.watch(self._points, self._device.stale_after_s)

    def filters(self) -> list[str]:
        return [self._device.topic]

    def expire(self, now_ns: int) -> None:
        self._sending.expire(now_ns)

    def take(self, message: Message) -> bool:
        if message.topic != self._device.topic:
            return False
        if message.retained:
            # Of unknown age: stamping it now would make a dead sensor look fresh.
            self._counters.add("mqtt_retained_ignored")
            return True
        try:
            content = parse_json(message.body)
            if not isinstance(content, dict):
                raise MalformedError("not_an_object")
            values, quality = _values(content, self._device.values), _quality(content)
        except MalformedError as error:
            self._sending.wrong(message.topic, error.kind, error.detail)
            return True
        for name in values.keys() - self._points.keys() - ENVELOPE:
            self._sending.wrong(message.topic, "unknown_keys", name)
        self._send(message, {n: v for n, v in values.items() if n in self._points}, quality)
        return True

    def _send(self, message: Message, values: Mapping[str, Any], quality: int) -> None:
        if not values:
            return
        at_ns = message.at_ns
        readings = [self._reading(message.topic, n, v, quality) for n, v in values.items()]
        self._sending.send(readings, at_ns, heard_ns=at_ns)
        self._sending.watch(values, self._device.stale_after_s)

    def _reading(self, topic: str, name: str, value: Any, quality: int) -> Reading:
        point, judge = self._points[name]
        number = _number(value)
        if number is None:
            self._sending.wrong(topic, "not_a_number", f"{name}={value!r:.40}")
            return Reading(point, NAN, BAD)
        number, judged = judge(number)
        return Reading(point, number, min(judged, quality)) if quality else Reading(point, NAN, BAD)


def _values(message: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
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
