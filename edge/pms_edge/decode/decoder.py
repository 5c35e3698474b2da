"""Registers to values.

`conversion` says what one point means. `Decoder` does the same for a whole block: one unpack, one
compiled function for all values that are good, and `conversion` for the others.
"""

import struct
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from pms_edge.decode.compiled import compile_block
from pms_edge.decode.meaning import BAD, GOOD, NAN, UNCERTAIN, Convert, Raw, conversion, judgement
from pms_edge.profiles.points import INTEGER_BITS, SPANS, Point

__all__ = [
    "BAD", "GOOD", "NAN", "UNCERTAIN", "Convert", "Decoded", "Decoder", "Part", "Raw",
    "byte_order", "conversion", "judgement",
]  # fmt: skip

FORMATS = {
    "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q", "f32": "f", "f64": "d",
}  # fmt: skip


CellKey = tuple[int, str, str]  # wire address, type, order


class Part(NamedTuple):
    """The share of a split `count` or `any` that this block holds: how many registers matched."""

    point: Point
    matched: int


class Extra(NamedTuple):
    """What is not a sample: nameplate texts (None where undecodable), and parts of counts."""

    texts: dict[str, str | None]
    parts: list[Part]


class Decoded(NamedTuple):
    """Values of the points that are sampled (`is_sample`), in point order, NaN where bad; their
    qualities, None when all are good; and what else the block held.
    """

    values: list[Raw]
    qualities: list[int] | None
    extra: Extra | None = None


def is_sample(point: Point) -> bool:
    """Whether a block's own values hold the point: no string, and no part of a split count."""
    return point.type != "string" and point.parts[1] == 1


class Decoder:
    """Decodes one block; `start` is the address of its first register or bit.

    Words are numbered big-endian as on the wire (Modbus application protocol 4.2); `order` of a
    point then says how its words and bytes are swapped.
    """

    def __init__(self, points: Sequence[Point], *, start: int) -> None:
        single = points[0].kind in ("coil", "discrete")  # one byte for each address, not two
        samples = [p for p in points if is_sample(p)]
        keys = sorted({_cell(p) for p in samples if p.type not in SPANS})
        self._unpack = _unpacker(keys, start, single=single) if keys else _nothing
        counted = [p for p in samples if p.type in SPANS]
        self._counts = [_counter(p, start, single=single) for p in counted]
        columns = {key: column for column, key in enumerate(keys)}
        places = [
            len(keys) + counted.index(p) if p.type in SPANS else columns[_cell(p)] for p in samples
        ]
        self._points = [(c, conversion(p)) for c, p in zip(places, samples, strict=True)]
        self._compiled = compile_block(
            list(zip(places, samples, strict=True)), len(keys) + len(counted)
        )
        self._none_good = (False,) * len(samples)
        self._texts = [(p.name, _text(p, start)) for p in points if p.type == "string"]
        parts = [p for p in points if p.parts[1] > 1]
        self._parts = [(p, _counter(p, start, single=single)) for p in parts]
        self._before: tuple[bytes, Decoded] | None = None

    def decode(self, wire: bytes) -> Decoded:
        """Values of the block's points from what `RegisterReader.read` gave for the whole block."""
        if self._before and self._before[0] == wire:
            return self._before[1]
        cells = self._unpack(wire)
        if self._counts:
            cells += tuple(count(wire) for count in self._counts)
        decoded = self._judged(cells)
        if self._texts or self._parts:
            decoded = decoded._replace(extra=self._extra(wire))
        self._before = wire, decoded
        return decoded

    def _judged(self, cells: tuple[Raw, ...]) -> Decoded:
        values, good = self._compiled(cells) or ([NAN] * len(self._points), self._none_good)
        if good is None:
            return Decoded(values, None)
        qualities = [GOOD] * len(values)
        for i, sure in enumerate(good):
            if not sure:
                column, convert = self._points[i]
                values[i], qualities[i] = convert(cells[column])
        return Decoded(values, None if min(qualities) == GOOD else qualities)

    def _extra(self, wire: bytes) -> Extra:
        texts = {name: read(wire) for name, read in self._texts}
        return Extra(texts, [Part(point, count(wire)) for point, count in self._parts])


def byte_order(size: int, order: str) -> list[int]:
    """Where each byte of the big-endian value of `size` bytes lies on the wire.

    ABCD is plain; CDAB has its words reversed; BADC the bytes of each word; DCBA both. Eight
    letters say it for 64 bits. A 16-bit value has one word, so only its bytes can be swapped.
    """
    if len(order) == 8 and size == 8:
        return [order.index(letter) for letter in "ABCDEFGH"]
    short = {"CDABGHEF": "CDAB", "DCBAHGFE": "DCBA", "FEHGBADC": "BADC"}.get(order, order)
    words = [[i, i + 1] for i in range(0, size, 2)]
    if short in ("CDAB", "DCBA"):
        words.reverse()
    if short in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [i for word in words for i in word]


def _cell(point: Point) -> CellKey:
    """Which number of the block the point is made of; points may share one."""
    if point.type in FORMATS:
        return point.address, point.type, point.order
    bits = 16 * (point.words or 1)
    if point.type not in ("bit", "bits"):
        bits = max(16, INTEGER_BITS[point.type])
    return point.address, f"u{bits}", point.order


Unpack = Callable[[bytes], tuple[Raw, ...]]


def _nothing(_wire: bytes) -> tuple[Raw, ...]:
    return ()


def _unpacker(keys: Sequence[CellKey], start: int, *, single: bool) -> Unpack:
    """Cells of the block in the order of `keys`."""
    apart = all(a[0] + _size(a) // 2 <= b[0] for a, b in pairwise(keys))
    orders = {order for _, _, order in keys}
    if single:
        return struct.Struct(_padded(">", keys, start, single=True)).unpack_from
    if apart and len(orders) == 1 and orders <= _STRAIGHT.keys():
        swapped, prefix = _STRAIGHT[orders.pop()]
        unpack = struct.Struct(_padded(prefix, keys, start, single=False)).unpack_from
        return (lambda wire: unpack(_swapped(wire))) if swapped else unpack
    return _picker(keys, start)


# Whether the bytes of each register are swapped first, and how the result is then read.
_STRAIGHT = {"ABCD": (False, ">"), "DCBA": (False, "<"), "BADC": (True, ">"), "CDAB": (True, "<")}


def _size(key: CellKey) -> int:
    return struct.calcsize(">" + FORMATS[key[1]])


def _padded(prefix: str, keys: Sequence[CellKey], start: int, *, single: bool) -> str:
    """A format that reads the cells, which do not overlap, and skips what lies between them."""
    form, at = prefix, 0
    for key in keys:
        offset = (key[0] - start) * (1 if single else 2)
        form += f"{offset - at}x" + ("B" if single else FORMATS[key[1]])
        at = offset + (1 if single else _size(key))
    return form


def _swapped(wire: bytes) -> "array[int]":
    registers = array("H", wire)
    registers.byteswap()
    return registers


def _picker(keys: Sequence[CellKey], start: int) -> Unpack:
    """For cells that overlap, or are of several orders: the bytes of each are gathered first."""
    picked: list[int] = []
    for key in keys:
        offset = (key[0] - start) * 2
        picked += [offset + i for i in byte_order(_size(key), key[2])]
    pick = itemgetter(*picked)  # two bytes at least, so it gives a tuple
    unpack = struct.Struct(">" + "".join(FORMATS[kind] for _, kind, _ in keys)).unpack
    return lambda wire: unpack(bytes(pick(wire)))


def _counter(point: Point, start: int, *, single: bool) -> Callable[[bytes], int]:
    """How many registers (or bits) of the point's range hold one of its codes."""
    first, count = point.address - start, point.end - point.address
    if single:
        return lambda wire: sum(map(wire[first : first + count].count, point.equals))
    prefix = "<" if byte_order(2, point.order) == [1, 0] else ">"
    unpack = struct.Struct(f"{prefix}{count}H").unpack_from
    return lambda wire: sum(map(unpack(wire, 2 * first).count, point.equals))


def _text(point: Point, start: int) -> Callable[[bytes], str | None]:
    first, end = 2 * (point.address - start), 2 * (point.end - start)
    swapped = byte_order(2, point.order) == [1, 0]

    def read(wire: bytes) -> str | None:
        raw = wire[first:end]
        raw = _swapped(raw).tobytes() if swapped else raw
        return text_of(raw, point.encoding)

    return read


def text_of(raw: bytes, encoding: str) -> str | None:
    """Text up to the first NUL, without spaces around it; None when it is not of `encoding` or
    holds control characters.
    """
    try:
        text = raw.split(b"\0", 1)[0].decode(encoding).strip()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
