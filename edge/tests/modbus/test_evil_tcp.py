"""Modbus TCP devices that answer late, short, long, with garbage or as somebody else."""

import asyncio
import struct
from collections.abc import Callable

import pytest
from evil_device import (
    TCP_REQUEST,
    Reply,
    Script,
    in_single_bytes,
    listening,
    registers_of,
    tcp,
    tcp_answer,
)
from pms_edge.config.gateway_file import Address
from pms_edge.modbus import ModbusTcp, NoReplyError
from pms_edge.modbus.frames import tcp_frame

UNIT, START, COUNT = 1, 40, 3
TIMEOUT_S = 1.0
RIGHT = registers_of(START, COUNT)


def number_of(request: bytes) -> int:
    return int(struct.unpack_from(">H", request)[0])


def pdu(count: int, function: int = 3) -> bytes:
    return bytes((function, 2 * count)) + registers_of(START, count)


def wrong(answer: Callable[[int], bytes]) -> Script:
    """A script whose first reply is `answer(transaction)` and whose others are right."""

    def script(number: int, request: bytes) -> Reply:
        return [(0, answer(number_of(request)) if number == 0 else tcp_answer(request))]

    return script


WRONG = {
    "another unit": (wrong(lambda n: tcp(n, 2, pdu(COUNT))), "unit"),
    "another function": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT, 4))), "function"),
    "another function's exception": (wrong(lambda n: tcp(n, UNIT, b"\x84\x02")), "function"),
    "one register short": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT - 1))), "length"),
    "one register long": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT + 1))), "length"),
    "byte count that lies": (wrong(lambda n: tcp(n, UNIT, b"\x03\x04" + RIGHT)), "length"),
    "bytes after the registers": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT) + b"\0")), "length"),
    "no data": (wrong(lambda n: tcp(n, UNIT, b"\x03\x00")), "length"),
    "gateway's exception": (wrong(lambda n: tcp(n, UNIT, b"\x83\x0b")), "gateway"),
    "another transaction": (wrong(lambda n: tcp(n + 1, UNIT, pdu(COUNT))), "timeout"),
    "half a frame": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT))[:-1]), "timeout"),
    "header only": (wrong(lambda n: tcp(n, UNIT, pdu(COUNT))[:6]), "timeout"),
    "not Modbus": (wrong(lambda n: b"HTTP/1.1 400 Bad Request\r\n\r\n"), "frame"),
    "protocol that is not 0": (wrong(lambda n: b"\0\1\0\7\0\3\1\x83\2"), "frame"),
    "length past the limit": (wrong(lambda n: struct.pack(">HHH", n, 0, 255)), "frame"),
    "length of nothing": (wrong(lambda n: struct.pack(">HHH", n, 0, 0)), "frame"),
    "hanging up": (lambda n, r: [(0, None if n == 0 else tcp_answer(r))], "lost"),
    "hanging up in mid-frame": (
        lambda n, r: [(0, tcp_answer(r)[:9]), (0.01, None)] if n == 0 else [(0, tcp_answer(r))],
        "lost",
    ),
    "silence": (lambda n, r: [] if n == 0 else [(0, tcp_answer(r))], "timeout"),
}


def test_a_wrong_reply_is_no_answer_and_the_next_request_gets_its_own():
    async def one(script: Script, cause: str) -> None:
        async with listening(script, TCP_REQUEST) as (_, address):
            client = ModbusTcp(address)
            with pytest.raises(NoReplyError) as raised:
                await client.read(UNIT, "holding", START, COUNT, TIMEOUT_S)
            assert raised.value.cause == cause
            other = await client.read(UNIT, "holding", START + 1, COUNT, 5)
            assert other == registers_of(START + 1, COUNT)
            client.close()

    async def run() -> None:
        tasks = {asyncio.create_task(one(*case), name=name) for name, case in WRONG.items()}
        done, _ = await asyncio.wait(tasks)
        assert {task.get_name(): task.exception() for task in done if task.exception()} == {}

    asyncio.run(run())


def stale(request: bytes) -> bytes:
    """What could be taken for the answer but for its transaction."""
    return tcp(number_of(request) - 1, UNIT, bytes((3, 2 * COUNT)) + b"\xee" * 2 * COUNT)


RIGHT_IN_THE_END = {
    "single bytes": lambda n, r: in_single_bytes(tcp_answer(r)),
    "a late reply in the same segment": lambda n, r: [(0, stale(r) + tcp_answer(r))],
    "a late reply before it": lambda n, r: [(0, stale(r)), (0.02, tcp_answer(r))],
    "the answer twice": lambda n, r: [(0, tcp_answer(r) * 2)],
    "the next answer beforehand": lambda n, r: [
        (0, tcp_answer(r) + tcp(number_of(r) + 1, UNIT, pdu(COUNT)[:2] + b"\xee" * 2 * COUNT))
    ],
    "the next answer's first half": lambda n, r: [
        (0, tcp_answer(r) + tcp(number_of(r) + 1, UNIT, pdu(COUNT)[:2] + b"\xee" * 2 * COUNT)[:9])
    ],
}


@pytest.mark.parametrize("name", RIGHT_IN_THE_END)
def test_the_answer_is_found_among_other_frames_and_however_it_is_cut(name):
    async def run() -> None:
        async with listening(RIGHT_IN_THE_END[name], TCP_REQUEST) as (_, address):
            client = ModbusTcp(address)
            for start in (START, START + 7, START + 9):
                wire = await client.read(UNIT, "holding", start, COUNT, 5)
                assert wire == registers_of(start, COUNT)
            client.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["a late reply in the same segment", "the answer twice"])
def test_replies_that_nobody_waits_for_are_counted(name):
    async def run() -> None:
        script = RIGHT_IN_THE_END[name]
        async with listening(script, TCP_REQUEST) as (device, address):
            client = ModbusTcp(address)
            for _ in range(4):
                await client.read(UNIT, "holding", START, COUNT, 5)
            assert (client.traffic.late, device.connections) == (4, 1)
            client.close()

    asyncio.run(run())


def test_a_half_open_connection_is_replaced():
    """The first connection swallows everything, as after a reboot of the router in between."""

    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0, tcp_answer(request))] if device.connections > 1 else []

        async with listening(script, TCP_REQUEST) as (device, address):
            client = ModbusTcp(address)
            for _ in range(2):
                with pytest.raises(NoReplyError):
                    await client.read(UNIT, "holding", START, COUNT, 0.1)
            assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT
            assert device.connections == 2
            client.close()

    asyncio.run(run())


def test_each_request_has_its_own_time_out():
    """The second is still on its way when the time-out of the first would have come."""

    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0.6 if number else 0, tcp_answer(request))]

        async with listening(script, TCP_REQUEST) as (_, address):
            client = ModbusTcp(address)
            for timeout_s in (0.5, 10):
                assert await client.read(UNIT, "holding", START, COUNT, timeout_s) == RIGHT
            with pytest.raises(NoReplyError):
                await client.read(UNIT, "holding", START, COUNT, 0.05)
            client.close()

    asyncio.run(run())


def test_one_silent_unit_does_not_cost_its_neighbours_the_connection():
    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0, tcp_answer(request))] if request[6] == UNIT else []

        async with listening(script, TCP_REQUEST) as (device, address):
            client = ModbusTcp(address)
            for _ in range(4):
                with pytest.raises(NoReplyError):
                    await client.read(UNIT + 1, "holding", START, COUNT, 0.05)
                assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT
            assert device.connections == 1
            client.close()

    asyncio.run(run())


def test_a_request_cancelled_on_its_way_leaves_its_reply_to_nobody():
    async def run() -> None:
        async with listening(lambda n, r: [(0.1, tcp_answer(r))], TCP_REQUEST) as (device, address):
            client = ModbusTcp(address)
            await client.read(UNIT, "holding", 0, COUNT, 5)
            task = asyncio.create_task(client.read(UNIT, "holding", 90, COUNT, 5))
            while len(device.requests) < 2:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT
            client.close()

    asyncio.run(run())


def test_nobody_listening_is_told_as_such():
    async def run() -> None:
        async with listening(lambda n, r: [], TCP_REQUEST) as (_, address):
            pass
        with pytest.raises(NoReplyError) as raised:
            await ModbusTcp(address).read(UNIT, "holding", START, COUNT, 5)
        assert raised.value.cause == "connect"

    asyncio.run(run())


def test_a_host_that_cannot_be_found_is_told_as_such():
    async def run() -> None:
        client = ModbusTcp(Address("no-such-host.invalid", 502))
        with pytest.raises(NoReplyError) as raised:
            await client.read(UNIT, "holding", START, COUNT, 5)
        assert raised.value.cause == "connect"

    asyncio.run(run())


def test_a_write_confirmed_with_another_value_is_not_done():
    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            echo = request[6:-1] + b"\x09"
            return [(0, tcp_frame(number_of(request), echo if number == 0 else request[6:]))]

        async with listening(script, TCP_REQUEST) as (_, address):
            client = ModbusTcp(address)
            with pytest.raises(NoReplyError) as raised:
                await client.write(UNIT, "holding", START, [7], 5)
            assert raised.value.cause == "echo"
            await client.write(UNIT, "holding", START, [7], 5)
            client.close()

    asyncio.run(run())
