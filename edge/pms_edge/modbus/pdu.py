"""Requests and the one answer that each may have (MODBUS Application Protocol V1.1b3, chapter 6).

A body is the unit followed by the PDU: what Modbus TCP puts after its length field and Modbus RTU
before its CRC.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pms_edge.modbus.errors import GATEWAY_CODES, NoReplyError, RefusedError

READ_FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
MAX_READ = {"coil": 2000, "discrete": 2000, "holding": 125, "input": 125}  # 6.1 to 6.4
MAX_WRITE = {"coil": 1968, "holding": 123}  # 6.11 and 6.12
EXCEPTION = 0x80
EXCEPTION_SIZE = 3  # unit, function with the high bit set, code

_FOUR = struct.Struct(">BBHH")
_MANY = struct.Struct(">BBHHB")
_BITS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]


class Request(NamedTuple):
    """`body` to send; its answer's body has `size` bytes and begins with `head`."""

    body: bytes
    head: bytes
    size: int
    bits: int = 0  # how many bits were asked for; 0 for registers


@lru_cache(8192)  # the same few requests are sent for ever
def read_request(unit: int, kind: str, address: int, count: int) -> Request:
    """Function codes 1 to 4. Raises ValueError when the specification does not allow it."""
    _check(unit, kind, address, count, READ_FUNCTIONS, MAX_READ)
    function = READ_FUNCTIONS[kind]
    bits = count if function < 3 else 0
    size = (count + 7) // 8 if bits else 2 * count
    body = _FOUR.pack(unit, function, address, count)
    return Request(body, bytes((unit, function, size)), 3 + size, bits)


def write_request(unit: int, kind: str, address: int, values: Sequence[int]) -> Request:
    """Function code 5 or 6 for one value, 15 or 16 for more; registers as 0 to 65535, coils 0 or 1.

    Raises ValueError when the specification does not allow it.
    """
    _check(unit, kind, address, len(values), MAX_WRITE, MAX_WRITE)
    top = 1 if kind == "coil" else 0xFFFF
    if not all(0 <= value <= top for value in values):
        raise ValueError(f"a {kind} holds 0 to {top}, not {list(values)}")
    if len(values) == 1:
        return _write_one(unit, kind, address, values[0])
    content = _packed_bits(values) if kind == "coil" else struct.pack(f">{len(values)}H", *values)
    function = 15 if kind == "coil" else 16
    body = _MANY.pack(unit, function, address, len(values), len(content)) + content
    return Request(body, body[:6], 6)


def answer_of(request: Request, body: bytes) -> bytes:
    """The registers (two bytes each, big-endian) or bits (one byte each) that were asked for.

    Raises RefusedError, or NoReplyError when `body` is not an answer to exactly this request.
    """
    if len(body) != request.size or not body.startswith(request.head):
        raise _why_not(request, body)
    if request.bits:
        return b"".join([_BITS[byte] for byte in body[3:]])[: request.bits]
    return body[3:]


def _why_not(request: Request, body: bytes) -> NoReplyError | RefusedError:
    unit, function = request.body[0], request.body[1]
    if len(body) < EXCEPTION_SIZE:
        return NoReplyError(f"reply of {len(body)} bytes", "length")
    if body[0] != unit:
        return NoReplyError(f"unit {body[0]} answered for unit {unit}", "unit")
    if body[1] == function | EXCEPTION and len(body) == EXCEPTION_SIZE:
        code = body[2]
        if code in GATEWAY_CODES:
            return NoReplyError(
                f"gateway: unit {unit} does not answer (exception {code})", "gateway"
            )
        return RefusedError(code)
    if body[1] & ~EXCEPTION != function:
        return NoReplyError(f"function {body[1]} answered for {function}", "function")
    if len(body) != request.size or function < 5:
        return NoReplyError(f"reply of {len(body)} bytes, not {request.size}", "length")
    return NoReplyError("another address or value was confirmed", "echo")


def _write_one(unit: int, kind: str, address: int, value: int) -> Request:
    function, wire = (5, 0xFF00 * value) if kind == "coil" else (6, value)
    body = _FOUR.pack(unit, function, address, wire)
    return Request(body, body, len(body))


def _packed_bits(values: Sequence[int]) -> bytes:
    whole = sum(value << place for place, value in enumerate(values))
    return whole.to_bytes((len(values) + 7) // 8, "little")


def _check(
    unit: int,
    kind: str,
    address: int,
    count: int,
    kinds: dict[str, int],
    most: dict[str, int],
) -> None:
    if kind not in kinds:
        raise ValueError(f"{kind!r} is not one of {', '.join(kinds)}")
    if not 0 <= unit <= 255:
        raise ValueError(f"unit {unit} is not 0 to 255")
    if not 1 <= count <= most[kind]:
        raise ValueError(f"{count} is not 1 to {most[kind]} of kind {kind}")
    if not 0 <= address <= 65536 - count:
        raise ValueError(f"{count} from address {address} are not within 0 to 65535")
