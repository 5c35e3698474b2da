"""What an outage costs a gateway: seconds of it per megabyte of spool, the way back, and latency at idle.

The engine is `pms-iot serve` with all its rules on values at random, most of them faults: its worst case.

1,000 samples a second: 50 lifts of 20 points, of which 30 % change every second.
"""

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pms_edge.batch import Batch, Batcher
from pms_edge.config.gateway_file import Uplink as UplinkSettings
from pms_edge.counters import Counters
from pms_edge.line import Line
from pms_edge.spool.file import Row, SpoolFile
from pms_edge.spool.spool import Spool
from pms_edge.uplink.uplink import Uplink
from ruamel.yaml import YAML

from benchmarks import Row as Measured
from benchmarks.processes import engine
from tests.servers import mosquitto, wait_for

HOUR_S = 3600
PEER_S = 300  # of outage, for the contenders that need no hour
ENGINE_S = 150
DATA_S, EVENTS_S = 12.0, 8.0  # events take the data along, so they come afterwards
LIFTS = [f"EL-{i:02}" for i in range(50)]
CHANGES = 0.3
ROOT = Path(__file__).parents[1]


def run() -> list[Measured]:
    points = list(YAML(typ="safe").load(ROOT / "rules/elevator/points.yaml")["points"])[:20]
    start_ns = time.time_ns() - (HOUR_S + 60) * 10**9
    seconds = list(_seconds(points, start_ns, HOUR_S))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*_appending(folder, seconds), *_per_megabyte(folder, seconds)]
        with mosquitto(folder / "broker", extra="max_queued_messages 0") as broker:
            rows += _to_a_receiver(folder, broker.port, seconds)
            with engine(folder / "engine", broker.port, _site()):
                rows += _to_the_engine(folder, broker.port, seconds, points)
    return rows


def _seconds(points: list[str], start_ns: int, count: int) -> Iterator[Batch]:
    """The batch of each second."""
    rng = random.Random(1)
    digits = [rng.choice((0, 0, 1, 1, 1, 2)) for _ in points]
    texts = [["0"] * len(points) for _ in LIFTS]
    values = [[rng.uniform(0, 100) for _ in points] for _ in LIFTS]
    for second in range(count):
        at_ns = start_ns + second * 10**9
        lines: list[str] = []
        for lift, value, text in zip(LIFTS, values, texts, strict=True):
            for i in range(len(points)):
                if second == 0 or rng.random() < CHANGES:
                    value[i] = min(max(value[i] + rng.gauss(0, 1.5), 0), 100)
                    text[i] = f"{value[i]:.{digits[i]}f}"
            fields = ",".join(map("=".join, zip(points, text, strict=True)))
            read_ns = at_ns + rng.randrange(4_000_000)
            lines.append(f"elevator,site=riverside,asset={lift} {fields},q=192i {read_ns}\n")
        yield Batch("data", "".join(lines).encode(), 1000, at_ns, at_ns + 4_000_000)


# -- the spool alone -----------------------------------------------------------------------


def _appending(folder: Path, seconds: list[Batch]) -> list[Measured]:
    rows: list[Measured] = []
    for sync in ("full", "normal"):
        file = SpoolFile(folder / f"append-{sync}.db", sync=sync, hard_bytes=10**9)
        took: list[float] = []
        for seq, batch in enumerate(seconds[:200], 1):
            began = time.perf_counter()
            file.insert([Row(seq, batch)])
            took.append(time.perf_counter() - began)
        file.close()
        for what, seconds_each in (("p50", median(took)), ("p99", quantiles(took, n=100)[98])):
            name = f"append a batch of 1,000 samples, {what}"
            rows.append(Measured(name, f"sync: {sync}", seconds_each * 1e6, "µs"))
    return rows


def _per_megabyte(folder: Path, seconds: list[Batch]) -> list[Measured]:
    what, unit = "outage that a megabyte of file holds", "s/MB"
    ours = _filled(folder / "ours.db", seconds, packing=True)
    size = _size(folder / "ours.db")
    counted = ours.stats().bytes
    ours.close()
    plain = _filled(folder / "plain.db", seconds[:PEER_S], packing=False)
    plain_size = _size(folder / "plain.db")
    plain.close()
    json_size = _json_rows(folder / "json.db", seconds[:PEER_S])
    return [
        Measured(what, f"pms_edge, {len(seconds)} s, with WAL", len(seconds) / size * 1e6, unit),
        Measured(what, "pms_edge, bytes that it counts", len(seconds) / counted * 1e6, unit),
        Measured(what, "plain rows, not packed", PEER_S / plain_size * 1e6, unit),
        Measured(what, "SQLite, one JSON row per message", PEER_S / json_size * 1e6, unit),
    ]


def _filled(path: Path, seconds: list[Batch], *, packing: bool = True) -> Spool:
    spool = _spool(path, packing=packing)
    for batch in seconds:
        spool.keep(batch)
        wait_for(lambda: len(spool._pending) < 32, "the spool", every_s=0.001)  # pyright: ignore[reportPrivateUsage]
    wait_for(lambda: not spool._has_work(), "the spool", 60)  # pyright: ignore[reportPrivateUsage]
    return spool


def _spool(path: Path, *, packing: bool = True, sync: str = "normal") -> Spool:
    return Spool(path, max_bytes=10**9, sync=sync, counters=Counters(), packing=packing)


def _size(path: Path) -> int:
    return sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal"))


def _json_rows(path: Path, seconds: list[Batch]) -> int:
    """As simple stores do it: a row per device and second."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    for batch in seconds:
        with db:
            for line in batch.body.decode().splitlines():
                head, fields, at = line.split(" ")
                values = {
                    k: float(v.rstrip("i")) for k, v in (f.split("=") for f in fields.split(","))
                }
                body = {"device": head.rsplit("=", 1)[1], "ts": int(at) // 10**6, "values": values}
                db.execute("INSERT INTO message (body) VALUES (?)", (json.dumps(body),))
    size = _size(path)
    db.close()
    return size


# -- the way back --------------------------------------------------------------------------


class _Acked(Spool):
    """A spool that notes when each batch was acknowledged."""

    def __init__(self, path: Path, **more: object) -> None:
        self.acked_at: dict[tuple[str, int], float] = {}
        self._told = {"data": 0, "event": 0}
        super().__init__(path, max_bytes=10**9, counters=Counters(), **more)  # pyright: ignore[reportArgumentType]

    def ack(self, lane: str, epoch: str, seq: int) -> None:
        now = time.monotonic()
        for one in range(self._told[lane] + 1, seq + 1):
            self.acked_at[lane, one] = now
        self._told[lane] = max(self._told[lane], seq)
        super().ack(lane, epoch, seq)


def _uplink(spool: Spool, port: int) -> Uplink:
    return Uplink(
        UplinkSettings(host="127.0.0.1", port=port),
        spool,
        gateway="gw-01",
        site="riverside",
        window=64,
        birth=lambda: {"gateway": "gw-01"},
        health=dict,
        health_every_s=10.0,
        counters=Counters(),
    )


def _drained(path: Path, port: int, batches: int) -> float:
    """Seconds until all is acknowledged."""
    spool = _spool(path, sync="full")
    uplink = _uplink(spool, port)
    began = time.perf_counter()
    uplink.start()
    wait_for(lambda: spool.stats().rows == 0, f"{batches} batches", 240, 0.01)
    took = time.perf_counter() - began
    uplink.stop()
    spool.close()
    return took


RECEIVER = """
import json, re, sqlite3, sys
import paho.mqtt.client as mqtt
db = sqlite3.connect(sys.argv[2], isolation_level=None, check_same_thread=False)
for pragma in ("journal_mode=WAL", "synchronous=FULL"):
    db.execute("PRAGMA " + pragma)
db.execute("CREATE TABLE batch (epoch TEXT, seq INTEGER, body BLOB, PRIMARY KEY (epoch, seq))")
head = re.compile(rb"#pms1 gw=\\S+ epoch=(\\S+) seq=(\\d+) n=\\d+ base=(\\d+)")
last = {}
def on_message(c, u, m):
    epoch, seq, base = head.match(m.payload).groups()
    epoch, seq, base = epoch.decode(), int(seq), int(base)
    if seq > last.get(epoch, 0):
        if seq not in (last.get(epoch, 0) + 1, base):
            return
        db.execute("INSERT INTO batch VALUES (?, ?, ?)", (epoch, seq, m.payload))
        last[epoch] = seq
    c.publish("pms/v1/riverside/gw-01/ack/data", json.dumps({"epoch": epoch, "seq": last[epoch]}), 1)
c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
c.on_message = on_message
c.on_connect = lambda c, *_: c.subscribe("pms/v1/+/+/data", 1)
c.on_subscribe = lambda *_: print("ready", flush=True)
c.connect("127.0.0.1", int(sys.argv[1]))
c.loop_forever()
"""


def _to_a_receiver(folder: Path, port: int, seconds: list[Batch]) -> list[Measured]:
    """It commits each batch to SQLite, FULL, and acknowledges it."""
    command = [sys.executable, "-c", RECEIVER, str(port), str(folder / "receiver.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout
        receiver.stdout.readline()
        took = _drained(folder / "ours.db", port, len(seconds))
        receiver.kill()
    one_by_one = _one_by_one(folder / "plain.db", port)
    what = "drain a backlog"
    return [
        Measured(f"{what}: {len(seconds)} batches", "pms_edge to a receiver", took, "s"),
        Measured(what, "pms_edge to a receiver", len(seconds) / took, "batches/s"),
        Measured(what, "pms_edge to a receiver", 1000 * len(seconds) / took, "samples/s"),
        Measured(what, "one at a time, awaiting PUBACK", PEER_S / one_by_one, "batches/s"),
    ]


def _one_by_one(path: Path, port: int) -> float:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    db = sqlite3.connect(path, isolation_level=None)
    began = time.perf_counter()
    for seq, body in db.execute("SELECT seq, blob FROM batch ORDER BY seq").fetchall():
        client.publish("other/data", body, qos=1).wait_for_publish(30)
        db.execute("DELETE FROM batch WHERE seq = ?", (seq,))
    took = time.perf_counter() - began
    client.disconnect()
    client.loop_stop()
    db.close()
    return took


# -- the engine ----------------------------------------------------------------------------


def _site() -> str:
    lifts = "".join(
        f"  - {{id: {lift}, kind: elevator, name: {{zh: 梯, en: Lift}}, gateway: gw-01}}\n"
        for lift in LIFTS
    )
    return (
        "site: {code: riverside, name: {zh: 滨河, en: Riverside}, timezone: UTC}\n"
        "gateways: [{id: gw-01, name: {zh: 网关, en: Gateway}}]\nassets:\n" + lifts
    )


def _to_the_engine(
    folder: Path, port: int, seconds: list[Batch], points: list[str]
) -> list[Measured]:
    _filled(folder / "engine.db", seconds[-ENGINE_S:]).close()
    took = _drained(folder / "engine.db", port, ENGINE_S)
    what, who = "drain a backlog", "pms_edge to pms-iot serve"
    rows = [
        Measured(what, who, ENGINE_S / took, "batches/s"),
        Measured(what, who, 1000 * ENGINE_S / took, "samples/s"),
    ]
    data, events = _idle(folder / "idle.db", port, points)
    for lane, took_s in (("1 Hz data", data), ("events", events)):
        for name, each in (("p50", median(took_s)), ("p99", quantiles(took_s, n=100)[98])):
            what = f"read to committed at idle, {lane}, {name}"
            rows.append(Measured(what, f"pms-iot serve, {len(took_s)} lines", each * 1e3, "ms"))
    return rows


def _idle(path: Path, port: int, points: list[str]) -> tuple[list[float], list[float]]:
    """From the instant of a read to the engine's ack: 50 lifts at 1 Hz, each at a phase of its own."""
    spool = _Acked(path, sync="full")
    read: dict[str, list[list[float]]] = {"data": [], "event": []}
    waiting: list[float] = []

    def keep(batch: Batch) -> None:
        read[batch.lane].append(waiting[:] if batch.lane == "data" else [time.monotonic()])
        if batch.lane == "data":
            waiting.clear()
        spool.keep(batch)

    batcher, uplink = Batcher(keep), _uplink(spool, port)
    uplink.start()
    uplink.connected.wait(10)
    rng, began, number = random.Random(2), time.monotonic(), 0
    while (now := time.monotonic()) < began + DATA_S + EVENTS_S:
        at_ns, lift = time.time_ns(), LIFTS[number % 50]
        fields = ",".join(f"{point}={rng.uniform(0, 9):.1f}" for point in points)
        text = f"elevator,site=riverside,asset={lift} {fields},q=192i {at_ns}\n"
        waiting.append(now)
        batcher.add(Line(text, len(points), at_ns))
        if now > began + DATA_S and number % 17 == 16:
            event = f"elevator,site=riverside,asset={lift} {points[0]}=1,q=192i {at_ns}\n"
            batcher.add_event(Line(event, 1, at_ns))
        number += 1
        if number % 50 == 0:
            batcher.flush()
        time.sleep(max(0.0, began + number / 50 - time.monotonic()))
    batcher.flush()
    wait_for(lambda: spool.stats().rows == 0, "the last acknowledgement", 30, 0.01)
    uplink.stop()
    spool.close()
    before_events = read["data"][: int(DATA_S)]
    return _latencies(before_events, "data", spool), _latencies(read["event"], "event", spool)


def _latencies(read: list[list[float]], lane: str, spool: _Acked) -> list[float]:
    return [
        spool.acked_at[lane, seq] - at for seq, instants in enumerate(read, 1) for at in instants
    ]
