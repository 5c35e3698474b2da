"""Values to registers: the way back of `decode`."""

import math
import struct

from pms_edge.decode.decoder import FORMATS, Decoder, byte_order
from pms_edge.profiles.points import Point

STEP = 1e-6  # how far from a whole raw number a value may lie


def encode(point: Point, value: float) -> bytes:
    """`value` in engineering units as the wire has it: registers big-endian, or one byte of a coil.

    Raises ValueError for what the register cannot hold, also between two of its steps.
    """
    if point.type == "bit":
        if value not in (0, 1):
            raise ValueError(f"a coil is 0 or 1, not {value}")
        return bytes([int(value)])
    try:
        plain = struct.pack(">" + FORMATS[point.type], _raw(point, value))
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value} does not fit {point.type}") from error
    wire = bytearray(len(plain))
    for byte, place in zip(plain, byte_order(len(plain), point.order), strict=True):
        wire[place] = byte
    return bytes(wire)


def decode_one(point: Point, wire: bytes) -> float | None:
    """The value as a reader of `point` would see it; None when it is none."""
    value = Decoder([point], start=point.address).decode(wire).values[0]
    return None if math.isnan(value) else value


def registers(point: Point, wire: bytes) -> list[int]:
    """What a write request carries: registers, or the one coil."""
    return list(wire) if point.type == "bit" else list(struct.unpack(f">{len(wire) // 2}H", wire))


def _raw(point: Point, value: float) -> float:
    plain = (point.scale, point.offset) == (1, 0)  # and exact for 64 bits
    exact = value if plain else (value - point.offset) / point.scale
    if point.type in ("f32", "f64"):
        return float(exact)
    whole = round(exact)
    if abs(exact - whole) > STEP * max(1.0, abs(exact)):
        raise ValueError(f"{value} lies between two steps of {point.scale:g}")
    return whole
