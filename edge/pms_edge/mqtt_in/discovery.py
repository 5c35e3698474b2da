"""Discovery messages of Home Assistant: what an entity says of itself.

Home Assistant documentation, "MQTT", sections "MQTT Discovery" and "Using abbreviations in MQTT
discovery messages". Topics are `<prefix>/<component>/[<node id>/]<object id>/config`; component
`device` announces several entities at once. An empty message takes the entity back.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

from pms_edge.decode.decoder import NAN
from pms_edge.mqtt_in.mapping import Discovered
from pms_edge.mqtt_in.messages import MalformedError, Message, parse_json
from pms_edge.mqtt_in.paths import ABSENT
from pms_edge.mqtt_in.template import RefusedTemplateError, Template, parse_template, plain_value
from pms_edge.mqtt_in.values import number, word_of

Component = Literal["sensor", "binary_sensor"]
COMPONENTS: tuple[Component, ...] = ("sensor", "binary_sensor")
MAX_ENTITIES_AT_ONCE, MAX_AVAILABILITY = 200, 10

# Those of the abbreviations that say what is read here.
_SHORT = {
    "avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template", "cmps": "components", "dev": "device",
    "dev_cla": "device_class", "exp_aft": "expire_after", "obj_id": "object_id",
    "def_ent_id": "default_entity_id", "off_dly": "off_delay", "p": "platform",
    "pl_avail": "payload_available", "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off", "pl_on": "payload_on", "stat_t": "state_topic", "t": "topic",
    "uniq_id": "unique_id", "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template",
    "ids": "identifiers", "cns": "connections",
}  # fmt: skip


class Availability(NamedTuple):
    """A topic that says whether the entity can be trusted to report."""

    topic: str
    template: Template
    online: str
    offline: str

    def verdict(self, message: Message) -> bool | None:
        """True online, False offline, None when the message says neither. Raises MalformedError."""
        word = word_of(self.template(message)).casefold()
        return {self.online: True, self.offline: False}.get(word)


class Entity(NamedTuple):
    """One announced entity. `key` tells it from all others of the broker."""

    key: str
    component: Component
    object_ids: frozenset[str]
    unique_id: str
    devices: frozenset[str]
    device_class: str
    unit: str
    state_topic: str
    template: Template
    template_text: str
    words: tuple[str, str]  # off, on
    expire_s: float | None
    availability: tuple[Availability, ...]
    mode: str

    def is_meant(self, wanted: Discovered) -> bool:
        return (
            wanted.object_id in (None, *self.object_ids)
            and wanted.unique_id in (None, self.unique_id)
            and wanted.device_class in (None, self.device_class)
            and wanted.unit_of_measurement in (None, self.unit)
            and wanted.component in (None, self.component)
        )

    def value(self, message: Message) -> Any:
        """What the state message says: of a binary sensor 1, 0 or (neither of its words) NaN."""
        value = self.template(message)
        if self.component == "sensor" or value is ABSENT:
            return value
        word = word_of(value).casefold()
        return self.words.index(word) if word in self.words else NAN


class Announcement(NamedTuple):
    """What one discovery message announced; `refused` are (key, reason, text)."""

    entities: tuple[Entity, ...]
    refused: tuple[tuple[str, str, str], ...]


def filters(prefix: str) -> list[str]:
    kinds = (*COMPONENTS, "device")
    return [f"{prefix}/{kind}/{levels}/config" for kind in kinds for levels in ("+", "+/+")]


def parse_announcement(message: Message) -> Announcement:
    """The entities of one discovery message. Raises MalformedError when nothing of it can be read."""
    *_, kind, object_id = _topic_parts(message.topic)
    if not message.body.strip():
        return Announcement((), ())
    config = _spelled_out(_object(parse_json(message.body)))
    parts = list(_parts(message.topic, kind, object_id, config))
    entities: list[Entity] = []
    refused: list[tuple[str, str, str]] = []
    for key, component, name, part in parts[:MAX_ENTITIES_AT_ONCE]:
        try:
            entities.append(_entity(key, component, name, part))
        except RefusedTemplateError as error:
            refused.append((key, "template", error.text))
        except MalformedError as error:
            refused.append((key, error.kind, error.detail))
    return Announcement(tuple(entities), tuple(refused))


def is_available(mode: str, verdicts: Mapping[str, bool], last: bool) -> bool:
    """Whether an entity is to be trusted (`availability_mode`); who said nothing is not offline."""
    if mode == "all":
        return all(verdicts.values())
    return any(verdicts.values()) if mode == "any" else last


def _topic_parts(topic: str) -> list[str]:
    parts = topic.split("/")[:-1]
    kinds = [index for index, part in enumerate(parts) if part in (*COMPONENTS, "device")]
    if not kinds or len(parts) - kinds[-1] not in (2, 3):
        raise MalformedError("discovery_topic", topic[:80])
    return [parts[kinds[-1]], parts[-1]]


def _parts(
    topic: str, kind: str, object_id: str, config: dict[str, Any]
) -> Iterator[tuple[str, Component, str, dict[str, Any]]]:
    """(key, component, object id, configuration) of each entity that we could read."""
    if kind in COMPONENTS:
        yield topic, kind, object_id, config
        return
    common = {key: value for key, value in config.items() if key != "components"}
    for name, part in _object(config.get("components")).items():
        if isinstance(part, dict) and part.get("platform") in COMPONENTS:
            yield f"{topic}#{name}", part["platform"], name, {**common, **part}


def _entity(key: str, component: Component, name: str, config: dict[str, Any]) -> Entity:
    # With an off delay the device never says OFF, so its last ON would stand for ever.
    if config.get("off_delay") is not None:
        raise MalformedError("discovery_off_delay", "the device does not say OFF")
    text = _text(config, "value_template")
    off, on = (_payload(config, f"payload_{state}", state.upper()) for state in ("off", "on"))
    if component == "binary_sensor" and off == on:
        raise MalformedError("discovery_payloads", on)
    device = _spelled_out(_object(config.get("device") or {}))
    object_ids = {name, _text(config, "object_id"), _text(config, "default_entity_id")} - {""}
    expire_s = number(config.get("expire_after"))
    return Entity(
        key=key,
        component=component,
        object_ids=frozenset(object_ids),
        unique_id=_text(config, "unique_id"),
        devices=_identifiers(device),
        device_class=_text(config, "device_class"),
        unit=_text(config, "unit_of_measurement"),
        state_topic=_topic(config, "state_topic"),
        template=parse_template(text) if text else plain_value,
        template_text=text,
        words=(off, on),
        expire_s=float(expire_s) if expire_s > 0 else None,
        availability=_availability(config),
        mode=_text(config, "availability_mode") or "latest",
    )


def _availability(config: dict[str, Any]) -> tuple[Availability, ...]:
    entries = config.get("availability")
    if isinstance(entries, dict):
        entries = [entries]
    if "availability_topic" in config:
        keys = {"topic": "availability_topic", "value_template": "availability_template"}
        words = ("payload_available", "payload_not_available")
        entries = [
            {k: config[v] for k, v in {**keys, **{w: w for w in words}}.items() if v in config}
        ]
    if not isinstance(entries, list):
        return ()
    base = config.get("~")
    return tuple(
        _one_availability(_spelled_out({"~": base, **_object(entry)}))
        for entry in cast(list[Any], entries)[:MAX_AVAILABILITY]
    )


def _one_availability(entry: dict[str, Any]) -> Availability:
    text = _text(entry, "value_template")
    return Availability(
        _topic(entry, "topic"),
        parse_template(text) if text else plain_value,
        _payload(entry, "payload_available", "online"),
        _payload(entry, "payload_not_available", "offline"),
    )


def _spelled_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """Abbreviations expanded, in the components too, and `~` put in where topics begin or end."""
    base = config.get("~")
    spelled: dict[str, Any] = {}
    for short, value in config.items():
        key = _SHORT.get(short, short)
        if key.endswith("topic") and isinstance(base, str) and isinstance(value, str):
            value = re.sub(r"^~|~$", lambda _: base, value)
        if key == "components" and isinstance(value, dict):
            parts = cast(dict[str, Any], value)
            value = {
                name: _spelled_out({"~": base, **cast(dict[str, Any], part)})
                for name, part in parts.items()
                if isinstance(part, dict)
            }
        spelled[key] = value
    return spelled


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError("discovery_not_an_object")
    return cast(dict[str, Any], value)


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if value is None:
        return ""
    if not isinstance(value, str | int) or len(str(value)) > 1000:
        raise MalformedError("discovery_shape", key)
    return str(value)


def _payload(config: Mapping[str, Any], key: str, default: str) -> str:
    return (word_of(config.get(key)) or default).casefold()


def _topic(config: Mapping[str, Any], key: str) -> str:
    topic = _text(config, key)
    if not topic or any(letter in topic for letter in "+#\0"):
        raise MalformedError("discovery_topic", f"{key} {topic!r:.80}")
    return topic


def _identifiers(device: Mapping[str, Any]) -> frozenset[str]:
    """Everything by which the device may be named: identifiers, and values of connections."""
    given = device.get("identifiers")
    names = cast(list[Any], given) if isinstance(given, list) else [given]
    pairs = device.get("connections")
    for pair in cast(list[Any], pairs) if isinstance(pairs, list) else []:
        if isinstance(pair, list) and len(cast(list[Any], pair)) == 2:
            names = [*names, pair[1]]
    return frozenset(str(name) for name in names if isinstance(name, str | int) and name != "")
