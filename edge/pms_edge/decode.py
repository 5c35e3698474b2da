"""Registers to values: one precompiled `struct.unpack` per block, then one conversion per point."""

import math
import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from pms_edge.profiles import Point

GOOD, UNCERTAIN, BAD = 192, 64, 0
NAN = math.nan

Raw = int | float
Convert = Callable[[Raw], tuple[Raw, int]]

FORMATS = {
    "bit": "H", "i16": "h", "u16": "H", "i32": "i", "u32": "I",
    "i64": "q", "u64": "Q", "f32": "f", "f64": "d",
}  # fmt: skip


class Decoded(NamedTuple):
    """Values in point order (NaN where bad) and their qualities; None when all are good."""

    values: list[Raw]
    qualities: list[int] | None


class Decoder:
    """Decodes one block; `start` is the address of its first register or bit.

    Words are numbered big-endian as on the wire (Modbus application protocol 4.2); `order` of a
    point then says how its words and bytes are swapped.
    """

    def __init__(self, points: Sequence[Point], *, start: int) -> None:
        cells = list(dict.fromkeys((p.address, p.type, p.order) for p in points))
        single = points[0].kind in ("coil", "discrete")  # one byte for each address, not two
        formats, picked = ">", list[int]()
        column: dict[tuple[int, str, str], int] = {}
        for address, kind, order in cells:
            code = "B" if single else FORMATS[kind]
            offset = (address - start) * (1 if single else 2)
            picked += [offset + i for i in byte_order(struct.calcsize(">" + code), order)]
            formats += code
            column[address, kind, order] = len(column)
        # Two at least: itemgetter of one index gives that byte itself. '>B' then skips the second.
        self._pick = itemgetter(*picked, *([picked[0]] if len(picked) == 1 else []))
        formats += "x" if len(picked) == 1 else ""
        self._cells = struct.Struct(formats)
        self._points = [(column[p.address, p.type, p.order], conversion(p)) for p in points]

    def decode(self, wire: bytes) -> Decoded:
        """Values of the block's points from what `RegisterReader.read` gave for the whole block."""
        cells = self._cells.unpack(bytes(self._pick(wire)))
        pairs = [convert(cells[column]) for column, convert in self._points]
        values = [value for value, _ in pairs]
        qualities = [quality for _, quality in pairs]
        return Decoded(values, None if min(qualities) == GOOD else qualities)


def byte_order(size: int, order: str) -> list[int]:
    """Where each byte of the big-endian value of `size` bytes lies on the wire.

    ABCD is plain; CDAB has its words reversed; BADC the bytes of each word; DCBA both. A 16-bit
    value has one word, so only its bytes can be swapped.
    """
    words = [[i, i + 1] for i in range(0, size, 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [i for word in words for i in word]


def conversion(point: Point) -> Convert:
    """How the raw number of `point` becomes a value in engineering units and its quality."""
    if point.type == "bit":
        return _bit(1 << (point.bit or 0), frozenset(point.not_a_value))
    missing = frozenset(_as_read(code, point.type) for code in point.not_a_value)
    scaled, judge = _scaling(point.scale, point.offset), judgement(point)

    def convert(raw: Raw) -> tuple[Raw, int]:
        if raw in missing or not math.isfinite(raw):
            return NAN, BAD
        return judge(scaled(raw))

    return convert


def judgement(point: Point) -> Convert:
    """Quality of a value in engineering units: uncertain outside the range or the known codes."""
    low, high = point.range or (-math.inf, math.inf)
    codes = frozenset(point.enum or ())

    def judge(value: Raw) -> tuple[Raw, int]:
        if not math.isfinite(value):
            return NAN, BAD
        known = low <= value <= high and (not codes or value in codes)
        return value, GOOD if known else UNCERTAIN

    return judge


def _bit(mask: int, missing: frozenset[Raw]) -> Convert:
    return lambda word: (NAN, BAD) if word in missing else (int(bool(int(word) & mask)), GOOD)


def _scaling(scale: float, offset: float) -> Callable[[Raw], Raw]:
    if scale == 1 and offset == 0:
        return lambda raw: raw
    inverse = round(1 / scale) if 1e-9 <= abs(scale) <= 1 else 0
    if inverse and 1 / inverse == scale:
        # Division is correctly rounded: 453 / 10 is 45.3, while 453 * 0.1 is 45.300000000000004.
        return lambda raw: raw / inverse + offset
    return lambda raw: raw * scale + offset


def _as_read(code: Raw, kind: str) -> Raw:
    """A not-a-value code as `kind` reads it: 0xFFFF in an i16 register is -1."""
    size = struct.calcsize(">" + FORMATS[kind])
    signed = kind.startswith("i") and isinstance(code, int) and code >= 1 << (8 * size - 1)
    if kind == "f32":
        return float(struct.unpack(">f", struct.pack(">f", code))[0])
    return code - (1 << 8 * size) if signed else code
