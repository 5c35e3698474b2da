"""Modbus TCP clients against a canned server: requests a second, and per second of CPU.

The server is a process of its own that answers at once with registers prepared beforehand. Each
contender is a process of its own as well, so that its CPU time is its own.
"""

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import cast

import uvloop
from pms_edge.config.gateway_file import Address
from pms_edge.modbus import ModbusTcp
from pymodbus.client import AsyncModbusTcpClient

from benchmarks import Row

# By number of registers: the rest of the frame after transaction and protocol.
ANSWERS = [
    struct.pack(">HBBB", 3 + 2 * count, 1, 3, 2 * count) + bytes(range(2 * count))
    for count in range(126)
]
LOADS = [(1, 10), (1, 120), (50, 10), (50, 120)]  # connections, registers
CLIENTS = ["ours", "pymodbus"]
LOOPS = ["uvloop", "asyncio"]
RUNS, SECONDS = 3, 0.5

Read = Callable[[], Awaitable[object]]


class CannedServer(asyncio.Protocol):
    """Answers each request for n holding registers with n made before."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:4] + ANSWERS[data[11]])


def run() -> list[Row]:
    server = subprocess.Popen(
        [sys.executable, "-m", __name__, "serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        port = int(server.stdout.readline())
        return [row for load in LOADS for row in _side_by_side(port, *load)]
    finally:
        server.kill()
        server.wait()


def _side_by_side(port: int, connections: int, registers: int) -> list[Row]:
    """The contenders take turns, so that what else runs here hits all of them."""
    who = [(client, loop) for client in CLIENTS for loop in LOOPS]
    measured: dict[tuple[str, str], list[tuple[float, float]]] = {each: [] for each in who}
    for _ in range(RUNS):
        for client, loop in who:
            words = [client, loop, str(port), str(connections), str(registers)]
            measured[client, loop].append(_in_own_process(words))
    what = f"{connections} connection(s), {registers} registers"
    rows: list[Row] = []
    for (client, loop), results in measured.items():
        name = f"{client} + {loop}"
        rows.append(Row(what, name, median(r[0] for r in results), "requests/s"))
        rows.append(Row(what, name, median(r[1] for r in results), "requests/CPU s"))
    return rows


def _in_own_process(words: list[str]) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, *words], capture_output=True, text=True, check=True
    )
    requests, wall_s, cpu_s = map(float, done.stdout.split())
    return requests / wall_s, requests / cpu_s


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(CannedServer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _measure(client: str, port: int, connections: int, registers: int) -> None:
    reads = [await _reader(client, port, registers) for _ in range(connections)]
    for read in reads:  # connected and warm
        await read()
    wall, cpu = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(_repeat(read, wall + SECONDS) for read in reads))
    print(sum(counts), time.perf_counter() - wall, time.process_time() - cpu)


async def _repeat(read: Read, until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        await read()
        count += 1
    return count


async def _reader(client: str, port: int, registers: int) -> Read:
    if client == "ours":
        ours = ModbusTcp(Address("127.0.0.1", port))
        return lambda: ours.read(1, "holding", 0, registers, 2.0)
    theirs = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0)
    assert await theirs.connect()
    return lambda: theirs.read_holding_registers(0, count=registers, device_id=1)


def _main(words: list[str]) -> None:
    if words == ["serve"]:
        uvloop.run(_serve())
        return
    client, loop, *numbers = words
    run_loop = uvloop.run if loop == "uvloop" else asyncio.run
    run_loop(_measure(client, *map(int, numbers)))


if __name__ == "__main__":
    _main(sys.argv[1:])
