"""What `doctor read` prints; at most 100 columns wide."""

import struct
from collections.abc import Iterator

from pms_edge.doctor.guess import (
    ORDERS_32,
    RULE,
    Reading,
    bcd,
    readings,
    series,
    text_of,
)

QUADS_LEFT_OUT = "，仅可信的 only plausible ones (--all)"
FIRST_NUMBER = {"coil": 0, "discrete": 1, "input": 3, "holding": 4}


def traditional(kind: str, address: int) -> str:
    """The number in the vendors' way: 40001 is the first holding register; six digits past 9999."""
    width = 4 if address < 9999 else 5
    return f"{FIRST_NUMBER[kind]}{address + 1:0{width}}"


def bits(kind: str, start: int, wire: bytes) -> Iterator[str]:
    yield "地址 wire     +1   number  value"
    for address, bit in enumerate(wire, start):
        yield f"{address:>9} {address + 1:>6}  {traditional(kind, address):>7}  {bit:>5}"


def registers(kind: str, start: int, wire: bytes) -> Iterator[str]:
    yield "单个寄存器 · one register"
    yield "   wire     +1   number   hex    u16     i16  bits 位               BCD  text"
    for index, (word,) in enumerate(struct.iter_unpack(">H", wire)):
        address = start + index
        signed = word - 0x10000 if word & 0x8000 else word
        decimal = bcd(word)
        place = f"{address:>7} {address + 1:>6}  {traditional(kind, address):>7}"
        binary = " ".join(f"{word:016b}"[i : i + 4] for i in range(0, 16, 4))
        shown = "" if decimal is None else decimal
        yield f"{place}  {word:04X} {word:>6} {signed:>7}  {binary} {shown:>5}  {text_of(word)}"


def pairs(start: int, wire: bytes) -> Iterator[str]:
    yield "两个寄存器，四种字节序 · two registers in every order"
    yield ("   wire         " + "".join(f"{order:>15}   " for order in ORDERS_32)).rstrip()
    for index in range(len(wire) // 2 - 1):
        found = list(readings(wire[2 * index : 2 * index + 4], ("u32", "i32", "f32")))
        for kind in ("u32", "i32", "f32"):
            cells = "".join(_cell(r, 15) for r in found if r.type == kind)
            place = f"{start + index:>7}" if kind == "u32" else " " * 7
            yield f"{place}  {kind:<7}{cells}".rstrip()


def quads(start: int, wire: bytes, *, every: bool) -> Iterator[str]:
    """All of them when `every`, else those with something plausible."""
    yield "四个寄存器，八种字节序 · four registers in every order" + (
        "" if every else QUADS_LEFT_OUT
    )
    yield "   wire  order                     u64                    i64                    f64"
    for index in range(len(wire) // 2 - 3):
        found = list(readings(wire[2 * index : 2 * index + 8], ("u64", "i64", "f64")))
        for number in range(0, len(found), 3):
            row = found[number : number + 3]
            if every or any(reading.stars for reading in row):
                cells = "".join(_cell(reading, 21) for reading in row)
                yield f"{start + index:>7}  {row[0].order:<8}{cells}".rstrip()


def hints(start: int, wire: bytes, asked: int) -> Iterator[str]:
    """Where floats seem to lie; `asked` is the address that was asked for."""
    found = series(wire, start)
    for one in found[:2]:
        yield f"f32 {one.order} @ {one.start}: {one.plausible}/{one.of} 可信 plausible"
    if found and (found[0].start - asked) % 2:
        yield "  似乎错位一个寄存器：厂家地址若从 1 计，设 base: 1"
        yield "  shifted by one register, it seems: if the vendor counts from 1, set `base: 1`"
    yield from RULE


def _cell(reading: Reading, width: int) -> str:
    value = reading.value
    shown = f"{value:.7g}" if isinstance(value, float) else str(value)
    return f"{shown:>{width}} {'*' * reading.stars:<2}"
