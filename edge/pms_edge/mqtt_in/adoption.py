"""Entities announced on a broker, and which of them is which point of which device."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from pms_edge.counters import Counters
from pms_edge.logs import kv
from pms_edge.mqtt_in.device import Kind, MappedDevice
from pms_edge.mqtt_in.discovery import (
    Availability,
    Entity,
    filters,
    is_available,
    parse_announcement,
)
from pms_edge.mqtt_in.filters import matches
from pms_edge.mqtt_in.mapping import PointInMessage
from pms_edge.mqtt_in.messages import MalformedError, Message, parse_json
from pms_edge.mqtt_in.paths import ABSENT
from pms_edge.mqtt_in.reading import Cell, Found, cell_of

log = logging.getLogger(__name__)

MAX_ENTITIES, MAX_LISTED = 2000, 50


class Adopted:
    """One entity that is a point of one of our devices."""

    def __init__(self, entity: Entity, device: MappedDevice, kind: Kind, cell: Cell) -> None:
        self.entity, self._device, self._cell = entity, device, cell
        self._kind = Kind(kind.map, expire_s=None)  # of its own: each entity has its own instants
        self._kind.expire_s = kind.map.expire or entity.expire_s or kind.expire_s
        self._verdicts = dict.fromkeys((a.topic for a in entity.availability), True)
        self._available = True

    def topics(self) -> set[str]:
        return {self.entity.state_topic, *(a.topic for a in self.entity.availability)}

    def is_point(self, device: MappedDevice, name: str) -> bool:
        return self._device is device and self._cell.point.name == name

    def take(self, message: Message) -> None:
        """A state or an availability message."""
        try:
            for entry in self.entity.availability:
                if entry.topic == message.topic:
                    self._hear(entry, message)
            if self.entity.state_topic == message.topic:
                self._state(message)
        except MalformedError as error:
            self._device.sending.wrong(self.entity.key, error.kind, error.detail)

    def lost(self, now_ns: int, why: str) -> None:
        self._device.sending.mark_bad([self._cell.point.name], now_ns, why)

    def _state(self, message: Message) -> None:
        value = self.entity.value(message)
        if value is ABSENT:  # a message about other entities of the device
            return
        content: Any = parse_json(message.body) if self._kind.map.time else None
        found = [Found(self._cell, value)]
        self._device.deliver(self.entity.key, self._kind, found, message, content)

    def _hear(self, entry: Availability, message: Message) -> None:
        verdict = entry.verdict(message)
        if verdict is None:
            return
        self._verdicts[message.topic] = verdict
        available = is_available(self.entity.mode, self._verdicts, verdict)
        if self._available and not available:
            self.lost(message.at_ns, "offline")
        self._available = available


class Adoption:
    """Listens for announcements; `on_change` is called when the topics needed have changed."""

    def __init__(
        self,
        devices: Sequence[MappedDevice],
        *,
        prefix: str,
        counters: Counters,
        on_change: Callable[[], None],
    ) -> None:
        self._filters, self._counters, self._on_change = filters(prefix), counters, on_change
        self._devices = {d.device.ha_device: d for d in devices if d.device.ha_device}
        self._adopted: dict[str, Adopted] = {}
        self._unused: dict[str, dict[str, str]] = {}
        self._refused: dict[str, dict[str, str]] = {}
        self._availability: dict[str, Message] = {}
        self._by_topic: dict[str, list[Adopted]] = {}

    def filters(self) -> list[str]:
        return [*self._filters, *self._by_topic]

    def expire(self, now_ns: int) -> None:
        """The devices do it themselves."""

    def take(self, message: Message) -> bool:
        if any(matches(topic_filter, message.topic) for topic_filter in self._filters):
            self._announced(message)
            return True
        listeners = self._by_topic.get(message.topic, [])
        if any(a.entity.state_topic != message.topic for a in listeners):
            self._availability[message.topic] = message  # for entities announced after it
        for adopted in listeners:
            adopted.take(message)
        return bool(listeners)

    def report(self) -> dict[str, Any]:
        """What an integrator needs to see: at most 50 of each."""
        return {
            "adopted": len(self._adopted),
            "discovered_unused": list(self._unused.values())[:MAX_LISTED],
            "discovery_refused": list(self._refused.values())[:MAX_LISTED],
        }

    def _announced(self, message: Message) -> None:
        try:
            announced = parse_announcement(message)
        except MalformedError as error:
            self._refuse(message.topic, error.kind, error.detail)
            return
        self._forget_but({e.key: e for e in announced.entities}, message)
        for key, why, text in announced.refused:
            self._refuse(key, why, text)
        for entity in announced.entities:
            self._place(entity)
        self._index()

    def _index(self) -> None:
        before, self._by_topic = self._by_topic, {}
        for adopted in self._adopted.values():
            for topic in adopted.topics():
                self._by_topic.setdefault(topic, []).append(adopted)
        for topic in self._availability.keys() - self._by_topic.keys():
            del self._availability[topic]
        if self._by_topic.keys() != before.keys():
            self._on_change()

    def _forget_but(self, entities: dict[str, Entity], message: Message) -> None:
        """Drops what this topic announced before and does not now, or says differently now."""
        for key in [k for k in self._all() if k.split("#")[0] == message.topic]:
            self._unused.pop(key, None)
            self._refused.pop(key, None)
            adopted = self._adopted.get(key)
            if adopted and (key not in entities or not _same(adopted.entity, entities[key])):
                del self._adopted[key]
                if key not in entities:
                    adopted.lost(message.at_ns, "withdrawn")

    def _all(self) -> list[str]:
        return [*self._adopted, *self._unused, *self._refused]

    def _place(self, entity: Entity) -> None:
        if entity.key in self._adopted:
            return
        if len(self._all()) >= MAX_ENTITIES:
            self._counters.add("mqtt_discovered_too_many")
            return
        for name in entity.devices & self._devices.keys():
            device = self._devices[name]
            for kind in device.discovered:
                for point in kind.map.points:
                    if point.discovered and entity.is_meant(point.discovered):
                        self._adopt(entity, device, kind, point)
                        return
        self._unused[entity.key] = _listing(entity)

    def _adopt(
        self, entity: Entity, device: MappedDevice, kind: Kind, point: PointInMessage
    ) -> None:
        wanted = point.discovered.unit_of_measurement if point.discovered else None
        unit = wanted or point.unit
        if unit and entity.unit and unit != entity.unit:
            text = f"{point.name} is in {unit}, the entity in {entity.unit}"
            self._refuse(entity.key, "discovery_unit", text)
            return
        twin = next((a for a in self._adopted.values() if a.is_point(device, point.name)), None)
        if twin:
            text = f"{point.name} is already {twin.entity.key}"
            self._refuse(entity.key, "discovery_twice", text)
            return
        adopted = Adopted(entity, device, kind, cell_of(point))
        self._adopted[entity.key] = adopted
        log.info("entity adopted", extra=kv(entity=entity.key, point=point.name))
        for topic in adopted.topics():
            if topic in self._availability:
                adopted.take(self._availability[topic])

    def _refuse(self, key: str, why: str, text: str) -> None:
        if len(self._refused) >= MAX_ENTITIES and key not in self._refused:
            self._counters.add("mqtt_discovered_too_many")
            return
        self._counters.complain(log, f"mqtt_{_named(why)}", place=key, detail=text[:200])
        self._refused[key] = {"topic": key, "why": why, "text": text[:200]}


def _named(why: str) -> str:
    return why if why.startswith(("discovery_", "malformed")) else f"discovery_{why}"


def _listing(entity: Entity) -> dict[str, str]:
    return {
        "topic": entity.state_topic,
        "unit": entity.unit,
        "component": entity.component,
        "device_class": entity.device_class,
        "unique_id": entity.unique_id,
        "device": min(entity.devices, default=""),
    }


def _same(a: Entity, b: Entity) -> bool:
    """Whether a repeated announcement says nothing new; templates are told by their text."""

    def said(entity: Entity) -> tuple[Any, ...]:
        topics = tuple(x._replace(template=str) for x in entity.availability)
        return entity._replace(template=str, availability=topics)

    return said(a) == said(b)
