"""From an endpoint of the gateway file to its client."""

import asyncio

import pytest
from evil_device import (
    RTU_REQUEST,
    TCP_REQUEST,
    listening,
    on_a_line,
    registers_of,
    rtu_answer,
    tcp_answer,
)
from pms_edge.config.gateway_file import Endpoint
from pms_edge.modbus.endpoint import reader_of


def read_through(endpoint: dict[str, object]):
    async def read() -> bytes:
        client = reader_of(Endpoint.model_validate(endpoint))
        try:
            return await client.read(1, "holding", 9, 2, 5)
        finally:
            client.close()

    return read()


def test_each_kind_of_endpoint_has_its_client():
    async def run() -> None:
        async with listening(lambda n, r: [(0, tcp_answer(r))], TCP_REQUEST) as (_, address):
            plc = {"tcp": f"{address.host}:{address.port}"}
            assert await read_through(plc) == registers_of(9, 2)
        async with listening(lambda n, r: [(0, rtu_answer(r))], RTU_REQUEST) as (_, address):
            server = {"rtu_tcp": f"{address.host}:{address.port}", "gap_ms": 5}
            assert await read_through(server) == registers_of(9, 2)
        async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
            bus = {"rtu": path, "baud": 19200, "parity": "N", "stop": 2, "gap_ms": 5}
            assert await read_through(bus) == registers_of(9, 2)

    asyncio.run(run())


def test_another_kind_of_endpoint_has_none():
    with pytest.raises(ValueError, match="mqtt is not Modbus"):
        reader_of(Endpoint.model_validate({"mqtt": "127.0.0.1:1883"}))


def test_the_time_out_is_learned_unless_it_is_given():
    tcp = {"tcp": "10.0.0.5:502"}
    assert Endpoint.model_validate(tcp).timeout is None
    assert Endpoint.model_validate({**tcp, "timeout": "auto"}).timeout is None
    assert Endpoint.model_validate({**tcp, "timeout": "500ms"}).timeout == 0.5
