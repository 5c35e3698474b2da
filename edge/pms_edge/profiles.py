"""Device profiles: the register map of one model of equipment, as data."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pms_edge.located import Document, suggest

PointType = Literal["bit", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"]
Order = Literal["ABCD", "BADC", "CDAB", "DCBA"]
Kind = Literal["holding", "input", "coil", "discrete"]
WORDS = {"i32": 2, "u32": 2, "f32": 2, "i64": 4, "u64": 4, "f64": 4}
# 64-bit values may be spelled with eight letters; the swap they name is the same.
LONG_ORDERS = {"ABCDEFGH": "ABCD", "BADCFEHG": "BADC", "GHEFCDAB": "CDAB", "HGFEDCBA": "DCBA"}

Name = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="in lower case with digits and _")
]
ProfileId = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_.]*$", description="in lower case with digits, _ and .")
]


def _short_order(order: object) -> object:
    return LONG_ORDERS.get(order, order) if isinstance(order, str) else order


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _ascending(value: object) -> object:
    bounds = value if isinstance(value, list) else []
    numbers = [b for b in bounds if isinstance(b, int | float) and not isinstance(b, bool)]
    if len(numbers) != 2 or len(bounds) != 2 or not numbers[0] <= numbers[1]:
        raise ValueError(f"must be [low, high] with low <= high, not {value!r}")
    return value


OrderName = Annotated[Order, BeforeValidator(_short_order)]
Bounds = Annotated[tuple[float, float], BeforeValidator(_ascending)]
Registers = Annotated[tuple[int, int], BeforeValidator(_ascending)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


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
    no_read: list[Registers] = []


class PointEntry(Strict):
    """A point as written in the file; what it leaves out comes from `defaults`."""

    name: Name
    at: int = Field(ge=0)
    type: PointType
    bit: int | None = Field(None, ge=0, le=15)
    kind: Kind | None = None
    order: OrderName | None = None
    poll_class: str | None = Field(None, alias="class")
    scale: float = 1
    offset: float = 0
    unit: str = ""
    range: Bounds | None = None
    enum: dict[int, str] | None = Field(None, min_length=1)
    nan: Annotated[list[int | float], BeforeValidator(_as_list)] = []
    event: bool = False

    @model_validator(mode="after")
    def check_bit(self) -> "PointEntry":
        if self.type == "bit" and self.bit is None and self.kind in (None, "holding", "input"):
            raise ValueError("a point of type bit needs `bit: 0..15`")
        if self.type != "bit" and self.bit is not None:
            raise ValueError(f"`bit` is for type bit, not {self.type}")
        if self.scale == 0:
            raise ValueError("scale 0 would make every value the same")
        return self

    @model_validator(mode="after")
    def check_codes(self) -> "PointEntry":
        low, high = _codes(self.type)
        for code in self.nan:
            if not low <= code <= high:
                raise ValueError(f"not-a-value code {code} does not fit {self.type}")
        return self


def _codes(kind: PointType) -> tuple[float, float]:
    """Lowest and highest code of a type; a signed one may also be spelled as its bit pattern."""
    if kind in ("f32", "f64"):
        return (-3.4e38, 3.4e38) if kind == "f32" else (-1.7e308, 1.7e308)
    bits = 16 * WORDS.get(kind, 1)
    return (-(1 << bits - 1) if kind.startswith("i") else 0), (1 << bits) - 1


class Point(NamedTuple):
    """A point ready to be read. `address` is on the wire, from 0; `end` is one past its last."""

    name: str
    kind: str
    address: int
    type: PointType
    bit: int | None
    order: str
    poll_class: str
    scale: float
    offset: float
    range: tuple[float, float] | None
    enum: tuple[int, ...] | None
    not_a_value: tuple[int | float, ...]
    event: bool

    @property
    def end(self) -> int:
        return self.address + WORDS.get(self.type, 1)


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
    defaults: Any = None
    points: Any = None
    tests: Any = None
    writes: list[Any] = Field(
        [], max_length=0, description="supported: this agent only reads, leave `writes` empty"
    )


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
    if head is None or document.mistakes:
        return None
    no_read = tuple((a - defaults.base, b - defaults.base) for a, b in defaults.no_read)
    limits = ReadLimits(defaults.max_words, defaults.max_gap, no_read)
    identity = (head.profile, head.version, head.measurement)
    return Profile(*identity, tuple(points), limits, tuple(goldens), document.file)


def _points(document: Document, defaults: Defaults) -> list[Point]:
    points: list[Point] = []
    entries = document.section("points", list, required=True)
    seen: dict[str, int] = {}
    if not entries and not document.mistakes:
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
        point = _point(entry, defaults)
        _check_addresses(document, ("points", index, "at"), point, entry.at, defaults)
        _check_overlap(document, index, point, points)
        points.append(point)
    return points


def _point(entry: PointEntry, defaults: Defaults) -> Point:
    kind = entry.kind or defaults.kind
    return Point(
        name=entry.name,
        kind=kind,
        address=entry.at - defaults.base,
        type=entry.type,
        bit=(entry.bit or 0) if entry.type == "bit" else None,
        order=entry.order or defaults.order,
        poll_class=entry.poll_class or defaults.poll_class,
        scale=entry.scale,
        offset=entry.offset,
        range=entry.range,
        enum=tuple(entry.enum) if entry.enum else None,
        not_a_value=tuple(entry.nan),
        event=entry.event,
    )


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
        # A status word may be read both as bits and as one 16-bit number.
        words = {point.type, other.type} <= {"bit", "i16", "u16"} and "bit" in (
            point.type,
            other.type,
        )
        if apart or (words and (point.type, point.bit) != (other.type, other.bit)):
            continue
        place = f"register {max(point.address, other.address)}"
        document.add(("points", index, "at"), f"{point.name!r} overlaps {other.name!r} in {place}")
        return


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
    packed = Path(__file__).parent / "_rules"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "rules"
