"""One late reply on a line without transaction numbers: whose registers does the next read get?"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from evil_device import (
    RTU_REQUEST,
    TCP_REQUEST,
    Reply,
    listening,
    on_a_line,
    registers_of,
    rtu_answer,
    tcp_answer,
)
from pms_edge.modbus import ModbusTcp, NoReplyError, SerialSettings, rtu_over_serial, rtu_over_tcp
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

TIMEOUT_S = 0.4
LATE_S = 0.5
USUAL_S = 0.2
ADDRESSES = (0, 100, 200, 300, 400)

Read = Callable[[int], Awaitable[int | None]]  # the register at an address, None: no answer


def first_reply_late(number: int, request: bytes) -> Reply:
    return [(LATE_S if number == 0 else USUAL_S, rtu_answer(request))]


async def read_all(read: Read) -> dict[int, int | None]:
    return {address: await read(address) for address in ADDRESSES}


def ours(client) -> Read:
    async def read(address: int) -> int | None:
        try:
            wire = await client.read(1, "holding", address, 1, 5 if address else TIMEOUT_S)
        except NoReplyError:
            return None
        return int.from_bytes(wire, "big")

    return read


def pymodbus(client) -> Read:
    async def read(address: int) -> int | None:
        try:
            reply = await client.read_holding_registers(address, count=1, device_id=1)
        except ModbusException:
            return None
        return None if reply.isError() else reply.registers[0]

    return read


def only_the_first_is_missing(got: dict[int, int | None]) -> bool:
    return got == {address: address or None for address in ADDRESSES}


def test_over_a_serial_line_no_read_gets_the_registers_of_another():
    async def run() -> None:
        async with on_a_line(first_reply_late) as (_, path):
            client = rtu_over_serial(SerialSettings(path, parity="N"))
            assert only_the_first_is_missing(await read_all(ours(client)))
            assert client.traffic.late == 1
            client.close()

    asyncio.run(run())


def test_over_rtu_in_tcp_no_read_gets_the_registers_of_another():
    async def run() -> None:
        async with listening(first_reply_late, RTU_REQUEST) as (_, address):
            client = rtu_over_tcp(address)
            assert only_the_first_is_missing(await read_all(ours(client)))
            assert client.traffic.late == 1
            client.close()

    asyncio.run(run())


def test_over_tcp_the_late_reply_is_told_by_its_transaction_and_counted():
    def script(number: int, request: bytes) -> Reply:
        return [(LATE_S if number == 0 else USUAL_S, tcp_answer(request))]

    async def run() -> None:
        async with listening(script, TCP_REQUEST) as (device, address):
            client = ModbusTcp(address)
            assert only_the_first_is_missing(await read_all(ours(client)))
            assert (client.traffic.late, device.connections) == (1, 1)
            client.close()

    asyncio.run(run())


@pytest.mark.parametrize("line", ["serial", "tcp"])
def test_the_same_line_fools_a_client_that_does_not_wait(line):
    """What the tests above would look like without the quiet: one reply behind for ever."""

    async def run() -> None:
        settings = {"framer": FramerType.RTU, "timeout": TIMEOUT_S, "retries": 0}
        if line == "serial":
            async with on_a_line(first_reply_late) as (_, path):
                got = await connect_and_read(AsyncModbusSerialClient(path, **settings))
        else:
            async with listening(first_reply_late, RTU_REQUEST) as (_, (host, port)):
                client = AsyncModbusTcpClient(host, port=port, **settings)
                got = await connect_and_read(client)
        assert [got[address] for address in ADDRESSES[1:]] == list(ADDRESSES[:-1])

    async def connect_and_read(client) -> dict[int, int | None]:
        assert await client.connect()
        got = await read_all(pymodbus(client))
        client.close()
        return got

    asyncio.run(run())


def test_a_device_late_again_and_again_costs_answers_but_gives_none_that_is_wrong():
    """Each reply takes longer than the time-out and comes while its unit is left alone."""

    def script(number: int, request: bytes) -> Reply:
        return [(0.3 if number % 2 else 0.01, rtu_answer(request))]

    async def run() -> None:
        async with listening(script, RTU_REQUEST) as (_, address):
            client = rtu_over_tcp(address)
            for number, start in enumerate((10, 20, 30, 40, 50)):
                reading = client.read(1, "holding", start, 2, 0.1 if number % 2 else 5)
                if number % 2:
                    with pytest.raises(NoReplyError):
                        await reading
                else:
                    assert await reading == registers_of(start, 2)
            assert client.traffic.late == 2
            client.close()

    asyncio.run(run())
