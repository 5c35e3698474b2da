"""What third parties publish and how it maps to the register: plain values, read from the ingest file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pms_iot.telemetry.jsonpath import JsonPath

Format = Literal["json", "plain", "line"]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
ValueType = Literal["number", "bool", "enum"]
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Topic:
    """An MQTT filter whose levels may also be `{name}`: any one level, remembered under that name."""

    text: str

    @property
    def filter(self) -> str:
        """As the broker understands it."""
        return "/".join("+" if _PLACE.fullmatch(level) else level for level in self.text.split("/"))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(_PLACE.findall(self.text))

    def match(self, topic: str) -> dict[str, str] | None:
        """What the names stand for in this topic; None if it is another one. Names stand for no empty level."""
        levels, found = topic.split("/"), dict[str, str]()
        mine = self.text.split("/")
        if mine[-1] == "#":
            mine = mine[:-1]
            if len(levels) < len(mine):
                return None
        elif len(levels) != len(mine):
            return None
        for level, given in zip(mine, levels, strict=False):
            place = _PLACE.fullmatch(level)
            if place is not None and given:
                found[place[1]] = given
            elif place is not None or (level not in ("+", given)):
                return None
        return found

    def problem(self) -> str | None:
        """What is wrong with it as a filter for third parties' topics; None if nothing."""
        levels = self.text.split("/")
        for i, level in enumerate(levels):
            if level == "#" and i < len(levels) - 1:
                return "# stands at the end only"
            if re.search(r"[#+{}]", level) and level not in ("#", "+") and not _is_name(level):
                return f"the level {level!r} is neither a word nor +, # or {{name}}"
        if len(self.names) < len(_PLACE.findall(self.text)):
            return "a {name} stands in it twice"
        if not self.text or "\0" in self.text or levels[0].startswith("$"):
            return "is not a topic of a device"
        return (
            "would take in the gateways' own topics, pms/v1/…" if _takes_in_wire(levels) else None
        )


def _is_name(level: str) -> bool:
    return re.fullmatch(r"\{[A-Za-z_]\w*\}", level) is not None


def _takes_in_wire(levels: list[str]) -> bool:
    for level, ours in zip(levels, ("pms", "v1"), strict=False):
        if level == "#":
            return True
        if level not in ("+", ours) and not _is_name(level):
            return False
    return len(levels) > 2 or levels[-1] == "#"


@dataclass(frozen=True, slots=True)
class PointMap:
    """A value of a message and the point that it becomes: `value x scale + offset`. values: of an enum."""

    name: str
    path: JsonPath = ()
    type: ValueType = "number"
    scale: float = 1.0
    offset: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class TimeMap:
    """Where a message says when it was measured."""

    path: JsonPath
    unit: TimeUnit


@dataclass(frozen=True, slots=True)
class Source:
    """Messages of one form. asset and field are templates over the topic's names and, in lines, over
    {measurement}, {field} and {tag:…}. Without points, JSON gives all numbers and truths that it holds."""

    topic: Topic
    site: str
    format: Format
    asset: str
    field: str = "{field}"
    points: tuple[PointMap, ...] = ()
    time: TimeMap | None = None


def text_of(value: object) -> str:
    """A scalar as a device writes it, whether it stands in a message or, as a code, in the ingest file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    )


def places(template: str) -> list[str]:
    """The names that a template needs."""
    return _PLACE.findall(template)


def fill(template: str, given: Mapping[str, str]) -> str:
    """Raises ValueError for a name that is not given; names it."""

    def value(place: re.Match[str]) -> str:
        if place[1] not in given:
            raise ValueError(f"no {place[1]}")
        return given[place[1]]

    return _PLACE.sub(value, template)
