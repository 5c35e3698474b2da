"""Lines on which replies come short, long, broken or from somebody else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from evil_device import (
    RTU_REQUEST,
    EvilDevice,
    Reply,
    Script,
    in_single_bytes,
    listening,
    on_a_line,
    registers_of,
    rtu,
    rtu_answer,
)
from pms_edge.modbus import (
    ModbusRtu,
    NoReplyError,
    RefusedError,
    SerialSettings,
    rtu_over_serial,
    rtu_over_tcp,
)
from pms_edge.modbus.quiet import SAME_UNIT_S

UNIT, START, COUNT = 1, 40, 3
TIMEOUT_S = 0.5
RIGHT = registers_of(START, COUNT)


def pdu(count: int, function: int = 3) -> bytes:
    return bytes((function, 2 * count)) + registers_of(START, count)


ANSWER = rtu(UNIT, pdu(COUNT))
WRONG = {
    "another unit": (ANSWER_2 := rtu(2, pdu(COUNT)), "unit"),
    "another function": (rtu(UNIT, pdu(COUNT, 4)), "function"),
    "one register short": (rtu(UNIT, pdu(COUNT - 1)), "length"),
    "one register long": (rtu(UNIT, pdu(COUNT + 1)), "length"),
    "byte count that lies": (rtu(UNIT, b"\x03\x04" + RIGHT), "length"),
    "wrong check sum": (ANSWER[:-1] + bytes((ANSWER[-1] ^ 1,)), "crc"),
    "a flipped bit": (ANSWER[:4] + bytes((ANSWER[4] ^ 8,)) + ANSWER[5:], "crc"),
    "cut off": (ANSWER[:-1], "crc"),
    "one byte": (ANSWER[:1], "length"),
    "a byte before it": (b"\x00" + ANSWER, "length"),
    "a byte after it": (ANSWER + b"\xff", "length"),
    "another unit's reply before it": (ANSWER_2 + ANSWER, "length"),
    "noise": (b"\xa5" * 11, "crc"),
    "silence": (b"", "timeout"),
    "gateway's exception": (rtu(UNIT, b"\x83\x0b"), "gateway"),
}


@asynccontextmanager
async def over_tcp(script: Script) -> AsyncIterator[tuple[EvilDevice, ModbusRtu]]:
    async with listening(script, RTU_REQUEST) as (device, address):
        client = rtu_over_tcp(address)
        yield device, client
        client.close()


@asynccontextmanager
async def over_serial(script: Script) -> AsyncIterator[tuple[EvilDevice, ModbusRtu]]:
    async with on_a_line(script) as (device, path):
        client = rtu_over_serial(SerialSettings(path, parity="N"))
        yield device, client
        client.close()


LINES = {"tcp": over_tcp, "serial": over_serial}


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_reply_is_no_answer_and_the_next_request_gets_its_own(line):
    async def one(reply: bytes, cause: str) -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0, reply if number == 0 else rtu_answer(request))]

        async with LINES[line](script) as (_, client):
            with pytest.raises(NoReplyError) as raised:
                await client.read(UNIT, "holding", START, COUNT, TIMEOUT_S)
            assert raised.value.cause == cause
            other = await client.read(UNIT, "holding", START + 1, COUNT, 5)
            assert other == registers_of(START + 1, COUNT)

    async def run() -> None:
        tasks = {asyncio.create_task(one(*case), name=name) for name, case in WRONG.items()}
        done, _ = await asyncio.wait(tasks)
        assert {task.get_name(): task.exception() for task in done if task.exception()} == {}

    asyncio.run(run())


@pytest.mark.parametrize("line", LINES)
def test_an_answer_in_single_bytes_is_whole(line):
    async def run() -> None:
        async with LINES[line](lambda n, r: in_single_bytes(rtu_answer(r))) as (_, client):
            assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT

    asyncio.run(run())


@pytest.mark.parametrize("line", LINES)
def test_an_exception_is_told_with_its_code_at_once(line):
    async def run() -> None:
        async with LINES[line](lambda n, r: [(0, rtu(UNIT, b"\x83\x02"))]) as (_, client):
            for _ in range(3):
                with pytest.raises(RefusedError) as raised:
                    await client.read(UNIT, "holding", START, COUNT, 60)
                assert raised.value.code == 2

    asyncio.run(run())


@pytest.mark.parametrize("line", LINES)
def test_bytes_between_the_requests_are_thrown_away(line):
    """The answer with a glitch after it: nobody waits for the glitch, and it ends no answer."""

    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0, rtu_answer(request)), (0.03, b"\xff")]

        async with LINES[line](script) as (_, client):
            for start in (START, START + 5, START + 9):
                wire = await client.read(UNIT, "holding", start, COUNT, 5)
                assert wire == registers_of(start, COUNT)
                late = client.traffic.late
                while client.traffic.late == late:
                    await asyncio.sleep(0.005)

    asyncio.run(run())


@pytest.mark.parametrize("line", LINES)
def test_a_request_cancelled_on_its_way_leaves_its_reply_to_nobody(line):
    async def run() -> None:
        async with LINES[line](lambda n, r: [(0.1, rtu_answer(r))]) as (device, client):
            task = asyncio.create_task(client.read(UNIT, "holding", 90, COUNT, 0.3))
            while not device.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT
            assert client.traffic.late == 1

    asyncio.run(run())


@pytest.mark.parametrize("line", LINES)
def test_what_the_kernel_holds_when_a_request_is_due_is_thrown_away(line):
    """As after a stall of the whole gateway, in which the quiet has passed unheard."""

    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0.05, rtu_answer(request))] if number else []

        async with LINES[line](script) as (device, client):
            with pytest.raises(NoReplyError):
                await client.read(UNIT, "holding", 90, COUNT, 0.1)
            await asyncio.sleep(SAME_UNIT_S + 0.05)
            device.say(rtu_answer(device.requests[0]))
            time.sleep(0.2)  # the loop stands still, the kernel does not
            assert await client.read(UNIT, "holding", START, COUNT, 5) == RIGHT

    asyncio.run(run())


def test_a_line_that_babbles_for_ever_is_given_up_for_now():
    async def run() -> None:
        def script(number: int, request: bytes) -> Reply:
            return [(0.01 * n, b"\xa5") for n in range(1, 1000)]

        async with listening(script, RTU_REQUEST) as (_, address):
            client = rtu_over_tcp(address, gap_s=0.5)
            for causes in (("crc", "length", "timeout"), ("noise",)):
                with pytest.raises(NoReplyError) as raised:
                    await client.read(UNIT, "holding", START, COUNT, TIMEOUT_S)
                assert raised.value.cause in causes
            client.close()

    asyncio.run(run())
