"""The whole agent: Modbus TCP devices of 20 points, each read once a second, to an engine that acks.

CPU time and resident memory of the agent's process over 15 s, beside the same loop as the documentation
of pymodbus and paho shows it, and beside Telegraf where it is installed. Devices, broker, engine and
contenders are processes of their own. The engine takes what comes and acks it; it stores nothing.
"""

import asyncio
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Any, cast

import paho.mqtt.client as mqtt
import pms_edge
import uvloop
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient

from benchmarks import Row
from benchmarks.processes import cpu_s, resident_mb

POINTS = 20
LOADS = [(50, 50), (50, 5), (500, 50)]  # devices, connections that they share
WARM_ROUNDS, MEASURED_S, STARTS = 4, 15.0, 5
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
HEADER = re.compile(rb"#pms1 gw=\S+ epoch=(\w+) seq=(\d+) n=(\d+)")
ANSWERS = [
    struct.pack(f">{POINTS}f", *(round(random.gauss(50, 9), 2) for _ in range(POINTS)))
    for _ in range(251)
]
Command = Callable[[Path, int, int, int, int], list[str]]


def run() -> list[Row]:
    rows = [*_installed()]
    if MOSQUITTO is None:
        return rows
    with tempfile.TemporaryDirectory() as name, _ports(Path(name)) as (modbus, broker):
        rows += _starts(Path(name), modbus, broker)
        for devices, connections in LOADS:
            for who, command in _contenders().items():
                words = command(Path(name), devices, connections, modbus, broker)
                rows += _load(who, devices, connections, words, broker)
    return rows


def _contenders() -> dict[str, Command]:
    contenders: dict[str, Command] = {"pms-edge": _ours, "pymodbus + paho, JSON": _plain}
    return {**contenders, **({"Telegraf": _telegraf} if shutil.which("telegraf") else {})}


def _load(who: str, devices: int, connections: int, words: list[str], broker: int) -> list[Row]:
    what = f"{devices} devices x {POINTS} at 1 Hz, {connections} connections"
    engine = Engine(broker)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        _wait_for_rounds(engine, WARM_ROUNDS * devices * POINTS)
        cpu, samples, began = cpu_s(process.pid), engine.samples, time.monotonic()
        time.sleep(MEASURED_S)
        took = time.monotonic() - began
        share = (cpu_s(process.pid) - cpu) / took
        rate = (engine.samples - samples) / took
        return [
            Row(what, who, 1000 * share, "ms of CPU per s (10 = 1 %)"),
            Row(what, who, resident_mb(process.pid), "MB resident"),
            Row(what, who, rate, f"samples/s of {devices * POINTS:,}"),
        ]
    finally:
        process.terminate()
        process.wait(10)
        engine.close()


def _wait_for_rounds(engine: "Engine", samples: int) -> None:
    """Reading the configuration and connecting are over, on a slow machine as well."""
    deadline = time.monotonic() + 60
    while engine.samples < samples and time.monotonic() < deadline:
        time.sleep(0.1)


def _starts(folder: Path, modbus: int, broker: int) -> list[Row]:
    """Until the ready file, with one device."""
    words = _ours(folder, 1, 1, modbus, broker)
    took = [_start_s(words) for _ in range(STARTS)]
    return [Row("start to ready, 1 device", "pms-edge", 1000 * median(took), "ms")]


def _start_s(words: list[str]) -> float:
    ready = Path(words[-1])
    ready.unlink(missing_ok=True)
    began = time.monotonic()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while not ready.exists():
        assert process.poll() is None, words
        time.sleep(0.002)
    took = time.monotonic() - began
    process.terminate()
    process.wait(10)
    return took


def _installed() -> list[Row]:
    """What `pip install pms-edge` brings, without extras, as installed here."""
    todo, seen = ["pms-edge"], dict[str, int]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        found = distribution(name)
        files = [Path(str(found.locate_file(file))) for file in found.files or []]
        seen[name] = sum(file.stat().st_size for file in files if file.exists())
        needs = [need for need in found.requires or [] if ";" not in need]
        todo += [re.split(r"[^\w.-]", need)[0].lower().replace("_", "-") for need in needs]
    source = Path(pms_edge.__file__ or "").parent
    own = sum(file.stat().st_size for file in source.rglob("*") if file.suffix != ".pyc")
    size = own + sum(seen.values())
    assert "numpy" not in seen
    return [Row(f"pms-edge and {len(seen) - 1} dependencies", "pms-edge", size / 1e6, "MB")]


class Engine:
    """Counts the samples that come, and acks pms-edge."""

    def __init__(self, port: int) -> None:
        self.samples = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([("pms/v1/+/+/data", 1), ("plain/#", 1)])
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        header = HEADER.match(message.payload)
        if header is None:
            self.samples += POINTS
            return
        self.samples += int(header[3])
        root = message.topic.rpartition("/")[0]
        ack = {"epoch": header[1].decode(), "seq": int(header[2])}
        client.publish(f"{root}/ack/data", json.dumps(ack), 1)


@contextmanager
def _ports(folder: Path) -> Iterator[tuple[int, int]]:
    """Ports of the devices and of a broker of our own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        broker = sock.getsockname()[1]
    settings = f"listener {broker} 127.0.0.1\nallow_anonymous true\npersistence false\n"
    (folder / "mosquitto.conf").write_text(settings)
    started = [subprocess.Popen([str(MOSQUITTO), "-c", str(folder / "mosquitto.conf")], stderr=-3)]
    try:
        serve = [sys.executable, "-m", __name__, "serve"]
        started.append(devices := subprocess.Popen(serve, stdout=-1, text=True))
        assert devices.stdout
        modbus = int(devices.stdout.readline())
        while socket.socket().connect_ex(("127.0.0.1", broker)):
            time.sleep(0.02)
        yield modbus, broker
    finally:
        for process in started:
            process.kill()
            process.wait()


def _ours(folder: Path, devices: int, connections: int, modbus: int, broker: int) -> list[str]:
    points = [
        f"  - {{name: point_{i}, at: {2 * i}, type: f32, range: [0, 200]}}" for i in range(POINTS)
    ]
    profile = ["profile: bench.v1", "version: 1", "measurement: bench", "defaults: {class: fast}"]
    (folder / "bench.v1.yaml").write_text("\n".join([*profile, "points:", *points]))
    gateway = {
        "gateway": {"id": "gw-01", "site": "s"},
        "uplink": {"host": "127.0.0.1", "port": broker},
        "spool": {"path": f"spool-{devices}-{connections}.db"},
        "profiles": ["."],
        "endpoints": {f"e{i}": {"tcp": f"127.0.0.1:{modbus}"} for i in range(connections)},
        "devices": [
            {"id": f"D{i:03}", "profile": "bench.v1", "endpoint": f"e{e}", "unit": unit}
            for i, e, unit in _places(devices, connections)
        ],
    }
    file = folder / f"gateway-{devices}-{connections}.yaml"
    file.write_text(json.dumps(gateway))  # JSON is YAML
    ready = f"{folder}/ready"
    return [sys.executable, "-m", "pms_edge", "run", str(file), "--ready-file", ready]


def _plain(folder: Path, devices: int, connections: int, modbus: int, broker: int) -> list[str]:
    numbers = [str(n) for n in (devices, connections, modbus, broker)]
    return [sys.executable, "-m", __name__, "plain", *numbers]


def _telegraf(folder: Path, devices: int, connections: int, modbus: int, broker: int) -> list[str]:
    fields = [
        f'{{ name = "point_{i}", byte_order = "ABCD", data_type = "FLOAT32-IEEE", scale = 1.0,'
        f" address = [{2 * i}, {2 * i + 1}] }}"
        for i in range(POINTS)
    ]
    inputs = [
        f'[[inputs.modbus]]\nname = "D{i:03}"\nslave_id = {unit}\ntimeout = "1s"\n'
        f'controller = "tcp://127.0.0.1:{modbus}"\nholding_registers = [{", ".join(fields)}]\n'
        for i, _, unit in _places(devices, connections)
    ]
    agent = '[agent]\ninterval = "1s"\nflush_interval = "1s"\n'
    output = f'[[outputs.mqtt]]\nservers = ["tcp://127.0.0.1:{broker}"]\nqos = 1\n'
    output += 'topic = "plain/telegraf"\ndata_format = "json"\n'
    file = folder / "telegraf.conf"
    file.write_text(agent + output + "".join(inputs))
    return ["telegraf", "--quiet", "--config", str(file)]


def _places(devices: int, connections: int) -> list[tuple[int, int, int]]:
    """Number, connection and unit of each device."""
    return [(i, i % connections, 1 + i // connections) for i in range(devices)]


class Devices(asyncio.Protocol):
    """Any unit; registers are floats like measured ones, which change with each answer."""

    asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        Devices.asked += 1
        registers = ANSWERS[Devices.asked % len(ANSWERS)][: 2 * data[11]]
        head = data[:4] + struct.pack(">HBBB", 3 + len(registers), data[6], data[7], len(registers))
        self._transport.write(head + registers)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Devices, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _poll_plainly(devices: int, connections: int, modbus: int, broker: int) -> None:
    """As the documentation of pymodbus and paho shows it."""
    publisher = mqtt.Client(CallbackAPIVersion.VERSION2)
    publisher.connect("127.0.0.1", broker)
    publisher.loop_start()
    clients = [AsyncModbusTcpClient("127.0.0.1", port=modbus) for _ in range(connections)]
    for client in clients:
        await client.connect()

    async def poll(number: int, client: AsyncModbusTcpClient, unit: int) -> None:
        await asyncio.sleep(random.random())
        while True:
            reply = await client.read_holding_registers(0, count=2 * POINTS, device_id=unit)
            values = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)
            named = {f"point_{i}": value for i, value in enumerate(cast(list[float], values))}
            publisher.publish(f"plain/D{number:03}", json.dumps({**named, "at": time.time()}), 1)
            await asyncio.sleep(1)

    places = _places(devices, connections)
    await asyncio.gather(*(poll(i, clients[e], unit) for i, e, unit in places))


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    if what == "serve":
        uvloop.run(_serve())
    else:
        uvloop.run(_poll_plainly(*(int(number) for number in numbers)))
