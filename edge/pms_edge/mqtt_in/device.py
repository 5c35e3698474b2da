"""Devices whose profile maps their messages to points."""

import re
from collections.abc import Sequence
from typing import Any

from pms_edge.counters import Counters
from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN, Raw
from pms_edge.feed import DeviceFeed
from pms_edge.mqtt_in.filters import matches
from pms_edge.mqtt_in.mapping import MessageMap
from pms_edge.mqtt_in.messages import MalformedError, Message
from pms_edge.mqtt_in.paths import parse_path, pick
from pms_edge.mqtt_in.reading import Found, cell_of, read_message
from pms_edge.mqtt_in.sending import Elapsed, Reading, Sending
from pms_edge.mqtt_in.stamps import DeviceClock, Stamp, instant_ns, is_plausible

HISTORY = "pressure_kpa"
_SERIAL = re.compile(r"[A-Z]{4}\d{8}", re.ASCII)  # of a MEOKON terminal


class Kind:
    """One kind of message of one device, with what is remembered between messages."""

    def __init__(self, message_map: MessageMap, *, expire_s: float | None) -> None:
        self.map = message_map
        self.cells = [cell_of(entry) for entry in message_map.points]
        self.expire_s = message_map.expire or expire_s
        self.clock = DeviceClock()

    @property
    def names(self) -> list[str]:
        return [cell.point.name for cell in self.cells]

    def device_ns(self, content: Any) -> int | None:
        """The instant that the content gives, if the profile says where."""
        time = self.map.time
        return None if time is None else instant_ns(pick(content, parse_path(time.path)), time.unit)


class MappedDevice:
    """One device. Its samples are stamped at arrival unless they say when they were measured."""

    def __init__(self, feed: DeviceFeed, *, counters: Counters, elapsed_ns: Elapsed) -> None:
        self._counters = counters
        self.device = feed.device
        self.sending = Sending(feed, counters, elapsed_ns)
        kinds = [
            Kind(entry, expire_s=self.device.stale_after_s)
            for entry in self.device.profile.messages
        ]
        # What is never heard at all expires too, counted from the start.
        for kind in kinds:
            self.sending.watch(kind.names, kind.expire_s)
        self.discovered = [kind for kind in kinds if kind.map.format == "homeassistant"]
        self._routes = [
            (kind.map.topic_filter(topic=self.device.topic, device=self.device.id), kind)
            for kind in kinds
            if kind.map.format != "homeassistant"
        ]

    def filters(self) -> list[str]:
        return [topic_filter for topic_filter, _ in self._routes]

    def expire(self, now_ns: int) -> None:
        self.sending.expire(now_ns)

    def take(self, message: Message) -> bool:
        routes = [(f, kind) for f, kind in self._routes if matches(f, message.topic)]
        for topic_filter, kind in routes:
            try:
                self._take(topic_filter, kind, message)
            except MalformedError as error:
                self.sending.wrong(topic_filter, error.kind, error.detail)
        return bool(routes)

    def _take(self, place: str, kind: Kind, message: Message) -> None:
        held = read_message(kind.map.format, kind.cells, message.body)
        levels = [level for level in message.topic.split("/") if _SERIAL.fullmatch(level)]
        if held.serial and levels and held.serial not in levels:
            raise MalformedError("meokon_other_device", held.serial)
        self._send_history(place, kind, held.records, message)
        for name in held.missing:
            self.sending.wrong(place, "meokon_not_in_frame", name)
        if held.found:
            self.deliver(place, kind, held.found, message, held.content)

    def deliver(
        self, place: str, kind: Kind, found: Sequence[Found], message: Message, content: Any
    ) -> None:
        """Sends what a message held, unless its age is unknown."""
        names = [cell.point.name for cell, _ in found]
        stamp = self._stamp(place, kind, names, message, content)
        if stamp is None:
            return
        readings = [self._judged(place, one, stamp.quality) for one in found]
        # A retained message was heard when it was measured, not when we subscribed.
        heard_ns = stamp.at_ns if message.retained else message.at_ns
        self.sending.send(readings, stamp.at_ns, heard_ns=heard_ns)
        self.sending.watch(names, kind.expire_s, age_ns=message.at_ns - heard_ns)

    def _stamp(
        self, place: str, kind: Kind, names: Sequence[str], message: Message, content: Any
    ) -> Stamp | None:
        if kind.map.time is None:
            if message.retained:
                self._counters.add("mqtt_retained_ignored")
                return None
            return Stamp(message.at_ns, GOOD)
        at_ns = kind.device_ns(content)
        stamp = kind.clock.stamp(at_ns, names, now_ns=message.at_ns)
        if stamp is not None:
            return stamp
        if message.retained:
            self._counters.add("mqtt_retained_ignored")
            return None
        self.sending.wrong(place, "implausible_time", f"{at_ns}")
        return Stamp(message.at_ns, UNCERTAIN)

    def _judged(self, place: str, found: Found, best: int) -> Reading:
        reading = found.cell.reading(found.value)
        if reading.quality == BAD:
            what = f"{reading.point.name}={found.value!r:.40}"
            self.sending.wrong(place, found.cell.misread, what)
        return reading._replace(quality=min(reading.quality, best))

    def _send_history(
        self, place: str, kind: Kind, records: Sequence[tuple[int, Raw]], message: Message
    ) -> None:
        """The kept records at the instants of the terminal, each once per run of the agent."""
        cell = next((cell for cell in kind.cells if cell.path == (HISTORY,)), None)
        if cell is None or not records:
            return
        if not all(
            is_plausible(at, now_ns=message.at_ns) for at in (records[0][0], records[-1][0])
        ):
            self.sending.wrong(place, "implausible_time", f"{records[-1][0]}")
            return
        for at_ns, value in records:
            if kind.clock.stamp(at_ns, [cell.point.name], now_ns=message.at_ns):
                self.sending.send([cell.reading(value)], at_ns, heard_ns=at_ns)
