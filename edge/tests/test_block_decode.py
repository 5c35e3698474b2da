"""A block decoded at once gives what its points give one by one, for every type and order."""

import math
import struct
from decimal import Decimal

import pytest
from edge_rig import point
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN, Decoder, byte_order, conversion
from pms_edge.decode.shortest import shortest
from pms_edge.profiles.points import INTEGER_BITS, WORDS, in_parts

LENGTH = 40  # registers
ORDERS = ["ABCD", "BADC", "CDAB", "DCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC"]
NUMBERS = [*INTEGER_BITS, "f32", "f64"]
SCALES = [(1.0, 0.0), (0.1, 0.0), (0.001, -40.0), (3.0, 0.5), (-0.01, 0.0)]


@st.composite
def points_of_a_block(draw):
    points = []
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from([*NUMBERS, "bit", "bits", "count", "any"]))
        more = {"type": kind, "order": draw(st.sampled_from(ORDERS))}
        words = WORDS.get(kind, 1)
        if kind in ("bit", "bits"):
            words = more["words"] = draw(st.sampled_from([1, 2]))
            more["bit"] = draw(st.integers(0, 16 * words - 1))
            more["bits"] = draw(st.integers(1, 4)) if kind == "bits" else 1
        if kind in ("count", "any"):
            words = more["words"] = draw(st.integers(1, 10))
            more["equals"] = tuple(draw(st.sets(st.integers(0, 3), min_size=1)))
        if kind in ("i8", "u8"):
            more["high"] = draw(st.booleans())
        if kind in NUMBERS:
            more["scale"], more["offset"] = draw(st.sampled_from(SCALES))
            more["range"] = draw(st.sampled_from([None, (0.0, 600.0), (-1e6, 1e6), (0.0, 0.0)]))
            more["not_a_value"] = draw(st.sampled_from([(), (0,), (1, 7)]))
        if kind in INTEGER_BITS and draw(st.booleans()):
            more |= {"scale": 1.0, "offset": 0.0, "range": None}
            more["lookup"] = ((0, 1), (1, 2.5), *draw(st.sampled_from([(), ((None, 9),)])))
        if draw(st.booleans()):
            more["enum"] = (0, 1, 2, 3)
        points.append(point(f"p{number}", draw(st.integers(0, LENGTH - words)), **more))
    return points


FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False), st.integers(-5000, 5000).map(lambda n: n / 10)
)
REGISTERS = st.one_of(
    st.lists(
        st.one_of(st.integers(0, 3), st.integers(0, 0xFFFF)), min_size=LENGTH, max_size=LENGTH
    ),
    st.lists(FLOATS, min_size=LENGTH // 2, max_size=LENGTH // 2).map(
        lambda values: struct.unpack(f">{LENGTH}H", struct.pack(f">{LENGTH // 2}f", *values))
    ),
)


def alone(p, wire):
    """The plain definition: the point's own bytes in order, as its type reads them."""
    size = 2 * (p.end - p.address)
    raw = wire[2 * p.address : 2 * p.end]
    if p.type in ("count", "any"):
        swapped = byte_order(2, p.order)
        registers = [bytes(raw[i + j] for j in swapped) for i in range(0, size, 2)]
        return conversion(p)(sum(int.from_bytes(r) in p.equals for r in registers))
    big = bytes(raw[i] for i in byte_order(size, p.order))
    if p.type in ("f32", "f64"):
        return conversion(p)(struct.unpack(">f" if size == 4 else ">d", big)[0])
    return conversion(p)(int.from_bytes(big, signed=p.type in ("i16", "i32", "i64")))


@given(points_of_a_block(), REGISTERS)
def test_a_block_decodes_like_its_points_alone(points, registers):
    wire = struct.pack(f">{LENGTH}H", *registers)
    decoded = Decoder(points, start=0).decode(wire)
    expected = [alone(p, wire) for p in points]
    qualities = decoded.qualities or [GOOD] * len(points)
    assert qualities == [quality for _, quality in expected]
    for found, (value, quality) in zip(decoded.values, expected, strict=True):
        assert (math.isnan(found) and quality == BAD) or repr(found) == repr(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_32_bit_float_becomes_its_shortest_decimal(value):
    found = shortest(value)
    assert struct.pack(">f", found) == struct.pack(">f", value)
    digits = len(Decimal(repr(found)).normalize().as_tuple().digits)
    whole = 2**24 <= abs(value) < 2**53
    assert whole or digits <= 9
    for fewer in range(1, 0 if whole else digits):
        near = float(f"{value:.{fewer}g}")
        assert abs(near) > 3.4e38 or struct.pack(">f", near) != struct.pack(">f", value)


@pytest.mark.parametrize(("value", "text"), [(0.1, "0.1"), (230.4, "230.4"), (1e-7, "1e-07")])
def test_a_float_in_its_range_is_written_as_the_display_showed_it(value, text):
    decoder = Decoder([point(type="f32", range=(0.0, 600.0))], start=0)
    assert repr(decoder.decode(struct.pack(">f", value)).values[0]) == text


# 0x0102030405060708 as devices of each order put it on the wire.
@pytest.mark.parametrize(
    ("order", "wire"),
    [
        ("ABCD", "0102030405060708"),
        ("BADC", "0201040306050807"),
        ("CDAB", "0708050603040102"),
        ("DCBA", "0807060504030201"),
        ("CDABGHEF", "0304010207080506"),
        ("DCBAHGFE", "0403020108070605"),
        ("EFGHABCD", "0506070801020304"),
        ("FEHGBADC", "0605080702010403"),
    ],
)
def test_64_bit_orders(order, wire):
    assert decoded("u64", wire, order=order) == (0x0102030405060708, GOOD)


@pytest.mark.parametrize(
    ("kind", "more", "wire", "value"),
    [
        ("u8", {"high": True}, "12FE", 0x12),
        ("u8", {}, "12FE", 0xFE),
        ("i8", {}, "12FE", -2),
        ("i8", {"order": "BADC"}, "FE12", -2),
        ("bcd16", {}, "1234", 1234),
        ("bcd32", {"order": "CDAB", "scale": 0.1}, "56781234", 1234567.8),
        ("bcd64", {}, "0000000012345678", 12345678),
        ("bits", {"bit": 4, "bits": 4}, "A57C", 7),
        ("bit", {"bit": 20, "words": 2, "order": "CDAB"}, "00000010", 1),
    ],
)
def test_parts_of_registers_and_decimal_digits(kind, more, wire, value):
    assert decoded(kind, wire, **more) == (value, GOOD)


def test_an_invalid_decimal_digit_is_bad():
    value, quality = decoded("bcd16", "12A4")
    assert math.isnan(value) and quality == BAD


def test_a_map_gives_the_value_of_a_code_and_an_unknown_code_is_bad_unless_it_says_else():
    known = ((1, 10), (2, 20))
    assert decoded("u16", "0002", lookup=known) == (20, GOOD)
    assert decoded("u16", "0003", lookup=known)[1] == BAD
    assert decoded("u16", "0003", lookup=(*known, (None, 5))) == (5, GOOD)
    assert decoded("u16", "0002", lookup=known, range=(0.0, 15.0)) == (20, UNCERTAIN)


def test_a_count_over_a_panel_is_read_in_parts_and_any_needs_one():
    wire = struct.pack(">10H", 1, 0, 1, 2, 0, 0, 9, 1, 0, 0)
    assert decoded("count", wire.hex(), words=10, equals=(1,)) == (3, GOOD)
    assert decoded("count", wire.hex(), words=10, equals=(2, 9)) == (2, GOOD)
    assert decoded("any", wire.hex(), words=10, equals=(9,)) == (1, GOOD)
    assert decoded("any", wire.hex(), words=10, equals=(7,)) == (0, GOOD)
    parts = in_parts(point(type="count", words=10, equals=(1,)), 4)
    assert [(p.address, p.end, p.parts) for p in parts] == [
        (0, 4, (0, 3)),
        (4, 8, (1, 3)),
        (8, 10, (2, 3)),
    ]
    extras = [
        Decoder([p], start=p.address).decode(wire[2 * p.address : 2 * p.end]).extra for p in parts
    ]
    assert [part.matched for extra in extras for part in extra.parts] == [2, 1, 0]


@pytest.mark.parametrize(
    ("encoding", "order", "raw", "text"),
    [
        ("ascii", "ABCD", b"CR 64-2 \0x", "CR 64-2"),
        ("ascii", "BADC", b"RC6 -4 2", "CR 64-2"),
        ("gb18030", "ABCD", "循环泵1".encode("gb18030") + b"\0", "循环泵1"),
        ("utf-8", "ABCD", "泵".encode() + b" ", "泵"),
        ("ascii", "ABCD", b"\xff\xff\xff\xff", None),
        ("ascii", "ABCD", b"\x01\x02ab", None),
        ("ascii", "ABCD", b"\0\0\0\0", ""),
    ],
)
def test_a_text_is_read_up_to_its_nul_or_not_at_all(encoding, order, raw, text):
    label = point("model", type="string", words=len(raw) // 2, encoding=encoding, order=order)
    pump = point("flow", len(raw) // 2)
    found = Decoder([label, pump], start=0).decode(raw + b"\0\x07")
    assert found.values == [7]
    assert found.extra.texts == {"model": text}


def decoded(kind, wire, **more):
    bit = more.pop("bit", 0 if kind == "bit" else None)
    found = Decoder([point(type=kind, bit=bit, **more)], start=0).decode(bytes.fromhex(wire))
    return found.values[0], found.qualities[0] if found.qualities else GOOD
