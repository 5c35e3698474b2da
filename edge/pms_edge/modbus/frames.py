"""Frames around a body (unit and PDU): Modbus TCP's header, Modbus RTU's CRC.

MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3; MODBUS over Serial Line V1.02, 2.5.1.
"""

import struct

from pms_edge.modbus.errors import NoReplyError
from pms_edge.modbus.pdu import EXCEPTION, EXCEPTION_SIZE, Request

_HEADER = struct.Struct(">HHH")
_LENGTHS = range(3, 255)  # unit and PDU: an exception's 3 bytes up to 254


def tcp_frame(transaction: int, body: bytes) -> bytes:
    return _HEADER.pack(transaction, 0, len(body)) + body


def take_tcp(received: bytes) -> tuple[int, bytes, bytes] | None:
    """The first frame's transaction and body, and the bytes after it; None: it is not whole yet.

    Raises NoReplyError when this is no Modbus TCP, so that no frame's end can be told.
    """
    if len(received) < 6:
        return None
    transaction, protocol, length = _HEADER.unpack_from(received)
    if protocol or length not in _LENGTHS:
        raise NoReplyError(f"no Modbus TCP frame: {received[:8].hex(' ')}", "frame")
    end = 6 + length
    if len(received) < end:
        return None
    return transaction, received[6:end], received[end:]


def _crc_table() -> list[int]:
    table: list[int] = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _crc_table()


def crc16(content: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first as on the wire."""
    crc = 0xFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def rtu_frame(body: bytes) -> bytes:
    return body + crc16(body)


def take_rtu(request: Request, received: bytes) -> bytes | None:
    """The body of the answer; None: it is not whole yet.

    RTU frames carry no length: the end is where the answer to `request`, or an exception, would
    end. Raises NoReplyError when more was received or the CRC is wrong.
    """
    size = request.size
    if len(received) > 1 and received[1] == request.body[1] | EXCEPTION:
        size = EXCEPTION_SIZE
    if len(received) < size + 2:
        return None
    if len(received) > size + 2:
        raise NoReplyError(f"{len(received)} bytes, not {size + 2}", "length")
    return _unwrapped(received)


def cut_short(received: bytes) -> bytes:
    """The body of what there was when the time was over: a whole frame, but of another length.

    Raises NoReplyError when it is not even that.
    """
    if not received:
        raise NoReplyError("no reply in time", "timeout")
    if len(received) < EXCEPTION_SIZE + 2:
        raise NoReplyError(f"only {len(received)} bytes in time", "length")
    return _unwrapped(received)


def _unwrapped(frame: bytes) -> bytes:
    body = frame[:-2]
    if crc16(body) != frame[-2:]:
        raise NoReplyError(f"wrong CRC after {len(body)} bytes", "crc")
    return body
