"""Frames of MEOKON (铭控) wireless terminals, "智能无线终端通讯协议 V3.0" section 2.

Everything is big-endian. CRC-16/MODBUS covers all from A55A to the last record and is sent high
byte first. Only the widths of types 0, 1 and 2 (pressure, one signed 16-bit sensor) are known;
of the hydrant terminals 24 and 34 the head with its alarms is read, their pressure is not.
"""

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from pms_edge.clock import NS
from pms_edge.decode.decoder import Raw
from pms_edge.mqtt_in.messages import MalformedError

# Start, command, length, id, battery, rssi, interval s, records, type, alarms.
_HEAD = struct.Struct(">HBH12sBbHHBB")
_TAIL = struct.Struct(">HH")
# Lower limit, upper limit, live value, time of the last record (UTC, s).
_PRESSURE = struct.Struct(">hhhI")
START, END = 0xA55A, 0x55AA
UPLOAD = 0x00

# kPa of one count: type 0 counts 0.1 kPa, 1 0.001 MPa, 2 0.01 bar (table 2).
COUNTS_PER_KPA = {0: 10, 1: 1, 2: 1}
HYDRANTS = frozenset({24, 34})
_ALARMS = ("low", "high", "battery", "sensor", "hardware")
_HYDRANT_ALARMS = {"impact": 5, "tilt": 6, "discharge": 7}
# Names that a mapping may use as `path`.
FIELDS = frozenset(
    {"pressure_kpa", "limit_low_kpa", "limit_high_kpa", "battery", "external_power", "rssi"}
    | {f"alarm_{name}" for name in (*_ALARMS, *_HYDRANT_ALARMS)}
)


class Frame(NamedTuple):
    """`values` by the names in FIELDS, pressures in kPa, battery in %, rssi in dBm, alarms 0 or 1.

    `records` are the kept pressures, oldest first, with the instants at which they were measured.
    """

    id: str
    values: Mapping[str, Raw]
    records: tuple[tuple[int, Raw], ...]


def frame_bytes(payload: bytes) -> bytes:
    """The frame itself: devices send it as bytes or as hexadecimal text."""
    if payload[:2] == b"\xa5\x5a":
        return payload
    text = b"".join(payload.split())
    if not re.fullmatch(rb"([0-9A-Fa-f]{2})+", text):
        raise MalformedError("meokon_not_a_frame")
    return bytes.fromhex(text.decode("ascii"))


def decode(payload: bytes) -> Frame:
    """Raises MalformedError for whatever is not one whole upload frame of a known type."""
    frame = frame_bytes(payload)
    if len(frame) < _HEAD.size + _TAIL.size:
        raise MalformedError("meokon_short", f"{len(frame)} bytes")
    start, command, length, name, battery, rssi, interval, count, kind, alarms = _HEAD.unpack_from(
        frame
    )
    crc, end = _TAIL.unpack_from(frame, len(frame) - _TAIL.size)
    if (start, end) != (START, END) or length != len(frame):
        raise MalformedError("meokon_not_a_frame", f"says {length} bytes, has {len(frame)}")
    if crc != crc16(frame[: -_TAIL.size]):
        raise MalformedError("meokon_crc")
    if command != UPLOAD or not (kind in COUNTS_PER_KPA or kind in HYDRANTS):
        raise MalformedError("meokon_unknown_type", f"command {command} type {kind}")
    values = {**_power(battery), "rssi": rssi, **_alarms(alarms, kind)}
    measured, records = _pressure(frame, kind, interval, count)
    return Frame(name.decode("ascii", "replace").strip("\0 "), {**values, **measured}, records)


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial 8005 reflected, start FFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def _power(battery: int) -> dict[str, Raw]:
    """Table 1. A count above 20 would be more than full: it is left out."""
    percent = (battery & 0x1F) * 5
    known: dict[str, Raw] = {"battery": percent} if percent <= 100 else {}
    return {**known, "external_power": battery >> 7}


def _alarms(alarms: int, kind: int) -> dict[str, Raw]:
    """Table 3 with its notes: bits 5 to 7 mean something else at a hydrant."""
    found: dict[str, Raw] = {f"alarm_{name}": alarms >> b & 1 for b, name in enumerate(_ALARMS)}
    if kind == 34:
        found["alarm_discharge"] = alarms >> 7 & 1
    if kind == 24:
        found |= {f"alarm_{name}": alarms >> bit & 1 for name, bit in _HYDRANT_ALARMS.items()}
    return found


def _pressure(
    frame: bytes, kind: int, interval_s: int, count: int
) -> tuple[dict[str, Raw], tuple[tuple[int, Raw], ...]]:
    if kind in HYDRANTS:
        return {}, ()
    room = len(frame) - _HEAD.size - _PRESSURE.size - _TAIL.size
    if room != 2 * count:
        raise MalformedError("meokon_records", f"says {count}, has {room} bytes of them")
    low, high, live, last_s = _PRESSURE.unpack_from(frame, _HEAD.size)
    counts = struct.unpack_from(f">{count}h", frame, _HEAD.size + _PRESSURE.size)
    per_kpa = COUNTS_PER_KPA[kind]
    limits = {"limit_low_kpa": low / per_kpa, "limit_high_kpa": high / per_kpa}
    if interval_s == 0:  # then records have no instants of their own, but the last one has
        counts = counts[-1:]
    first_s = last_s - (len(counts) - 1) * interval_s
    records = tuple(
        ((first_s + i * interval_s) * NS, counted / per_kpa) for i, counted in enumerate(counts)
    )
    return {"pressure_kpa": live / per_kpa, **limits}, records
