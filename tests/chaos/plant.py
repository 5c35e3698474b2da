"""What chaos happens to: an evil device, the agent, a broker that keeps nothing, the engine; all processes."""

import json
import math
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_iot.telemetry.embedded import EmbeddedStore
from tests.chaos import evil_device as device
from tests.chaos.proxy import Proxy
from tests.servers import Server, free_port, listens, require, wait_for

KIND = "chaos_unit"
SITE, GATEWAY = "chaos", "gw-chaos"
TCP_TIMEOUT_S, RTU_TIMEOUT_S = 1.0, 0.5
FLUSH_S = 0.2
KILLABLE = ("agent", "engine", "broker")


def asset_of(unit: int) -> str:
    return f"U-{unit:02}"


@dataclass
class Plant:
    """One gateway with all its neighbours; `spool` is the folder of the spool file."""

    directory: Path
    seed: int
    spool: Path
    evil_share: float = 0.1
    flush_s: float = FLUSH_S
    oddities: bool = True  # points that are events, a point that the device refuses
    period_s: float = 0.25
    spool_mb: float = 64
    device_ended_ns: int = 0
    lives: list["Life"] = field(default_factory=list["Life"])
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KILLABLE, 0))

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.spool.mkdir(parents=True, exist_ok=True)
        self.device_ports = free_port(), free_port()
        self.broker_port, self.web_port = free_port(), free_port()
        self.proxy = Proxy(free_port(), self.broker_port)
        self.servers = {
            "device": self._device(),
            "broker": self._broker(),
            "engine": self._engine(),
            "agent": self._agent(),
        }
        self.reports = Reports(self.broker_port)

    # -- processes -------------------------------------------------------------------------

    def start(self, name: str, *, wait: bool = True) -> None:
        if name == "agent":
            (self.directory / "agent" / "ready").unlink(missing_ok=True)
            self.lives.append(Life(time.time_ns()))
        server, ready = self.servers[name], self.servers[name].ready
        server.ready = ready if wait else lambda: True
        server.start()
        server.ready = ready

    def wait(self, name: str) -> None:
        wait_for(self.servers[name].ready, f"{name} to be up", 60)

    def kill(self, name: str) -> None:
        """kill -9. Of the agent's spool the state of that moment is kept."""
        self.servers[name].kill()
        self.kills[name] += 1
        if name == "agent":
            self.lives[-1].ended(time.time_ns(), self._copy_of_spool())

    def stop_agent(self) -> None:
        """SIGTERM: everything that was read until then must be in the spool."""
        asked_ns = time.time_ns()
        self.servers["agent"].stop()
        self.lives[-1].ended(asked_ns, None)

    def close(self) -> None:
        for name in ("agent", "engine", "broker", "device"):
            self.servers[name].stop()
        self.reports.close()
        self.proxy.close()

    def log_of(self, name: str) -> str:
        return (self.directory / name / "log").read_text(errors="replace")

    def _server(self, name: str, port: int, command: list[object], **more: Any) -> Server:
        folder = self.directory / name
        folder.mkdir(exist_ok=True)
        ready = more.pop("ready", lambda: listens(port))
        return Server(name, [str(part) for part in command], port, folder, ready, **more)

    def _device(self) -> Server:
        tcp, rtu = self.device_ports
        self.ledger = self.directory / "ledger.txt"
        options = ["--tcp", tcp, "--rtu", rtu, "--ledger", self.ledger, "--seed", self.seed]
        options += ["--rate", self.evil_share]
        options += ["--tcp-timeout", TCP_TIMEOUT_S, "--rtu-timeout", RTU_TIMEOUT_S]
        return self._server("device", tcp, [sys.executable, device.__file__, *options])

    def _broker(self) -> Server:
        program, port = require("mosquitto"), self.broker_port
        config = self.directory / "mosquitto.conf"
        # What it had not delivered dies with it. As root it would change its user without `user`.
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n"
        )
        return self._server("broker", port, [program, "-c", config])

    def _engine(self) -> Server:
        site = self._write("site.yaml", _site())
        (self.directory / "rules" / KIND).mkdir(parents=True)
        self._write(f"rules/{KIND}/points.yaml", _pack())
        command = [Path(sys.executable).with_name("pms-iot"), "serve", "--site", site]
        environ = {
            "PMS_DATA_DIR": str(self.directory),
            "PMS_RULES_DIR": str(self.directory / "rules"),
            "PMS_MQTT__PORT": str(self.broker_port),
            "PMS_WEB__PORT": str(self.web_port),
        }
        return self._server("engine", self.web_port, command, environ=environ)

    def _agent(self) -> Server:
        (self.directory / "devices").mkdir()
        for name, profile in _profiles(oddities=self.oddities).items():
            self._write(f"devices/{name}.yaml", profile)
        gateway = self._write("gateway.yaml", self._gateway())
        ready = self.directory / "agent" / "ready"
        command = [sys.executable, "-m", "pms_edge", "run", gateway, "--ready-file", ready]
        return self._server("agent", 0, command, ready=ready.exists)

    def _gateway(self) -> dict[str, Any]:
        tcp, rtu = (f"127.0.0.1:{port}" for port in self.device_ports)
        units = {"plain": device.PLAIN_UNITS, "evil": device.EVIL_UNITS, "line": device.RTU_UNITS}
        return {
            "gateway": {"id": GATEWAY, "site": SITE},
            "uplink": {"host": "127.0.0.1", "port": self.proxy.port},
            "spool": {"path": str(self.spool / "spool.db"), "flush": f"{self.flush_s}s"}
            | {"max_mb": self.spool_mb},
            "classes": {"fast": f"{self.period_s}s"},
            "profiles": ["devices"],
            "endpoints": {
                "plain": {"tcp": tcp, "timeout": f"{TCP_TIMEOUT_S}s"},
                "evil": {"tcp": tcp, "timeout": f"{TCP_TIMEOUT_S}s"},
                "line": {"rtu_tcp": rtu, "timeout": f"{RTU_TIMEOUT_S}s"},
            },
            "devices": [
                {"id": asset_of(u), "profile": _profile_of(u), "endpoint": name, "unit": u}
                for name, numbers in units.items()
                for u in numbers
            ],
        }

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(json.dumps(content, indent=1))  # JSON is YAML
        return path

    # -- what came of it -------------------------------------------------------------------

    def _copy_of_spool(self) -> Path:
        """The spool as the kill left it; nobody has it open now."""
        kept = self.directory / f"spool-{len(self.lives)}"
        kept.mkdir()
        for part in self.spool.glob("spool.db*"):
            if not part.name.endswith(".reserve"):
                shutil.copy(part, kept)
        return kept / "spool.db"

    def stored(self) -> Iterator[tuple[str, str, int, float | None, int]]:
        """(asset, point, at, value, quality) of every sample of a unit in the engine's store."""
        with closing(sqlite3.connect(self.directory / "core.db")) as core:
            rows = core.execute(
                "select p.id, a.code, p.key from point p join asset a on a.id = p.asset_id"
                " where a.kind = ?",
                (KIND,),
            )
            names = {id: (code, key) for id, code, key in rows}
        store = EmbeddedStore(self.directory / "samples.db", housekeeping=False)
        with closing(store):
            for series, (asset, point) in names.items():
                batch = store.read(series, 0, 2**62)
                columns = batch.at.tolist(), batch.value.tolist(), batch.quality.tolist()
                for at, value, quality in zip(*columns, strict=True):
                    yield asset, point, at, None if math.isnan(value) else value, quality

    def core_rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.directory / "core.db")) as core:
            return core.execute(query).fetchall()

    def drained(self) -> bool:
        """The agent's newest health, said after this call began, shows an empty spool."""
        since_ns = time.time_ns()
        wait_for(lambda: self.reports.said_ns > since_ns, "health of the agent", 120, 0.1)
        return self.reports.health["spool"]["rows"] == 0


@dataclass
class Life:
    """One run of the agent; `spool` is a copy of its spool file if it was killed."""

    began_ns: int
    ended_ns: int = 0
    spool: Path | None = None

    def ended(self, at_ns: int, spool: Path | None) -> None:
        self.ended_ns, self.spool = at_ns, spool


class Reports:
    """The agent's health as the broker passes it on, and the highest counts of every life."""

    def __init__(self, port: int) -> None:
        self.health: dict[str, Any] = {}
        self.said_ns = 0
        self._began: dict[int, dict[str, int]] = {}
        self._life = 0
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe("pms/v1/+/+/+", 0)
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def total(self, counter: str) -> int:
        """Over all lives, as far as they told before they ended."""
        with self._lock:
            return sum(counts.get(counter, 0) for counts in self._began.values())

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        kind = message.topic.rsplit("/", 1)[-1]
        with self._lock:
            if kind == "birth":
                self._life = json.loads(message.payload)["started_ns"]
            elif kind == "health":
                self.health = json.loads(message.payload)
                self._began[self._life] = self.health["counters"]
                self.said_ns = time.time_ns()


@contextmanager
def plant(directory: Path, **more: Any) -> Iterator[Plant]:
    running = Plant(directory, **more)
    try:
        for name in ("device", "broker", "engine", "agent"):
            running.start(name)
        yield running
    finally:
        running.close()


def _profile_of(unit: int) -> str:
    spread, holed = unit in device.SPREAD, unit in device.HOLED
    return "spread.v1" if spread else "holed.v1" if holed else "unit.v1"


def _profiles(*, oddities: bool) -> dict[str, dict[str, Any]]:
    units = device.PLAIN_UNITS[0], next(iter(device.HOLED)), next(iter(device.SPREAD))
    plain, holed, spread = map(_points, units)
    if oddities:
        plain[0]["event"] = True  # every reading of it is a change
        holed.append({"name": "hole", "at": device.HOLE, "type": "u16"})
    named = {"unit": plain, "holed": holed, "spread": spread}
    return {name: _profile(f"{name}.v1", points) for name, points in named.items()}


def _profile(name: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    defaults = {"class": "fast"}
    head = {"profile": name, "version": 1, "measurement": KIND}
    return {**head, "defaults": defaults, "points": points}


def _points(unit: int) -> list[dict[str, Any]]:
    plain, swapped = {"type": "u64"}, {"type": "f64", "order": "CDAB"}
    return [
        {"name": f"r{p}", "at": device.address_of(unit, p), **(swapped if p % 2 else plain)}
        for p in range(device.POINTS)
    ]


def _pack() -> dict[str, Any]:
    names = [*(f"r{p}" for p in range(device.POINTS)), "hole"]
    label = {"zh": "测试", "en": "Chaos"}
    points = {name: {"label": {"zh": name, "en": name}} for name in names}
    return {"kind": KIND, "label": label, "points": points}


def _site() -> dict[str, Any]:
    label = {"zh": "测试", "en": "Chaos"}
    units = [*device.PLAIN_UNITS, *device.EVIL_UNITS, *device.RTU_UNITS]
    assets = [
        {"id": asset_of(u), "kind": KIND, "name": label, "gateway": GATEWAY, "plans": {}}
        for u in units
    ]
    gateways = [{"id": GATEWAY, "name": label}]
    return {"site": {"code": SITE, "name": label}, "gateways": gateways, "assets": assets}
