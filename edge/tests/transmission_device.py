"""A scripted user information transmission device; its encoder shares nothing with the agent's."""

import socket
import struct
import time
from datetime import UTC, datetime, timedelta

ADDRESS = "010203040506"
CENTRE = bytes.fromhex("385b01000000")
FIRE, FAULT, NORMAL = 2, 4, 1


def stamp(at: datetime | None = None) -> bytes:
    t = (at or datetime.now(UTC)) + timedelta(hours=8)
    return bytes((t.second, t.minute, t.hour, t.day, t.month, t.year - 2000))


def frame(
    data: bytes = b"",
    *,
    serial: int = 0,
    command: int = 2,
    source: str = ADDRESS,
    sent: datetime | None = None,
) -> bytes:
    address = bytes(reversed(bytes.fromhex(source)))
    head = struct.pack("<H", serial) + b"\1\1" + stamp(sent) + address + CENTRE
    body = head + struct.pack("<HB", len(data), command) + data
    return b"@@" + body + bytes([sum(body) % 256]) + b"##"


def component(
    bits: int,
    *,
    kind: int = 42,
    zone: int = 1,
    point: int = 18,
    text: str = "3层走廊烟感",
    at: datetime | None = None,
) -> bytes:
    described = text.encode("gb18030").ljust(31, b"\0")
    fields = struct.pack("<BBBHHH", 1, 1, kind, zone, point, bits)
    return b"\2\1" + fields + described + stamp(at)


def system(bits: int, *, at: datetime | None = None) -> bytes:
    return b"\1\1" + struct.pack("<BBH", 1, 1, bits) + stamp(at)


def analog(value: int, *, kind: int = 5, point: int = 1) -> bytes:
    return b"\3\1" + struct.pack("<BBBHHBh", 1, 1, 99, 1, point, kind, value) + stamp()


def device_state(bits: int) -> bytes:
    return b"\x15\1" + bytes([bits]) + stamp()


def operation(bits: int) -> bytes:
    """At the panel."""
    return b"\4\1\1\1" + bytes([bits, 1]) + stamp()


def key(bits: int) -> bytes:
    """At the transmission device itself."""
    return b"\x18\1" + bytes([bits, 1]) + stamp()


def _read(kind: int) -> bytes:
    """At rest."""
    return device_state(NORMAL) if kind == 81 else system(NORMAL)


class Answer:
    def __init__(self, wire: bytes) -> None:
        assert wire[:2] == b"@@" and wire[-2:] == b"##", wire.hex()
        assert sum(wire[2:-3]) % 256 == wire[-3], wire.hex()
        self.serial, self.command = struct.unpack_from("<H", wire, 2)[0], wire[26]
        self.source, self.target, self.data = wire[12:18], wire[18:24], wire[27:-3]


class Device:
    """Answers what it is asked; `answers` are the confirmations and denials of what it sent."""

    def __init__(
        self, port: int, *, udp: bool = False, source: str = ADDRESS, small_window: bool = False
    ) -> None:
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, kind)
        if small_window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect(("127.0.0.1", port))
        self.source, self.commands, self._held = source, list[Answer](), b""

    def send(self, wire: bytes) -> None:
        self.socket.sendall(wire)

    def report(self, data: bytes = b"", *, serial: int = 0, timeout_s: float = 15) -> Answer:
        """Sends once and waits for the answer."""
        self.send(frame(data, serial=serial, source=self.source))
        return self.answer(timeout_s)

    def answer(self, timeout_s: float = 15) -> Answer:
        """The next confirmation or denial; commands that come before it are obeyed."""
        deadline = time.monotonic() + timeout_s
        while True:
            got = self._next(deadline)
            if got.command in (3, 6):
                return got
            self._obey(got)

    def command(self, kind: int, timeout_s: float = 15) -> Answer:
        """The next command or request of that type."""
        deadline = time.monotonic() + timeout_s
        while True:
            for got in self.commands:
                if got.data[0] == kind:
                    self.commands.remove(got)
                    return got
            self._obey(self._next(deadline))

    def is_closed_by_peer(self, timeout_s: float = 15) -> bool:
        self.socket.settimeout(timeout_s)
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        self.socket.close()

    def _obey(self, got: Answer) -> None:
        self.commands.append(got)
        answer, data = (3, b"") if got.command == 1 else (5, _read(got.data[0]))
        self.send(frame(data, serial=got.serial, command=answer, source=self.source))

    def _next(self, deadline: float) -> Answer:
        while len(self._held) < 30 or len(self._held) < self._length():
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            chunk = self.socket.recv(4096)
            assert chunk, "closed by the agent"
            self._held += chunk
        length = self._length()
        wire, self._held = self._held[:length], self._held[length:]
        return Answer(wire)

    def _length(self) -> int:
        return 30 + struct.unpack_from("<H", self._held, 24)[0]
