"""Frames of GB/T 26875.3-2011 (clause 6.6): splitting a byte stream, and building frames.

`@@`, control unit of 25 bytes (serial, version, time, source, target, length, command), application
data of at most 1024 bytes, sum of both modulo 256, `##`. Numbers are sent low byte first.
"""

import struct
from typing import NamedTuple

START, END = b"@@", b"##"
CONTROL = struct.Struct("<H2s6s6s6sHB")  # 25 bytes: those numbered 3 to 27 in the standard
HEAD_BYTES, TAIL_BYTES = 2 + CONTROL.size, 3
MAX_DATA_BYTES = 1024
MAX_FRAME_BYTES = HEAD_BYTES + MAX_DATA_BYTES + TAIL_BYTES
VERSION = b"\x01\x01"

CONTROL_COMMAND, SEND, CONFIRM, REQUEST, ANSWER, DENY = range(1, 7)


class Frame(NamedTuple):
    """`source` and `target` as twelve hexadecimal digits, highest byte first; `time` as sent."""

    serial: int
    time: bytes
    source: str
    target: str
    command: int
    data: bytes = b""
    version: bytes = VERSION

    def encode(self) -> bytes:
        """The bytes on the wire. Raises ValueError when the application data is too long."""
        if len(self.data) > MAX_DATA_BYTES:
            raise ValueError(f"{len(self.data)} bytes of application data, at most 1024 allowed")
        source, target = (bytes.fromhex(a)[::-1] for a in (self.source, self.target))
        control = CONTROL.pack(
            self.serial, self.version, self.time, source, target, len(self.data), self.command
        )
        return START + control + self.data + bytes([_sum(control + self.data)]) + END


class Damaged(NamedTuple):
    """A start and an end where they belong, but the sum is wrong; `frame` is what it claims."""

    frame: Frame


class FrameSplitter:
    """Takes a stream apart; what is no frame is passed over and counted in `garbage_bytes`.

    Holds at most one frame's worth of bytes that may still become a frame.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.garbage_bytes = 0
        self.oversized = 0

    @property
    def waiting(self) -> bool:
        """Whether bytes are held that may be the beginning of a frame."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> list[Frame | Damaged]:
        """The frames that `chunk` completes, in order."""
        self._buffer += chunk
        return self._complete()

    def give_up(self) -> list[Frame | Damaged]:
        """What is held is no frame after all: looks for frames behind its start."""
        found: list[Frame | Damaged] = []
        while self._buffer:
            self._pass_over(1)
            found += self._complete()
        return found

    def _complete(self) -> list[Frame | Damaged]:
        found: list[Frame | Damaged] = []
        while self._seek_start():
            length = self._claimed()
            if length is None or len(self._buffer) < length:
                break
            frame = _frame(self._buffer[:length]) if length else None
            if frame is not None:
                found.append(frame)
            if isinstance(frame, Frame):
                del self._buffer[:length]
            else:
                self._pass_over(1)
        return found

    def _seek_start(self) -> bool:
        at = self._buffer.find(START)
        if at < 0:
            at = len(self._buffer) - self._buffer.endswith(START[:1])
        self._pass_over(at)
        return len(self._buffer) >= len(START)

    def _claimed(self) -> int | None:
        """Bytes of the frame that seems to begin here; 0 when none can, None when not yet known."""
        if len(self._buffer) < HEAD_BYTES:
            return None
        length = int.from_bytes(self._buffer[24:26], "little")
        if length > MAX_DATA_BYTES:
            self.oversized += 1
            return 0
        return HEAD_BYTES + length + TAIL_BYTES

    def _pass_over(self, count: int) -> None:
        del self._buffer[:count]
        self.garbage_bytes += count


def _frame(wire: bytes | bytearray) -> Frame | Damaged | None:
    if wire[-2:] != END:
        return None
    body = bytes(wire[2:-TAIL_BYTES])
    serial, version, time, source, target, _, command = CONTROL.unpack(body[: CONTROL.size])
    data = body[CONTROL.size :]
    frame = Frame(serial, time, _address(source), _address(target), command, data, version)
    return frame if _sum(body) == wire[-TAIL_BYTES] else Damaged(frame)


def _sum(body: bytes) -> int:
    return sum(body) & 0xFF


def _address(wire: bytes) -> str:
    return wire[::-1].hex()
