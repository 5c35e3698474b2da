"""A device that answers what a script says, when it says so, in the pieces that it says.

Frames are made with struct and pymodbus's CRC, not with the code under test.
"""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from pms_edge.config.gateway_file import Address
from pymodbus.framer import FramerRTU

# Seconds after the request, and what is sent then; None hangs up.
Reply = Sequence[tuple[float, bytes | None]]
# By number of the request (from 0) and its frame.
Script = Callable[[int, bytes], Reply]

TCP_REQUEST, RTU_REQUEST = 12, 8  # bytes of a read


class EvilDevice(asyncio.Protocol):
    def __init__(self, script: Script, request_size: int) -> None:
        self.script, self.size = script, request_size
        self.requests: list[bytes] = []
        self.connections = 0
        self._received = b""
        self.say: Callable[[bytes], object] = lambda _: None
        self._hang_up: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.connections += 1
        self._received = b""
        self.say, self._hang_up = transport.write, transport.abort

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= self.size:
            request, self._received = self._received[: self.size], self._received[self.size :]
            self.requests.append(request)
            for delay_s, piece in self.script(len(self.requests) - 1, request):
                self._later(delay_s, piece)

    def _later(self, delay_s: float, piece: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        if piece is None:
            loop.call_later(delay_s, self._hang_up)
        elif delay_s:
            loop.call_later(delay_s, self.say, piece)
        else:
            self.say(piece)

    def read_from(self, fd: int) -> None:
        """Serves a serial line instead of TCP."""
        self.say = lambda piece: os.write(fd, piece)
        asyncio.get_running_loop().add_reader(fd, lambda: self.data_received(os.read(fd, 4096)))


@asynccontextmanager
async def listening(script: Script, request_size: int) -> AsyncIterator[tuple[EvilDevice, Address]]:
    device = EvilDevice(script, request_size)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: device, "127.0.0.1", 0)
    yield device, Address("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()


@asynccontextmanager
async def on_a_line(script: Script) -> AsyncIterator[tuple[EvilDevice, str]]:
    """On the far end of a pseudo-terminal; gives the path of the near one."""
    device = EvilDevice(script, RTU_REQUEST)
    far, near = os.openpty()
    device.read_from(far)
    yield device, os.ttyname(near)
    asyncio.get_running_loop().remove_reader(far)
    os.close(near)
    os.close(far)


def registers_of(start: int, count: int) -> bytes:
    """Register a holds a, so that a value tells where it is from."""
    return struct.pack(f">{count}H", *range(start, start + count))


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def rtu_answer(request: bytes) -> bytes:
    """The right answer to a read of holding registers."""
    unit, function, start, count, _ = struct.unpack(">BBHHH", request)
    return rtu(unit, bytes((function, 2 * count)) + registers_of(start, count))


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def tcp_answer(request: bytes, transaction: int | None = None) -> bytes:
    number, _, _, unit, function, start, count = struct.unpack(">HHHBBHH", request)
    pdu = bytes((function, 2 * count)) + registers_of(start, count)
    return tcp(number if transaction is None else transaction, unit, pdu)


def in_single_bytes(frame: bytes, apart_s: float = 0.002) -> Reply:
    return [(n * apart_s, frame[n : n + 1]) for n in range(len(frame))]
