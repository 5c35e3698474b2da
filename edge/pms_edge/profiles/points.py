"""One point of a register map: as written in a profile, and ready to be read."""

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from pms_edge.config.fields import Seconds, Strict

PointType = Literal[
    "bit", "bits", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64",
    "bcd16", "bcd32", "bcd64", "string", "count", "any",
]  # fmt: skip
Order = Literal[
    "ABCD", "BADC", "CDAB", "DCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC"
]  # fmt: skip
Kind = Literal["holding", "input", "coil", "discrete"]
Encoding = Literal["ascii", "utf-8", "gb18030"]
Confidence = Literal["defined", "datasheet", "transcribed", "from_memory", "inferred"]

WORDS = {
    "i32": 2, "u32": 2, "f32": 2, "bcd32": 2, "i64": 4, "u64": 4, "f64": 4, "bcd64": 4,
}  # fmt: skip
# Numbers whose raw code is an integer, and how many bits it has.
INTEGER_BITS = {
    "i8": 8, "u8": 8, "i16": 16, "u16": 16, "i32": 32, "u32": 32, "i64": 64, "u64": 64,
    "bcd16": 16, "bcd32": 32, "bcd64": 64,
}  # fmt: skip
PARTS = frozenset({"bit", "bits", "i8", "u8"})  # of a register that others may read as well
SPANS = frozenset({"count", "any"})  # look at a range of registers, which others may read as well
# These 64-bit orders name the same swap as one with four letters.
LONG_ORDERS = {"ABCDEFGH": "ABCD", "BADCFEHG": "BADC", "GHEFCDAB": "CDAB", "HGFEDCBA": "DCBA"}
# The engine takes a series that is silent for 60 s as interrupted, and starts its delays anew.
HEARTBEAT_S = 30.0

Name = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="in lower case with digits and _")
]


def _short_order(order: object) -> object:
    return LONG_ORDERS.get(order, order) if isinstance(order, str) else order


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _ascending(value: object) -> object:
    bounds: list[object] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    numbers = [b for b in bounds if isinstance(b, int | float) and not isinstance(b, bool)]
    if len(numbers) != 2 or len(bounds) != 2 or not numbers[0] <= numbers[1]:
        raise ValueError(f"must be [low, high] with low <= high, not {value!r}")
    return value


def _deadband(value: object) -> object:
    """0.5 in engineering units, or '1%' of the range; a share is kept below zero until then."""
    if isinstance(value, int | float) and value < 0:
        raise ValueError(f"must be 0 or more, not {value}")
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())
    if not match or not 0 < float(match[1]) <= 100:
        raise ValueError(f"{value!r} is neither a number nor a share of the range such as 1%")
    return -float(match[1]) / 100


def _code_keys(value: object) -> object:
    for key in value if isinstance(value, dict) else ():  # pyright: ignore[reportUnknownVariableType]
        if key != "else" and (not isinstance(key, int) or isinstance(key, bool)):
            raise ValueError(f"{key!r} is neither a code nor `else`")
    return value  # pyright: ignore[reportUnknownVariableType]


OrderName = Annotated[Order, BeforeValidator(_short_order)]
Bounds = Annotated[tuple[float, float], BeforeValidator(_ascending)]
Registers = Annotated[tuple[int, int], BeforeValidator(_ascending)]


class PointEntry(Strict):
    """A point as written in the file; what it leaves out comes from `defaults`."""

    name: Name
    at: Annotated[int, Field(ge=0)] | Registers
    type: PointType
    bit: int | None = Field(None, ge=0, le=31)
    bits: Registers | None = None
    of: Literal["u16", "u32"] | None = None
    byte: Literal["high", "low"] | None = None
    length: int | None = Field(None, ge=1, le=60)
    encoding: Encoding | None = None
    equals: list[Annotated[int, Field(ge=0, le=65535)]] | None = Field(None, min_length=1)
    kind: Kind | None = None
    order: OrderName | None = None
    poll_class: str | None = Field(None, alias="class")
    scale: float = 1
    offset: float = 0
    unit: str = ""
    range: Bounds | None = None
    enum: dict[int, str] | None = Field(None, min_length=1)
    map: Annotated[dict[int | Literal["else"], int | float] | None, BeforeValidator(_code_keys)] = (
        Field(None, min_length=1)
    )
    nan: Annotated[list[int | float], BeforeValidator(_as_list)] = Field(
        default_factory=list[int | float]
    )
    deadband: Annotated[float | None, BeforeValidator(_deadband)] = None
    heartbeat: Seconds | None = None
    event: bool = False
    confidence: Confidence | None = None

    @property
    def first(self) -> int:
        return self.at if isinstance(self.at, int) else self.at[0]

    @model_validator(mode="after")
    def check_place(self) -> "PointEntry":
        for key, users in _KEYS_OF_TYPES.items():
            if getattr(self, key) is not None and self.type not in users:
                raise ValueError(f"`{key}` is for type {' or '.join(users)}, not {self.type}")
        needed = _NEEDED.get(self.type)
        single = self.type == "bit" and self.kind in ("coil", "discrete")
        if needed and not single and getattr(self, needed[0]) is None:
            raise ValueError(f"a point of type {self.type} needs {needed[1]}")
        highest = max(self.bit or 0, *(self.bits or (0, 0)))
        if highest > 15 and self.of != "u32":
            raise ValueError(f"bit {highest} is in a 32-bit value: say `of: u32`")
        if highest > 31 or (self.bits and self.bits[0] < 0):
            raise ValueError(f"`bits` {list(self.bits or ())} are not within 0..31")
        if isinstance(self.at, int) == (self.type in SPANS):
            wanted = "[first, last]" if self.type in SPANS else "one address"
            raise ValueError(f"`at` of type {self.type} is {wanted}")
        return self

    @model_validator(mode="after")
    def check_value(self) -> "PointEntry":
        if self.scale == 0:
            raise ValueError("scale 0 would make every value the same")
        if self.map and (self.scale, self.offset) != (1, 0):
            raise ValueError("`map` gives the value itself: leave `scale` and `offset` out")
        if self.map and self.type not in ("bit", "bits", *INTEGER_BITS):
            raise ValueError(f"`map` is for integers and bits, not {self.type}")
        if self.type == "string":
            given = self.model_fields_set & _NUMBER_KEYS
            if given:
                raise ValueError(f"a string has no `{min(given)}`")
        return self

    @model_validator(mode="after")
    def check_deadband(self) -> "PointEntry":
        if self.heartbeat is not None and self.deadband is None:
            raise ValueError("`heartbeat` goes with a `deadband`")
        if self.deadband is not None and self.deadband < 0 and self.range is None:
            raise ValueError("a deadband in % needs a `range`")
        return self

    @model_validator(mode="after")
    def check_codes(self) -> "PointEntry":
        low, high = _codes(self.type)
        for code in self.nan:
            if not low <= code <= high:
                raise ValueError(f"not-a-value code {code} does not fit {self.type}")
        return self


_KEYS_OF_TYPES: dict[str, tuple[str, ...]] = {
    "bit": ("bit",),
    "bits": ("bits",),
    "of": ("bit", "bits"),
    "byte": ("i8", "u8"),
    "length": ("string",),
    "encoding": ("string",),
    "equals": ("count", "any"),
}
_NEEDED = {
    "bit": ("bit", "`bit: 0..15`"),
    "bits": ("bits", "`bits: [lowest, highest]`"),
    "i8": ("byte", "`byte: high` or `byte: low`"),
    "u8": ("byte", "`byte: high` or `byte: low`"),
    "string": ("length", "`length` in registers"),
    "count": ("equals", "`equals: [codes]`"),
    "any": ("equals", "`equals: [codes]`"),
}
_NUMBER_KEYS = frozenset(
    {"scale", "offset", "range", "enum", "map", "nan", "deadband", "heartbeat", "event", "unit"}
)


def _codes(kind: PointType) -> tuple[float, float]:
    """Lowest and highest code of a type; a signed one may also be spelled as its bit pattern."""
    if kind in ("f32", "f64"):
        return (-3.4e38, 3.4e38) if kind == "f32" else (-1.7e308, 1.7e308)
    bits = INTEGER_BITS.get(kind, 32 if kind in ("bit", "bits") else 16)
    return (-(1 << bits - 1) if kind.startswith("i") else 0), (1 << bits) - 1


class Point(NamedTuple):
    """A point ready to be read. `address` is on the wire, from 0; `end` is one past its last.

    `lookup` is `map` with None for `else`. A `count` or `any` too long for one request is read in
    `parts` (this one's number from 0, how many there are).
    """

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
    words: int | None = None
    bits: int = 1
    high: bool = False
    encoding: Encoding = "ascii"
    equals: tuple[int, ...] = ()
    lookup: tuple[tuple[int | None, int | float], ...] = ()
    deadband: float | None = None
    heartbeat_s: float = HEARTBEAT_S
    parts: tuple[int, int] = (0, 1)
    confidence: Confidence | None = None

    @property
    def end(self) -> int:
        return self.address + (self.words or WORDS.get(self.type, 1))


def point_of(entry: PointEntry, *, kind: Kind, base: int, order: str, poll_class: str) -> Point:
    """`entry` with the file's defaults filled in."""
    bit, bits = entry.bit, 1
    if entry.bits:
        bit, bits = entry.bits[0], entry.bits[1] - entry.bits[0] + 1
    return Point(
        name=entry.name,
        kind=entry.kind or kind,
        address=entry.first - base,
        type=entry.type,
        bit=(bit or 0) if entry.type in ("bit", "bits") else None,
        order=entry.order or order,
        poll_class=entry.poll_class or poll_class,
        scale=entry.scale,
        offset=entry.offset,
        range=entry.range,
        enum=tuple(entry.enum) if entry.enum else None,
        not_a_value=tuple(entry.nan),
        event=entry.event,
        words=_words(entry),
        bits=bits,
        high=entry.byte == "high",
        encoding=entry.encoding or "ascii",
        equals=tuple(entry.equals or ()),
        lookup=_lookup(entry.map),
        deadband=_absolute(entry),
        heartbeat_s=entry.heartbeat or HEARTBEAT_S,
        confidence=entry.confidence,
    )


def _words(entry: PointEntry) -> int | None:
    if not isinstance(entry.at, int):
        return entry.at[1] - entry.at[0] + 1
    return 2 if entry.of == "u32" else entry.length


def _absolute(entry: PointEntry) -> float | None:
    if entry.deadband is None or entry.deadband >= 0 or entry.range is None:
        return entry.deadband
    return -entry.deadband * (entry.range[1] - entry.range[0])


def _lookup(table: dict[Any, int | float] | None) -> tuple[tuple[int | None, int | float], ...]:
    return tuple((None if key == "else" else key, value) for key, value in (table or {}).items())


def in_parts(point: Point, longest: int) -> list[Point]:
    """A count over more than `longest` addresses as parts of at most that; any other as it is."""
    starts = range(point.address, point.end, longest)
    if point.type not in SPANS or len(starts) == 1:
        return [point]
    return [
        point._replace(address=at, words=min(longest, point.end - at), parts=(i, len(starts)))
        for i, at in enumerate(starts)
    ]
