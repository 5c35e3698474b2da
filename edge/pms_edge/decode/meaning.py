"""What the raw number of a point means: its value in engineering units and its quality."""

import math
import struct
from collections.abc import Callable

from pms_edge.decode.shortest import shortest
from pms_edge.profiles.points import INTEGER_BITS, Point

GOOD, UNCERTAIN, BAD = 192, 64, 0
NAN = math.nan

Raw = int | float
Convert = Callable[[Raw], tuple[Raw, int]]


def conversion(point: Point) -> Convert:
    """How the raw number of `point` becomes a value and its quality.

    Bad: a not-a-value code, an invalid BCD digit, a code that `map` does not know, NaN and the
    infinities.
    """
    missing = missing_codes(point)
    extract, scaled, judge = extraction(point), _scaling(point), judgement(point)
    whole_word = point.type in ("bit", "bits")

    def convert(raw: Raw) -> tuple[Raw, int]:
        if whole_word and raw in missing:
            return NAN, BAD
        part = extract(raw)
        if not math.isfinite(part) or (not whole_word and part in missing):
            return NAN, BAD
        return judge(scaled(part))

    return convert


def missing_codes(point: Point) -> frozenset[Raw]:
    """The not-a-value codes as the point's own number reads them (bits: as their whole word)."""
    return frozenset(_as_read(code, point.type) for code in point.not_a_value)


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


def bcd(raw: Raw) -> Raw:
    """Packed decimal digits, the highest first; NaN when a digit is above 9."""
    try:
        return int(f"{int(raw):x}")
    except ValueError:
        return NAN


def extraction(point: Point) -> Callable[[Raw], Raw]:
    """The point's own number out of the cell that it shares with others."""
    kind, bit = point.type, point.bit or 0
    if kind in ("bit", "bits"):
        mask = (1 << point.bits) - 1
        return lambda raw: (int(raw) >> bit) & mask
    if kind in ("u8", "i8"):
        shift, sign = (8 if point.high else 0), (128 if kind == "i8" else 0)
        return lambda raw: (((int(raw) >> shift) & 255) ^ sign) - sign
    if kind == "any":
        return lambda raw: int(raw > 0)
    if kind.startswith("bcd"):
        return bcd
    return shortest if kind == "f32" else _as_is


def factor(scale: float) -> tuple[str, float]:
    """How to scale: by division where 1/scale is a whole number.

    Division is correctly rounded: 453 / 10 is 45.3, while 453 * 0.1 is 45.300000000000004.
    """
    inverse = round(1 / scale) if 1e-9 <= abs(scale) <= 1 else 0
    return ("/", inverse) if inverse and 1 / inverse == scale else ("*", scale)


def _as_is(raw: Raw) -> Raw:
    return raw


def _scaling(point: Point) -> Callable[[Raw], Raw]:
    if point.lookup:
        table, other = dict(point.lookup), dict(point.lookup).get(None, NAN)
        return lambda raw: table.get(int(raw), other)
    scale, offset = point.scale, point.offset
    if scale == 1 and offset == 0:
        return _as_is
    operation, number = factor(scale)
    if operation == "/":
        return lambda raw: raw / number + offset
    return lambda raw: raw * number + offset


def _as_read(code: Raw, kind: str) -> Raw:
    """A not-a-value code as `kind` reads it: 0xFFFF in an i16 register is -1."""
    if kind == "f32":
        return shortest(float(struct.unpack(">f", struct.pack(">f", code))[0]))
    if kind.startswith("bcd"):
        return bcd(code)
    bits = INTEGER_BITS.get(kind, 16)
    signed = kind.startswith("i") and isinstance(code, int) and code >= 1 << (bits - 1)
    return code - (1 << bits) if signed else code
