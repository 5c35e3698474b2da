import math
import struct

import pytest
from edge_rig import point
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.decode.decoder import BAD, FORMATS, GOOD, UNCERTAIN, Decoder, byte_order

ORDERS = ("ABCD", "BADC", "CDAB", "DCBA")
NUMBERS = [kind for kind in FORMATS if kind != "bit"]


def decode(registers: list[int], **more):
    decoded = Decoder([point(**more)], start=0).decode(wire(registers))
    quality = decoded.qualities[0] if decoded.qualities else GOOD
    return decoded.values[0], quality


def wire(registers: list[int]) -> bytes:
    return struct.pack(f">{len(registers)}H", *registers)


def words(text: str) -> list[int]:
    return [word for (word,) in struct.iter_unpack(">H", bytes.fromhex(text))]


# 0x12345678 and 123456.0 (0x47F12000) as devices of each order put them on the wire.
@pytest.mark.parametrize(
    ("kind", "order", "wire", "value"),
    [
        ("u16", "ABCD", "1234", 0x1234),
        ("u16", "DCBA", "3412", 0x1234),
        ("i16", "ABCD", "FFFE", -2),
        ("i16", "BADC", "FEFF", -2),
        ("u32", "ABCD", "12345678", 0x12345678),
        ("u32", "CDAB", "56781234", 0x12345678),
        ("u32", "BADC", "34127856", 0x12345678),
        ("u32", "DCBA", "78563412", 0x12345678),
        ("i32", "ABCD", "FFFFFFFE", -2),
        ("i32", "CDAB", "FFFEFFFF", -2),
        ("f32", "ABCD", "47F12000", 123456.0),
        ("f32", "CDAB", "200047F1", 123456.0),
        ("f32", "BADC", "F1470020", 123456.0),
        ("f32", "DCBA", "0020F147", 123456.0),
        ("u64", "ABCD", "0102030405060708", 0x0102030405060708),
        ("u64", "CDAB", "0708050603040102", 0x0102030405060708),
        ("u64", "BADC", "0201040306050807", 0x0102030405060708),
        ("u64", "DCBA", "0807060504030201", 0x0102030405060708),
        ("i64", "ABCD", "FFFFFFFFFFFFFFFE", -2),
        ("f64", "ABCD", "3FF8000000000000", 1.5),
        ("f64", "DCBA", "000000000000F83F", 1.5),
    ],
)
def test_golden_vectors(kind, order, wire, value):
    assert decode(words(wire), type=kind, order=order) == (value, GOOD)


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from(ORDERS))
def test_what_struct_writes_in_any_order_is_read_back(data, kind, order):
    form = ">" + FORMATS[kind]
    size = struct.calcsize(form)
    if kind.startswith("f"):
        value = data.draw(st.floats(width=8 * size, allow_nan=False, allow_infinity=False))
    else:
        low = -(1 << 8 * size - 1) if kind.startswith("i") else 0
        value = data.draw(st.integers(low, low + (1 << 8 * size) - 1))
    big, wire = struct.pack(form, value), bytearray(size)
    for i, place in enumerate(byte_order(size, order)):
        wire[place] = big[i]
    read, quality = decode(words(wire.hex()), type=kind, order=order)
    assert (struct.pack(form, read), quality) == (big, GOOD)


@given(st.lists(st.integers(0, 0xFFFF), min_size=8, max_size=8))
def test_one_block_decodes_like_its_points_alone(registers):
    points = [
        point("a", 0, type="i32", order="CDAB"),
        point("b", 2, type="bit", bit=5),
        point("c", 2, type="bit", bit=15),
        point("d", 3, type="i16", scale=0.1),
        point("e", 4, type="u64", order="DCBA"),
    ]
    together = Decoder(points, start=0).decode(wire(registers)).values
    alone = [Decoder([p], start=0).decode(wire(registers)).values[0] for p in points]
    assert together == alone


def test_a_decimal_scale_gives_the_shortest_decimal():
    assert decode([453], scale=0.1)[0] == 45.3
    assert decode([4567], scale=0.001)[0] == 4.567
    assert decode([100], scale=0.5, offset=-40)[0] == 10


@pytest.mark.parametrize(
    ("kind", "registers", "code"),
    [
        ("u16", [0xFFFF], 0xFFFF),
        ("i16", [0x8000], 0x8000),
        ("i16", [0x8000], -32768),
        ("u32", [0xFFFF, 0xFFFF], 0xFFFFFFFF),
        ("bit", [0xFFFF], 0xFFFF),
        ("f32", [0xC61C, 0x3F9A], -9999.9),
    ],
)
def test_a_not_a_value_code_is_bad(kind, registers, code):
    bit = 0 if kind == "bit" else None
    value, quality = decode(registers, type=kind, bit=bit, not_a_value=(code,))
    assert math.isnan(value) and quality == BAD


@pytest.mark.parametrize("wire", ["7FC00000", "7F800000", "FF800000"])
def test_nan_and_infinities_are_bad(wire):
    value, quality = decode(words(wire), type="f32")
    assert math.isnan(value) and quality == BAD


def test_outside_the_range_is_uncertain_with_its_value():
    assert decode([200], range=(0.0, 150.0)) == (200, UNCERTAIN)
    assert decode([150], range=(0.0, 150.0)) == (150, GOOD)


def test_an_unknown_code_of_an_enum_is_uncertain():
    assert decode([7], enum=(0, 1)) == (7, UNCERTAIN)
    assert decode([1], enum=(0, 1)) == (1, GOOD)
