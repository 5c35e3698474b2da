"""Raw values: types, word order, bits, limits."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from pms_simulators.registers import Field, bits, float32_words, write_raw


def written(field, value, size=4):
    into = [0] * size
    write_raw(field, field.raw(value), into)
    return into


def test_u32_puts_the_high_word_first():
    assert written(Field(1, "x", "u32"), 0x12345678) == [0, 0x1234, 0x5678, 0]


def test_i16_is_twos_complement_and_scaled():
    assert written(Field(0, "x", "i16", 0.001), -1.75)[0] == 0x10000 - 1750


def test_values_outside_the_type_are_limited():
    assert written(Field(0, "x", "u16"), -3)[0] == 0
    assert written(Field(0, "x", "u16"), 1e9)[0] == 0xFFFF
    assert written(Field(0, "x", "i16"), -1e9)[0] == 0x8000


def test_bits_are_numbered_from_the_lowest_and_do_not_touch_their_neighbours():
    a, b, c = bits(2, "a b c")
    into = [0, 0, 0b110, 0]
    write_raw(a, 1, into)
    write_raw(b, 0, into)
    assert into[2] == 0b101
    assert c.bit == 2


@given(st.floats(width=32, allow_nan=False))
def test_float32_is_abcd(value):
    high, low = float32_words(value)
    assert struct.unpack(">f", struct.pack(">HH", high, low))[0] == value
