"""The `mqtt` section of a profile: which message holds which point."""

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from pms_edge.config.fields import Seconds, Strict
from pms_edge.config.located import Document, suggest
from pms_edge.mqtt_in.filters import valid_filter
from pms_edge.mqtt_in.meokon import FIELDS
from pms_edge.mqtt_in.paths import Path, parse_path
from pms_edge.mqtt_in.stamps import TimeUnit
from pms_edge.mqtt_in.values import ValueType
from pms_edge.profiles.points import Bounds, Confidence, Name, Point, PointEntry, point_of

Format = Literal["json", "plain", "meokon", "homeassistant"]
PLACEHOLDERS = ("{topic}", "{id}")
_FORWARDED = frozenset(
    {
        *("name", "scale", "offset", "unit", "range", "deadband", "heartbeat", "event"),
        "confidence",
    }
)


class Discovered(Strict):
    """Which entity of the device is this point: every key given must be the same."""

    object_id: str | None = None
    unique_id: str | None = None
    device_class: str | None = None
    unit_of_measurement: str | None = None
    component: Literal["sensor", "binary_sensor"] | None = None

    @model_validator(mode="after")
    def check_any(self) -> "Discovered":
        if not self.model_fields_set:
            raise ValueError("names nothing that an entity could be told by")
        return self


class DeviceTime(Strict):
    """Where a message holds the instant at which the device measured."""

    path: str
    unit: TimeUnit = "s"

    @model_validator(mode="after")
    def check_path(self) -> "DeviceTime":
        parse_path(self.path)
        return self


class PointInMessage(Strict):
    """One point of a message. Scale and offset are of numbers; range is in engineering units."""

    name: Name
    path: str | None = None
    discovered: Discovered | None = None
    type: ValueType = "number"
    values: dict[str | bool | int, int | float] | None = Field(None, min_length=1)
    scale: float = 1
    offset: float = 0
    unit: str = ""
    range: Bounds | None = None
    deadband: Any = None
    heartbeat: Any = None
    event: bool = False
    confidence: Confidence | None = None

    @model_validator(mode="after")
    def check_type(self) -> "PointInMessage":
        if (self.type == "enum") != (self.values is not None):
            raise ValueError("`values` goes with type enum, and type enum with `values`")
        if self.type != "number" and (self.scale, self.offset) != (1, 0):
            raise ValueError(f"`scale` and `offset` are for numbers, not {self.type}")
        parse_path(self.path or "")
        self.point()
        return self

    def point(self) -> Point:
        """As other points: a number in engineering units, at no address."""
        given = {key: getattr(self, key) for key in self.model_fields_set & _FORWARDED}
        given["range"] = None if self.range is None else list(self.range)
        entry = PointEntry.model_validate({**given, "at": 0, "type": "f64"})
        return point_of(entry, kind="holding", base=0, order="ABCD", poll_class="normal")

    def words(self) -> dict[str, int | float]:
        """`values` by the words that a message would hold."""
        return {_word(key): number for key, number in (self.values or {}).items()}

    def where(self) -> Path:
        return parse_path(self.path or "")


class MessageTest(Strict):
    """A message as it was seen, and what its points must read."""

    payload: str = Field(max_length=10_000)
    expect: dict[str, int | float | str | None] = Field(min_length=1)


class MessageMap(Strict):
    """One kind of message: its topic, its format and the points in it."""

    topic: str = "{topic}"
    format: Format = "json"
    time: DeviceTime | None = None
    expire: Seconds | None = None
    points: list[PointInMessage] = Field(min_length=1)
    tests: tuple[MessageTest, ...] = ()

    @model_validator(mode="after")
    def check_topic(self) -> "MessageMap":
        if self.format == "homeassistant":
            if "topic" in self.model_fields_set:
                raise ValueError("an entity says its topic itself: leave `topic` out")
            return self
        check_filter(self.topic)
        if not any(name in self.topic for name in PLACEHOLDERS):
            raise ValueError(f"topic {self.topic!r} names no device: put {{topic}} or {{id}} in it")
        return self

    @model_validator(mode="after")
    def check_points(self) -> "MessageMap":
        if self.format == "plain" and len(self.points) != 1:
            raise ValueError("a plain message holds one point")
        if self.format in ("plain", "meokon") and self.time:
            raise ValueError(f"`time` is not for format {self.format}")
        for point in self.points:
            _check_place(self.format, point)
        return self

    @model_validator(mode="after")
    def check_tests(self) -> "MessageMap":
        names = [point.name for point in self.points]
        if self.tests and self.format == "homeassistant":
            raise ValueError("`tests` are messages, and entities bring their own formats")
        for name in {name for test in self.tests for name in test.expect} - set(names):
            raise ValueError(f"no point is named {name!r}{suggest(name, names)}")
        return self

    def topic_filter(self, *, topic: str, device: str) -> str:
        """The filter for one device: {topic} and {id} filled in."""
        return self.topic.replace("{topic}", topic).replace("{id}", device)


def load_messages(document: Document) -> tuple[MessageMap, ...]:
    """The `mqtt` section; its mistakes are added to `document.mistakes`."""
    messages: list[MessageMap] = []
    for index, raw in enumerate(document.section("mqtt", list)):
        message = document.parse(MessageMap, raw, ("mqtt", index))
        if message is None:
            continue
        messages.append(message)
        names = [point.name for point in message.points]
        for place, name in enumerate(names):
            if name in names[:place]:
                where = ("mqtt", index, "points", place, "name")
                document.add(where, f"{name!r} is already in this message")
    if not messages and "mqtt" in document.content and not document.mistakes:
        document.add(("mqtt",), "names no message")
    if document.content.get("points") and "mqtt" in document.content:
        document.add(("points",), "are registers: those of `mqtt` stand in its messages")
    return tuple(messages)


def check_filter(topic_filter: str) -> None:
    """Raises ValueError unless it is an MQTT topic filter with placeholders that we know."""
    valid_filter(topic_filter)
    unknown = [word for word in re.findall(r"\{.*?\}", topic_filter) if word not in PLACEHOLDERS]
    if unknown:
        hint = suggest(unknown[0], PLACEHOLDERS)
        raise ValueError(f"no placeholder {unknown[0]}: {{topic}} and {{id}} are filled in{hint}")


def _check_place(form: Format, point: PointInMessage) -> None:
    if (form == "homeassistant") != (point.discovered is not None):
        raise ValueError("`discovered` goes with format homeassistant, and the format with it")
    if form in ("plain", "homeassistant") and point.path is not None:
        raise ValueError(f"`path` is not for format {form}")
    if form == "json" and point.path is None:
        raise ValueError(f"point {point.name} needs `path`")
    if form == "meokon" and point.path not in FIELDS:
        hint = suggest(point.path, sorted(FIELDS))
        raise ValueError(f"a MEOKON frame holds no {point.path!r}{hint}")


def _word(key: str | bool | int) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
