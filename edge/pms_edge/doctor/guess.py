"""What registers may mean: every 32- and 64-bit order, and which readings look like a measurement."""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pms_edge.decode.decoder import byte_order

ORDERS_32 = ("ABCD", "BADC", "CDAB", "DCBA")
ORDERS_64 = (
    *("ABCDEFGH", "BADCFEHG", "GHEFCDAB", "HGFEDCBA"),
    *("CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC"),
)
FORMATS = {"u32": ">I", "i32": ">i", "f32": ">f", "u64": ">Q", "i64": ">q", "f64": ">d"}
SMALLEST, LARGEST = 1e-4, 1e7
ROUND_DIGITS = 5
MOST_DIGITS = 9  # that a 32-bit float can need

RULE = (
    "*  可信：0，或绝对值在 0.0001 与 10,000,000 之间 · plausible: 0, or of that size",
    "** 且为不超过 5 位有效数字的浮点数 · and a float of at most 5 significant digits",
)


class Reading(NamedTuple):
    """One value that the registers may stand for; `stars` 0 to 2 say how much it looks like one."""

    type: str
    order: str
    value: int | float
    stars: int


class Series(NamedTuple):
    """Floats side by side in one order from one address: how many of how many look like values.

    `score` is higher the fewer digits they need: a float read at the wrong place needs all of them.
    """

    start: int
    order: str
    plausible: int
    of: int
    score: int


def readings(wire: bytes, types: tuple[str, ...]) -> Iterator[Reading]:
    """`wire` is 4 or 8 bytes, as many as `types` have; in every order that a profile can name."""
    for order in ORDERS_32 if len(wire) == 4 else ORDERS_64:
        plain = bytes(wire[i] for i in byte_order(len(wire), order))
        for kind in types:
            value = struct.unpack(FORMATS[kind], plain)[0]
            yield Reading(kind, order, value, stars(value, kind))


def stars(value: float, kind: str) -> int:
    if value == 0:
        return 1
    if not math.isfinite(value) or not SMALLEST <= abs(value) <= LARGEST:
        return 0
    return 2 if kind.startswith("f") and digits(value, kind) <= ROUND_DIGITS else 1


def digits(value: float, kind: str) -> int:
    """Significant digits of the shortest decimal that gives this float again; `value` is finite."""
    for count in range(1, 18):
        near = float(f"{value:.{count}g}")
        if near == value or (kind == "f32" and struct.pack(">f", near) == struct.pack(">f", value)):
            return count
    return 18


def bcd(word: int) -> int | None:
    """Four packed decimal digits, or None where a digit is above nine."""
    text = f"{word:04x}"
    return int(text) if text.isdigit() else None


def text_of(word: int) -> str:
    return "".join(chr(b) if 32 <= b < 127 else "." for b in (word >> 8, word & 0xFF))


def series(wire: bytes, start: int) -> list[Series]:
    """Rows of 32-bit floats that begin at `start` or one later, likeliest first; zeros say nothing."""
    found: list[Series] = []
    for offset in (0, 1):
        pairs = [wire[i : i + 4] for i in range(2 * offset, len(wire) - 3, 4)]
        for order in ORDERS_32:
            good = [
                r.value for pair in pairs for r in readings(pair, ("f32",)) if _likely(r, order)
            ]
            score = sum(MOST_DIGITS - digits(value, "f32") for value in good)
            if good:
                found.append(Series(start + offset, order, len(good), len(pairs), score))
    return sorted(found, key=lambda s: -s.score)


def _likely(reading: Reading, order: str) -> bool:
    return reading.order == order and bool(reading.value and reading.stars)
