"""Independent Modbus servers on every kind of line; all serve the same values."""

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import libmodbus_server
import pytest
from libmodbus_server import COUNT, UNIT
from pms_edge.config.gateway_file import Address
from pms_edge.modbus import ModbusTcp, SerialSettings, rtu_over_serial, rtu_over_tcp
from pms_edge.modbus.connection import Client
from pty_pair import PtyPair
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Served = dict[str, Callable[[int], int]]
VALUES: Served = {
    "holding": lambda a: 3 * a + 1,
    "input": lambda a: 5 * a + 2,
    "coil": lambda a: int(a % 3 == 0),
    "discrete": lambda a: a % 2,
}
Dial = Callable[[], Client]  # to be called on the loop that will use it


def expected(kind: str, address: int, count: int) -> bytes:
    values = [VALUES[kind](a) for a in range(address, address + count)]
    if kind in ("coil", "discrete"):
        return bytes(values)
    return b"".join(value.to_bytes(2, "big") for value in values)


@contextmanager
def pymodbus_tcp() -> Iterator[Dial]:
    with pymodbus_serving(
        lambda: ModbusTcpServer(served_device(), address=("127.0.0.1", 0))
    ) as port:
        yield lambda: ModbusTcp(Address("127.0.0.1", port))


@contextmanager
def pymodbus_rtu_tcp() -> Iterator[Dial]:
    def serve() -> ModbusTcpServer:
        return ModbusTcpServer(served_device(), framer=FramerType.RTU, address=("127.0.0.1", 0))

    with pymodbus_serving(serve) as port:
        yield lambda: rtu_over_tcp(Address("127.0.0.1", port))


@contextmanager
def pymodbus_port() -> Iterator[str]:
    """Path of a serial port at whose other end pymodbus serves."""
    cable = PtyPair()
    with pymodbus_serving(lambda: ModbusSerialServer(served_device(), port=cable.theirs)):
        yield cable.ours
    cable.close()


@contextmanager
def pymodbus_rtu() -> Iterator[Dial]:
    with pymodbus_port() as path:
        yield lambda: rtu_over_serial(SerialSettings(path, baud=19200, parity="N"))


@contextmanager
def libmodbus_tcp() -> Iterator[Dial]:
    with _libmodbus("tcp") as said:
        yield lambda: ModbusTcp(Address("127.0.0.1", int(said)))


@contextmanager
def libmodbus_rtu() -> Iterator[Dial]:
    cable = PtyPair()
    with _libmodbus("rtu", cable.theirs):
        yield lambda: rtu_over_serial(SerialSettings(cable.ours, baud=19200, parity="N"))
    cable.close()


PEERS = [pymodbus_tcp, pymodbus_rtu_tcp, pymodbus_rtu, libmodbus_tcp, libmodbus_rtu]


def served_device() -> SimDevice:
    def block(kind: str, datatype: DataType) -> list[SimData]:
        values = [VALUES[kind](a) for a in range(COUNT)]
        shown = [bool(v) for v in values] if datatype == DataType.BITS else values
        return [SimData(0, values=shown, datatype=datatype)]

    bits, registers = DataType.BITS, DataType.REGISTERS
    blocks = (
        block("coil", bits),
        block("discrete", bits),
        block("holding", registers),
        block("input", registers),
    )
    return SimDevice(UNIT, simdata=blocks)


@contextmanager
def pymodbus_serving(make: Callable[[], ModbusTcpServer | ModbusSerialServer]) -> Iterator[int]:
    """On a thread and loop of its own; gives the TCP port."""
    started, stop, ports = threading.Event(), asyncio.Event(), [0]
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = make()
        await server.listen()
        if isinstance(server, ModbusTcpServer):
            ports[0] = server.transport.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        await server.shutdown()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@contextmanager
def _libmodbus(*words: str) -> Iterator[str]:
    """As a process of its own; gives its first line."""
    try:
        ctypes.CDLL(libmodbus_server.LIBRARY)
    except OSError:
        if os.environ.get("CI"):
            pytest.fail("libmodbus5 is not installed")
        pytest.skip("libmodbus5 is not installed")
    script = Path(libmodbus_server.__file__)
    with subprocess.Popen(
        [sys.executable, script, *words], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()
