"""A Modbus server that misbehaves on purpose and writes down what it served. A program of its own.

Holding registers only, over Modbus TCP and RTU over TCP. Every value names itself: unit, point and how
many good replies the unit had given before, so that whatever is stored anywhere can be traced to one reply.
What a bad reply carries is marked, and none of it may ever be stored.

Ledger, one line per request: `at_ns what unit start count seq`; `what` is `good` for a well-formed reply
in time, whose seq its values carry, else the name of the misbehaviour.
"""

import argparse
import asyncio
import random
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

POINTS = 10
POINT_WORDS = 4
BLOCK_POINTS = 5  # from a spread unit these many lie together, the rest at SECOND_BLOCK
SECOND_BLOCK = 200
HOLE = 40  # an address that a unit with a hole refuses
UNUSED = 0xDEAD
UNIT, POINT, SEQ = 10**13, 10**11, 10**11
EVIL = 5 * 10**15  # still exact as a float: below 2**53

PLAIN_UNITS = (1, 2, 3, 4)  # 4 has a hole
EVIL_UNITS = (11, 12, 13, 14)
RTU_UNITS = (21, 22)  # both misbehave
HOLED = {4}
SPREAD = {13, 14, *RTU_UNITS}  # two reads of the same shape: what is late could pass for the other

TCP_MENU = (
    *("late", "short", "truncated", "long", "garbage", "other_unit", "other_transaction"),
    *("wrong_function", "exception", "busy", "gateway", "silent", "reset", "half_open", "twice"),
)
RTU_MENU = (
    *("late", "short", "truncated", "long", "garbage", "other_unit", "bad_crc"),
    *("wrong_function", "exception", "busy", "silent", "reset"),
)
EXCEPTIONS = {"exception": 4, "busy": 6, "gateway": 11}


def encode(unit: int, point: int, seq: int, *, evil: bool = False) -> int:
    return unit * UNIT + point * POINT + seq + (EVIL if evil else 0)


def address_of(unit: int, point: int) -> int:
    if unit in SPREAD and point >= BLOCK_POINTS:
        return SECOND_BLOCK + (point - BLOCK_POINTS) * POINT_WORDS
    return point * POINT_WORDS


def words_of(point: int, value: int) -> tuple[int, ...]:
    """Even points are u64 in plain order, odd ones f64 with their words reversed (CDAB)."""
    if point % 2 == 0:
        return struct.unpack(">4H", struct.pack(">Q", value))
    return struct.unpack(">4H", struct.pack(">d", value))[::-1]


def registers(unit: int, start: int, count: int, seq: int, *, evil: bool = False) -> bytes:
    words = dict.fromkeys(range(start, start + count), UNUSED)
    for point in range(POINTS):
        first = address_of(unit, point)
        value = encode(unit, point, seq, evil=evil)
        for offset, word in enumerate(words_of(point, value)):
            if first + offset in words:
                words[first + offset] = word
    return struct.pack(f">{count}H", *words.values())


def crc(frame: bytes) -> bytes:
    """Modbus over serial line 1.02, 6.2.2."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


@dataclass(frozen=True)
class Request:
    transaction: int
    unit: int
    function: int
    start: int
    count: int


class Tcp:
    menu = TCP_MENU

    async def read(self, reader: asyncio.StreamReader) -> Request:
        transaction, _, length = struct.unpack(">HHH", await reader.readexactly(6))
        body = await reader.readexactly(length)
        return Request(transaction, *struct.unpack(">BBHH", body[:6]))

    def frame(self, request: Request, pdu: bytes, *, unit: int | None = None, other: int = 0):
        unit = request.unit if unit is None else unit
        transaction = (request.transaction + other) & 0xFFFF
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


class Rtu:
    menu = RTU_MENU

    async def read(self, reader: asyncio.StreamReader) -> Request:
        body = await reader.readexactly(8)
        if crc(body[:6]) != body[6:]:
            raise ConnectionError("request with a bad CRC")
        return Request(0, *struct.unpack(">BBHH", body[:6]))

    def frame(self, request: Request, pdu: bytes, *, unit: int | None = None, other: int = 0):
        body = bytes([request.unit if unit is None else unit]) + pdu
        return body + crc(body)


Framing = Tcp | Rtu
Steps = list[tuple[float, bytes]]  # wait so many seconds, then send
PIECES_S = 0.005


def good_pdu(request: Request, seq: int, *, evil: bool = False, more: int = 0) -> bytes:
    data = registers(request.unit, request.start, request.count + more, seq, evil=evil)
    return struct.pack(">BB", request.function, len(data)) + data


def bad_steps(what: str, framing: Framing, ask: Request, seq: int, late_s: float) -> Steps:
    """What goes out instead of a good reply."""
    evil = good_pdu(ask, seq, evil=True)
    whole = framing.frame(ask, evil)
    wrong = {
        "late": lambda: whole,
        "short": lambda: framing.frame(ask, good_pdu(ask, seq, evil=True, more=-1)),
        "truncated": lambda: whole[: len(whole) // 2],
        "long": lambda: framing.frame(ask, good_pdu(ask, seq, evil=True, more=1)),
        "garbage": lambda: random.randbytes(random.randint(1, 60)),
        "other_unit": lambda: framing.frame(ask, evil, unit=ask.unit + 1),
        "other_transaction": lambda: framing.frame(ask, evil, other=random.randint(1, 0xFFFF)),
        "wrong_function": lambda: framing.frame(ask, bytes([4]) + evil[1:]),
        "bad_crc": lambda: whole[:-2] + bytes([whole[-2] ^ 0x55, whole[-1]]),
    }
    if what in EXCEPTIONS:
        return [(0, framing.frame(ask, bytes([ask.function | 0x80, EXCEPTIONS[what]])))]
    if what not in wrong:
        return []
    return [(late_s if what == "late" else 0, wrong[what]())]


class Device:
    """All units; one ledger."""

    def __init__(self, ledger: TextIO, *, seed: int, rate: float, late_s: dict[type, float]):
        self._ledger, self._random, self._rate = ledger, random.Random(seed), rate
        self._late_s = late_s
        self._seq: Counter[int] = Counter()

    async def serve(self, framing: Framing, reader, writer) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(writer)
        try:
            while True:
                ask = await framing.read(reader)
                what = self._choice(framing, ask)
                if what == "half_open":
                    self._note(what, ask, 0)
                    await reader.read()  # until the other side gives up
                    return
                if what == "reset":
                    self._note(what, ask, 0)
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, linger
                    )
                    writer.transport.abort()
                    return
                self._answer(framing, ask, what, line)
        except (asyncio.IncompleteReadError, OSError, struct.error):
            pass
        finally:
            writer.close()

    def _choice(self, framing: Framing, ask: Request) -> str:
        if ask.unit in HOLED and ask.start <= HOLE < ask.start + ask.count:
            return "illegal_address"
        if ask.unit in PLAIN_UNITS or self._random.random() >= self._rate:
            return "good"
        return self._random.choice(framing.menu)

    def _answer(self, framing: Framing, ask: Request, what: str, line: "Line") -> None:
        if what not in ("good", "twice"):
            self._note(what, ask, 0)
            late_s = self._late_s[type(framing)] * self._random.uniform(1.05, 1.4)
            steps = bad_steps(what, framing, ask, self._seq[ask.unit], late_s)
            if what == "illegal_address":
                steps = [(0, framing.frame(ask, bytes([ask.function | 0x80, 2])))]
        else:
            self._seq[ask.unit] += 1
            seq = self._seq[ask.unit]
            reply = framing.frame(ask, good_pdu(ask, seq))
            self._note("good", ask, seq)  # before it leaves: what arrives is always on record
            line.send(0, reply, cut=self._random.randint(0, len(reply)))
            steps = []
            if what == "twice":
                steps = [(0.01, framing.frame(ask, good_pdu(ask, seq, evil=True)))]
        # Without a CRC whatever came after half a frame would seem to be the rest of it.
        last = what == "truncated" and isinstance(framing, Tcp)
        for wait_s, frame in steps:
            line.send(wait_s, frame, last=last)

    def _note(self, what: str, ask: Request, seq: int) -> None:
        line = f"{time.time_ns()} {what} {ask.unit} {ask.start} {ask.count} {seq}\n"
        self._ledger.write(line)


class Line:
    """What goes out on one connection. A frame may come in two pieces, but never inside another."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer, self._one_at_a_time = writer, asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()
        self._ended = False

    def send(self, wait_s: float, frame: bytes, *, cut: int = 0, last: bool = False) -> None:
        task = asyncio.create_task(self._send(wait_s, frame, cut, last))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, wait_s: float, frame: bytes, cut: int, last: bool) -> None:
        await asyncio.sleep(wait_s)
        async with self._one_at_a_time:
            if self._ended:
                return
            self._ended = last
            for piece in (frame[:cut], frame[cut:]):
                if piece and not self._writer.is_closing():
                    self._writer.write(piece)
                    await asyncio.sleep(PIECES_S)


async def run(options: argparse.Namespace) -> None:
    late_s = {Tcp: options.tcp_timeout, Rtu: options.rtu_timeout}
    with options.ledger.open("w", buffering=1) as ledger:
        device = Device(ledger, seed=options.seed, rate=options.rate, late_s=late_s)
        for framing, port in ((Tcp(), options.tcp), (Rtu(), options.rtu)):
            await asyncio.start_server(
                lambda r, w, framing=framing: device.serve(framing, r, w), "127.0.0.1", port
            )
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tcp", type=int, required=True, metavar="PORT")
    parser.add_argument("--rtu", type=int, required=True, metavar="PORT")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.1, help="share of bad replies of bad units")
    parser.add_argument("--tcp-timeout", type=float, default=1.0, help="late is later than this, s")
    parser.add_argument("--rtu-timeout", type=float, default=0.5)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
