"""The client against two independent implementations on three kinds of line."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from modbus_peers import PEERS, UNIT, Dial, expected
from pms_edge.modbus import NoReplyError, RefusedError

TIMEOUT_S = 5.0
LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.fixture(params=PEERS, ids=lambda peer: peer.__name__)
def dial(request: pytest.FixtureRequest) -> Iterator[Dial]:
    with request.param() as dial:
        yield dial


@pytest.mark.parametrize("loop", LOOPS)
def test_every_kind_of_value_is_read_and_written_as_the_peer_has_it(dial, loop):
    async def talk() -> None:
        client = dial()
        for kind, most in (("holding", 125), ("input", 125), ("coil", 190), ("discrete", 190)):
            for address, count in ((0, 1), (3, 17), (5, most)):
                wire = await client.read(UNIT, kind, address, count, TIMEOUT_S)
                assert wire == expected(kind, address, count)
        await writes(client)
        client.close()

    async def writes(client) -> None:
        for kind, address, values in (
            ("holding", 10, [0xBEEF]),
            ("holding", 11, [1, 0xFFFF, 3]),
            ("coil", 10, [1]),
            ("coil", 11, [0]),
            ("coil", 12, [1, 0, 1, 1, 1, 0, 0, 1, 1]),
        ):
            await client.write(UNIT, kind, address, values, TIMEOUT_S)
            wire = await client.read(UNIT, kind, address, len(values), TIMEOUT_S)
            wide = bytes(values) if kind == "coil" else b"".join(v.to_bytes(2) for v in values)
            assert wire == wide

    LOOPS[loop](talk())


def test_an_exception_is_told_with_its_code_and_the_next_request_is_answered(dial):
    async def talk() -> None:
        client = dial()
        with pytest.raises(RefusedError) as raised:
            await client.read(UNIT, "holding", 60000, 2, TIMEOUT_S)
        assert raised.value.code == 2
        wire = await client.read(UNIT, "holding", 0, 2, TIMEOUT_S)
        assert wire == expected("holding", 0, 2)
        client.close()

    asyncio.run(talk())


def test_requests_of_many_tasks_take_turns(dial):
    async def talk() -> None:
        client = dial()
        reads = [client.read(UNIT, "holding", a, 1 + a % 3, TIMEOUT_S) for a in range(20)]
        got = await asyncio.gather(*reads)
        assert got == [expected("holding", a, 1 + a % 3) for a in range(20)]
        client.close()

    asyncio.run(talk())


def test_a_closed_client_connects_again(dial):
    async def talk() -> None:
        client = dial()
        for _ in range(2):
            assert await client.read(UNIT, "coil", 0, 9, TIMEOUT_S) == expected("coil", 0, 9)
            client.close()

    asyncio.run(talk())


def test_a_request_cancelled_on_its_way_leaves_the_connection_safe(dial):
    async def talk() -> None:
        client = dial()
        await client.read(UNIT, "holding", 50, 2, TIMEOUT_S)
        for moment_s in (0, 0.001, 0.004):
            task = asyncio.create_task(client.read(UNIT, "holding", 100, 2, 0.3))
            await asyncio.sleep(moment_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for address in (0, 20):
            wire = await client.read(UNIT, "holding", address, 2, TIMEOUT_S)
            assert wire == expected("holding", address, 2)
        client.close()

    asyncio.run(talk())


# libmodbus answers for any unit over TCP, and on a line takes the next request for its reply.
@pytest.mark.parametrize("dial", PEERS[:3], indirect=True, ids=lambda peer: peer.__name__)
def test_another_unit_is_silent_or_refused_and_counts_against_nobody_else(dial):
    async def talk() -> None:
        client = dial()
        with pytest.raises((NoReplyError, RefusedError)):
            await client.read(UNIT + 1, "holding", 0, 1, 0.2)
        wire = await client.read(UNIT, "holding", 0, 1, TIMEOUT_S)
        assert wire == expected("holding", 0, 1)
        client.close()

    asyncio.run(talk())
