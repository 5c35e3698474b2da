"""Device profiles: the register map of one model of equipment, as data."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from pms_edge.config.fields import Strict
from pms_edge.config.located import Document, suggest
from pms_edge.gb26875.mapping import PanelMap
from pms_edge.mqtt_in.mapping import MessageMap, load_messages
from pms_edge.profiles.points import (
    PARTS,
    SPANS,
    Confidence,
    Kind,
    Name,
    OrderName,
    Point,
    PointEntry,
    Registers,
    point_of,
)
from pms_edge.profiles.writes import load_writes

ProfileId = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_.]*$", description="in lower case with digits, _ and .")
]


class ReadLimits(NamedTuple):
    """What one request may read; `no_read` are inclusive ranges of wire addresses."""

    max_words: int = 120
    max_gap: int = 16
    no_read: tuple[tuple[int, int], ...] = ()


class Defaults(Strict):
    kind: Kind = "holding"
    base: int = Field(0, ge=0, le=65535)
    order: OrderName = "ABCD"
    poll_class: str = Field("normal", alias="class")
    max_words: int = Field(120, ge=4, le=125)  # 125: Modbus application protocol 6.3
    max_gap: int = Field(16, ge=0, le=120)
    no_read: list[Registers] = Field(default_factory=list[Registers])


@dataclass(frozen=True, slots=True)
class Golden:
    """A test vector of the profile: registers at a wire address and what they must decode to."""

    index: int
    address: int
    registers: tuple[int, ...]
    expect: dict[str, Any]


class Profile(NamedTuple):
    id: str
    version: int
    kind: str
    points: tuple[Point, ...]
    limits: ReadLimits
    goldens: tuple[Golden, ...]
    file: str
    confidence: Confidence | None = None
    source: str = ""
    messages: tuple[MessageMap, ...] = ()  # of a device that publishes to a local broker
    panel: PanelMap | None = None  # a fire panel behind a transmission device
    writes: tuple[Point, ...] = ()  # with the range that a written value must lie in

    @property
    def classes(self) -> set[str]:
        return {point.poll_class for point in self.points}


class _Read(Strict):
    at: int = Field(ge=0, le=65535 * 2)
    hex: str = Field(
        pattern=r"^\s*([0-9A-Fa-f]{4}\s*)+$", description="registers of four hexadecimal digits"
    )


class _Test(Strict):
    read: _Read
    expect: dict[str, int | float | str | None] = Field(min_length=1)


class _Head(Strict):
    profile: ProfileId
    version: int = Field(ge=1)
    measurement: Name
    source: str = ""
    confidence: Confidence | None = None
    defaults: Any = None
    points: Any = None
    mqtt: Any = None
    tests: Any = None
    writes: Any = None


def load_profile(document: Document) -> Profile | None:
    """The profile in `document`, whose every mistake is added to `document.mistakes`.

    Returns None when anything in it is wrong.
    """
    head = document.parse(_Head, document.content, ())
    section = document.section("defaults", dict)
    defaults = document.parse(Defaults, section, ("defaults",)) or Defaults.model_validate({})
    points = _points(document, defaults)
    # As written, so that a point with a mistake is not reported again where a test names it.
    entries = document.section("points", list)
    names = [str(raw.get("name")) for raw in entries if isinstance(raw, dict)]
    goldens = _goldens(document, defaults, names)
    messages = load_messages(document)
    writes = load_writes(document, base=defaults.base, order=defaults.order)
    for index, point in enumerate(writes):
        at = point.address + defaults.base
        _check_addresses(document, ("writes", index, "at"), point, at, defaults)
    if head is None or document.mistakes:
        return None
    no_read = tuple((a - defaults.base, b - defaults.base) for a, b in defaults.no_read)
    limits = ReadLimits(defaults.max_words, defaults.max_gap, no_read)
    identity = (head.profile, head.version, head.measurement)
    return Profile(
        *identity,
        tuple(points),
        limits,
        tuple(goldens),
        document.file,
        confidence=head.confidence,
        source=head.source,
        messages=messages,
        writes=tuple(writes),
    )


def _points(document: Document, defaults: Defaults) -> list[Point]:
    points: list[Point] = []
    published = "mqtt" in document.content
    entries = document.section("points", list, required=not published)
    seen: dict[str, int] = {}
    if not entries and not published and not document.mistakes:
        document.add(("points",), "names no point")
    for index, raw in enumerate(entries):
        entry = document.parse(PointEntry, raw, ("points", index))
        name = str(raw.get("name", index)) if isinstance(raw, dict) else str(index)
        if name in seen:
            line = document.line(("points", seen[name]))
            document.add(("points", index, "name"), f"{name!r} is already on line {line}")
        seen.setdefault(name, index)
        if entry is None:
            continue
        point = point_of(
            entry,
            kind=defaults.kind,
            base=defaults.base,
            order=defaults.order,
            poll_class=defaults.poll_class,
        )
        _check_addresses(document, ("points", index, "at"), point, entry.first, defaults)
        _check_overlap(document, index, point, points)
        points.append(point)
    return points


def _check_addresses(
    document: Document, path: tuple[str, int, str], point: Point, at: int, defaults: Defaults
) -> None:
    if point.address < 0:
        document.add(path, f"{at} is below the base address {defaults.base}")
    elif point.address > 65535:
        document.add(path, f"{at} is past the last Modbus address, 65535")
    elif point.end > 65536:
        document.add(path, f"{point.type} at {at} runs past the last Modbus address, 65535")
    if point.kind in ("coil", "discrete") and point.type != "bit":
        document.add((*path[:2], "type"), f"a {point.kind} is one bit, not {point.type}")
    if point.kind in ("coil", "discrete") and point.bit:
        document.add((*path[:2], "bit"), f"a {point.kind} has only bit 0")
    for first, last in defaults.no_read:
        if first <= at + point.end - point.address - 1 and at <= last:
            document.add(path, f"lies in the no_read range [{first}, {last}]")


def _check_overlap(document: Document, index: int, point: Point, earlier: list[Point]) -> None:
    for other in earlier:
        apart = other.kind != point.kind or other.end <= point.address or point.end <= other.address
        if apart or _shareable(point, other):
            continue
        place = f"register {max(point.address, other.address)}"
        document.add(("points", index, "at"), f"{point.name!r} overlaps {other.name!r} in {place}")
        return


def _shareable(a: Point, b: Point) -> bool:
    """Whether the same registers may be read as both: a status word and its bits, say."""
    if {a.type, b.type} & SPANS:
        return True
    if (a.address, a.end) != (b.address, b.end):
        return False
    views = {(p.type, p.bit, p.bits, p.high, p.lookup) for p in (a, b)}
    mapped = bool(a.lookup or b.lookup)
    return len(views) == 2 and (mapped or bool({a.type, b.type} & PARTS))


def _goldens(document: Document, defaults: Defaults, names: list[str]) -> list[Golden]:
    goldens: list[Golden] = []
    for index, raw in enumerate(document.section("tests", list)):
        test = document.parse(_Test, raw, ("tests", index))
        if test is None:
            continue
        for name in test.expect:
            if name not in names:
                where = ("tests", index, "expect", name)
                document.add(where, f"no point is named {name!r}{suggest(name, names)}")
        registers = struct.iter_unpack(">H", bytes.fromhex(test.read.hex))
        words = tuple(word for (word,) in registers)
        goldens.append(Golden(index, test.read.at - defaults.base, words, test.expect))
    return goldens


def profile_files(folders: Iterable[Path]) -> list[Path]:
    """Profile files below `folders`: `devices/*.yaml` at any depth, and loose `*.yaml`."""
    found: set[Path] = set()
    for folder in folders:
        found |= set(folder.glob("*.yaml")) | set(folder.glob("**/devices/*.yaml"))
    return sorted(found)


def shipped_profiles() -> Path:
    """The profiles packed in the wheel, or those of the repository in an editable checkout."""
    packed = Path(__file__).parents[1] / "_rules"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "rules"
