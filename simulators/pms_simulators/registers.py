"""Register maps: physical values to 16-bit big-endian holding registers, u32 high word first."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pms_simulators.signals import gauss, stream

Type = Literal["i16", "u16", "u32", "bit"]
_RANGE: dict[str, tuple[int, int]] = {
    "i16": (-32768, 32767),
    "u16": (0, 65535),
    "u32": (0, 0xFFFFFFFF),
    "bit": (0, 1),
}


@dataclass(frozen=True)
class Field:
    """One point: value = raw * scale. `sigma` is the sensor's noise in engineering units."""

    at: int
    key: str
    type: Type
    scale: float = 1.0
    sigma: float = 0.0
    bit: int = 0

    def raw(self, value: float) -> int:
        """The nearest raw value inside the type's range."""
        low, high = _RANGE[self.type]
        return min(high, max(low, round(value / self.scale)))

    @property
    def width(self) -> int:
        return 2 if self.type == "u32" else 1


def bits(at: int, names: str) -> Iterator[Field]:
    """Bit fields of one status word, names in order from b0."""
    for number, key in enumerate(names.split()):
        yield Field(at, key, "bit", bit=number)


def float32_words(value: float) -> tuple[int, int]:
    """IEEE 754 single as two registers, high word first (ABCD)."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


class Meter:
    """Reads a machine as its sensors do: noise per point and step, then resolution."""

    def __init__(self, fields: tuple[Field, ...], seed: int, asset: str) -> None:
        self._fields = tuple((f, stream(seed, asset, "sensor", f.key)) for f in fields)
        self.size = max(f.at + f.width for f in fields)

    def raws(
        self, values: Mapping[str, float], frozen: frozenset[str], step: int
    ) -> Iterator[tuple[Field, int]]:
        """Raw value per field at a step. Frozen points, zeros and NaN get no noise."""
        for field, key in self._fields:
            value = values[field.key]
            if field.sigma and value and field.key not in frozen:
                value += field.sigma * gauss(key, step)
            yield field, 0 if math.isnan(value) else field.raw(value)


def write_raw(field: Field, raw: int, into: list[int]) -> None:
    """Puts one raw value into a block of registers that starts at address 0."""
    if field.type == "bit":
        mask = 1 << field.bit
        into[field.at] = into[field.at] | mask if raw else into[field.at] & ~mask
    elif field.type == "u32":
        into[field.at], into[field.at + 1] = raw >> 16, raw & 0xFFFF
    else:
        into[field.at] = raw & 0xFFFF
