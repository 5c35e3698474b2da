"""From the broker to the store: `pms-iot serve` with all its rules and detectors, under a steady load.

19,964 series: 62 gateways of 7 lifts with all 46 points of the pack; each gateway sends a message a second.
Engine, broker and the sender of all gateways are processes of their own and share the machine. A sample counts
when the gateway's acknowledgement arrives. BENCH_SECONDS (default 60) is how long each load lasts, that of 100,000/s
five times as long; the peers take a tenth.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median, quantiles

import httpx2
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import Row
from benchmarks.processes import cpu_s, engine, resident_mb, watched_mb
from tests.servers import Influx, influx, mosquitto, wait_for

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
GATEWAYS, LIFTS = 62, 7
LOADS = [10_000, 100_000, 250_000]  # samples/s
WARM_S = 5.0
# A lift that stands at a landing, well.
HEALTHY = (
    "car_speed=0,rated_speed=1.75,dc_bus={dc:.1f},motor_current={i:.2f},output_freq=0,floor=1,position={p:.2f},"
    "load=0,run=0,up=0,down=0,door_zone=1,door_closed=1,door_open=0,curtain=0,occupied=0,overload=0,full=0,"
    "safety_chain=1,lock_chain=1,brake_open=0,mains=1,intercom=1,alarm_button=0,mode=1,door_state=0,fault_code=0,"
    "fault_level=0,level_err={e:.1f},door_open_t=2.5,door_close_t=2.9,door_reopen_h=0,brake_release_ms=310,"
    "brake_apply_ms=180,brake_slip=4,motor_temp={t:.1f},mr_temp={m:.1f},car_vib={v:.2f},rope_slip=3,ups_v=27.1,"
    "runs=123456,run_hours=2345.6,door_cycles=234567,rope_bends=345678,energy=4567.8,rssi=-61"
)
POINTS = HEALTHY.count("=")


def run() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mosquitto(folder / "broker", extra="max_queued_messages 0") as broker:
            for rate in LOADS:
                with engine(folder / f"{rate}", broker.port, site()) as process:
                    seconds = 5 * SECONDS if rate == 100_000 else SECONDS
                    rows += measure(rate, "embedded", broker.port, process.pid, seconds)
            if shutil.which("influxd") and shutil.which(
                "nginx", path=f"/usr/sbin:{os.environ['PATH']}"
            ):
                rows += _with_influx(folder, broker.port)
    return rows


def _with_influx(folder: Path, port: int) -> list[Row]:
    with influx(folder / "influx") as server, server.bucket() as bucket:
        env = server.environment(bucket)
        with engine(folder / "mirrored", port, site(), env) as process:
            began = time.monotonic()
            store = f"InfluxDB {server.version}"
            rows = measure(100_000, store, port, process.pid)
            who = f"pms-iot serve, {store}"
            arrived = at_server(server, bucket) / (time.monotonic() - began)
            rows.append(Row("100,000 samples/s", who, arrived, "samples/s that the server took"))
        rows += peer(port, env)
        if telegraf := shutil.which("telegraf"):
            rows += _telegraf(telegraf, folder, port, server, bucket)
        return rows


def at_server(server: Influx, bucket: str) -> int:
    """Samples that the server has."""
    asked = {"db": bucket, "q": "SELECT count(motor_temp) FROM elevator"}
    answer = httpx2.get(f"{server.url}/query", params=asked, headers=server.headers, timeout=60)
    result = answer.json()["results"][0]
    return POINTS * result["series"][0]["values"][0][1] if "series" in result else 0


def measure(rate: int, store: str, port: int, pid: int, seconds: float = SECONDS) -> list[Row]:
    what = f"{rate:,} samples/s"
    who = f"pms-iot serve, {store}"
    with Sender(port, rate) as sender:
        sender.run(WARM_S)
        sender.latencies.clear()
        cpu, committed, began = cpu_s(pid), sender.committed, time.monotonic()
        early_mb = resident_mb(pid)
        with watched_mb(pid) as seen_mb:
            sender.run(seconds)
        took, used = time.monotonic() - began, cpu_s(pid) - cpu
        done, behind = sender.committed - committed, sender.sent - sender.committed
        late = sorted(sender.latencies)
    return [
        Row(what, who, done / took, "samples/s committed"),
        Row(what, who, behind, "samples behind at the end"),
        Row(what, who, 1e9 * used / done, "ms of CPU per million samples"),
        Row(what, who, 1000 * median(late), "ms publish to committed, p50"),
        Row(what, who, 1000 * quantiles(late, n=100)[98], "ms publish to committed, p99"),
        Row(what, who, early_mb, "MB resident at the start"),
        Row(what, who, median(seen_mb), "MB resident, p50"),
        Row(what, who, quantiles(seen_mb, n=100)[98], "MB resident, p99"),
        Row(what, who, seen_mb[-1], "MB resident at the end"),
    ]


class Sender:
    """All gateways, in a thread; its own CPU time is not measured."""

    def __init__(self, port: int, rate: int) -> None:
        self.sent = self.committed = 0
        self.latencies: list[float] = []
        self._lines_per_s = rate / POINTS / GATEWAYS
        self._epoch = f"{random.getrandbits(32):08x}"
        self._waiting: dict[tuple[str, int], tuple[float, int]] = {}
        self._acked = dict.fromkeys(range(GATEWAYS), 0)
        self._seq = dict.fromkeys(range(GATEWAYS), 0)
        rng = random.Random(1)
        self._pool = [
            HEALTHY.format(
                dc=540 + rng.gauss(0, 2),
                i=rng.uniform(0, 0.2),
                p=rng.uniform(2.9, 3.1),
                e=rng.gauss(0, 1),
                t=40 + rng.gauss(0, 0.5),
                m=25 + rng.gauss(0, 0.3),
                v=4 + rng.gauss(0, 0.3),
            )
            for _ in range(997)
        ]
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(5000)
        self._client.on_message = self._on_ack
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("pms/v1/riverside/+/ack/data", 1)
        self._client.loop_start()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def run(self, seconds: float, *, patience_s: float = 5) -> None:
        """Sends in time, each gateway at its own phase, and waits so long for the rest to be acknowledged."""
        began = time.monotonic()
        count = int(seconds * GATEWAYS)
        for number in range(count):
            time.sleep(max(0.0, began + number / GATEWAYS - time.monotonic()))
            self._send(number % GATEWAYS)
        deadline = time.monotonic() + patience_s
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.02)

    def _send(self, gateway: int) -> None:
        self._seq[gateway] += 1
        seq, now_ns = self._seq[gateway], time.time_ns()
        first, last = int((seq - 1) * self._lines_per_s), int(seq * self._lines_per_s)
        lines: list[str] = []
        for number in range(
            first, last
        ):  # the lifts in turn, each reading later than the one before
            at_ns = now_ns - 10**9 + (number - first + 1) * 10**9 // (last - first)
            fields = self._pool[number % len(self._pool)]
            asset = f"EL-{gateway:02}{number % LIFTS}"
            lines.append(f"elevator,site=riverside,asset={asset} {fields},q=192i {at_ns}\n")
        n, name = POINTS * len(lines), f"gw-{gateway:02}"
        base = self._acked[gateway] + 1
        head = f"#pms1 gw={name} epoch={self._epoch} seq={seq} n={n} base={base}\n"
        self._waiting[name, seq] = time.monotonic(), n
        self._client.publish(f"pms/v1/riverside/{name}/data", head + "".join(lines), 1)
        self.sent += n

    def _on_ack(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        now, name = time.monotonic(), message.topic.split("/")[3]
        body = json.loads(message.payload)
        if body["epoch"] != self._epoch:
            return
        gateway = int(name.removeprefix("gw-"))
        for seq in range(self._acked[gateway] + 1, body["seq"] + 1):
            sent, n = self._waiting.pop((name, seq))
            self.latencies.append(now - sent)
            self.committed += n
        self._acked[gateway] = max(self._acked[gateway], body["seq"])


def site() -> str:
    gateways = ", ".join(
        f"{{id: gw-{g:02}, name: {{zh: 网关, en: Gateway}}}}" for g in range(GATEWAYS)
    )
    lifts = "".join(
        f"  - {{id: EL-{g:02}{lift}, kind: elevator, name: {{zh: 梯, en: Lift}}, gateway: gw-{g:02}}}\n"
        for g in range(GATEWAYS)
        for lift in range(LIFTS)
    )
    return (
        "site: {code: riverside, name: {zh: 滨河, en: Riverside}, timezone: UTC}\n"
        f"gateways: [{gateways}]\nassets:\n{lifts}"
    )


# -- the plain way ---------------------------------------------------------------------------

PLAIN = """
import sys, time
import paho.mqtt.client as mqtt
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS
port, url, org, bucket, token = sys.argv[1:]
client = InfluxDBClient(url=url, token=token, org=org)
write = client.write_api(write_options=SYNCHRONOUS)
def on_message(c, u, m):
    points = []
    for line in m.payload.decode().splitlines()[1:]:
        head, fields, at = line.split(" ")
        asset = head.rsplit("=", 1)[1]
        point = Point("elevator").tag("site", "riverside").tag("asset", asset).time(int(at))
        for field in fields.split(","):
            key, value = field.split("=")
            if key != "q":
                point.field(key, float(value))
        points.append(point)
    write.write(bucket=bucket, record=points)
    head = dict(part.split("=") for part in m.payload.split(b"\\n", 1)[0].decode().split(" ")[1:])
    ack = '{"epoch": "%s", "seq": %s}' % (head["epoch"], head["seq"])
    c.publish("pms/v1/riverside/%s/ack/data" % head["gw"], ack, 1)
c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
c.on_message = on_message
c.on_connect = lambda c, *_: c.subscribe("pms/v1/+/+/data", 1)
c.on_subscribe = lambda *_: print("ready", flush=True)
c.connect("127.0.0.1", int(port))
c.loop_forever()
"""


def peer(port: int, env: dict[str, str]) -> Iterator[Row]:
    """paho and influxdb-client as their documentation shows them, at a load that it can bear."""
    words = [env[f"PMS_INFLUX__{key}"] for key in ("URL", "ORG", "BUCKET", "TOKEN")]
    command = [sys.executable, "-c", PLAIN, str(port), *words]
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(process.kill)
        assert process.stdout
        process.stdout.readline()
        with Sender(port, 100_000) as sender:
            threading.Event().wait(0.5)
            cpu, began = cpu_s(process.pid), time.monotonic()
            sender.run(SECONDS / 10)
            took, used = time.monotonic() - began, cpu_s(process.pid) - cpu
            done = sender.committed
    who = "paho + influxdb-client Point, no rules"
    yield Row("100,000 samples/s", who, done / took, "samples/s committed")
    yield Row("100,000 samples/s", who, 1e9 * used / done, "ms of CPU per million samples")


TELEGRAF = """
[agent]
flush_interval = "1s"
metric_batch_size = 5000
metric_buffer_limit = 1000000
[[inputs.mqtt_consumer]]
servers = ["tcp://127.0.0.1:{port}"]
topics = ["pms/v1/+/+/data"]
qos = 1
data_format = "influx"
[[outputs.influxdb_v2]]
urls = ["{url}"]
organization = "{org}"
bucket = "{bucket}"
token = "{token}"
"""


def _telegraf(program: str, folder: Path, port: int, server: Influx, bucket: str) -> Iterator[Row]:
    """Its own way from the broker to the server, as configured by its manual; no rules, no acknowledgements."""
    file = folder / "telegraf.conf"
    server_of = {"url": server.url, "org": server.org, "token": server.token}
    file.write_text(TELEGRAF.format(port=port, bucket=bucket, **server_of))
    with ExitStack() as stack:
        command = [program, "--config", str(file)]
        process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE))
        stack.callback(process.kill)
        assert process.stderr
        for line in process.stderr:
            if b"Connected" in line:
                break
        before, cpu, began = at_server(server, bucket), cpu_s(process.pid), time.monotonic()
        with Sender(port, 100_000) as sender:
            sender.run(SECONDS / 10, patience_s=0)
            with suppress(TimeoutError):  # what is not there by then is lost
                wait_for(
                    lambda: at_server(server, bucket) - before >= sender.sent, "the last", 10, 0.1
                )
        took, used = time.monotonic() - began, cpu_s(process.pid) - cpu
        done = at_server(server, bucket) - before
    yield Row("100,000 samples/s", "Telegraf mqtt_consumer", sender.sent - done, "samples lost")
    yield Row(
        "100,000 samples/s", "Telegraf mqtt_consumer", done / took, "samples/s that the server took"
    )
    yield Row(
        "100,000 samples/s",
        "Telegraf mqtt_consumer",
        1e9 * used / max(done, 1),
        "ms of CPU per million samples",
    )
