"""A property for end-to-end tests: machines, edge agent and engine as separate real programs."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.clock import ScaledClock, to_ns
from pms_iot.kernel.db import open_engine
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.influx import InfluxStore
from tests.servers import free_port, listens, wait_for

ZONE = ZoneInfo("Asia/Shanghai")
MORNING = datetime(2026, 11, 23, 8, 0, tzinfo=ZONE)


@dataclass
class Machine:
    """One simulated or recorded machine and the fault it will have, if any."""

    id: str
    kind: str
    fault: Mapping[str, Any] | None = None
    over_mqtt: bool = False
    replay: Mapping[str, Any] | None = None
    maintained_days_ago: int = 0  # the half-month service of a lift

    @property
    def watched_as(self) -> str:
        return "water_pump" if self.replay else self.kind

    def in_scenario(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": self.id, "kind": self.kind, **(self.replay or {})}
        if self.over_mqtt:
            return entry | {"mqtt": {"topic": f"local/{self.id}/telemetry"}}
        return entry | {"modbus": {"port": 0, "unit": 1}}

    def in_site(self) -> dict[str, Any]:
        name = {"zh": f"设备 {self.id}", "en": f"Machine {self.id}"}
        site = {"id": self.id, "kind": self.watched_as, "name": name, "gateway": "gw-01"}
        if self.maintained_days_ago:
            done_on = (MORNING - timedelta(days=self.maintained_days_ago)).date()
            site["plans"] = {"half_month": {"last_done_on": done_on.isoformat()}}
        return site


@dataclass
class Phone:
    """Whoever gets the engine's messages: a web server that keeps what is posted to it."""

    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # (webhook-id, event)
    secret: str = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()

    def __enter__(self) -> "Phone":
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.headers["webhook-id"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def opened(self) -> list[int]:
        """The orders it was told of as opened; one entry for each message id."""
        told = {
            id: event for id, event in self.received if event["type"].endswith("work_order.opened")
        }
        return sorted(event["data"]["work_order"] for event in told.values())


@dataclass
class Plant:
    """The programs of one property, with one compressed clock."""

    directory: Path
    broker_port: int
    machines: Sequence[Machine]
    engine_env: Mapping[str, str]  # where the engine stores
    factor: float
    phone: "Phone"
    web_port: int = field(default_factory=free_port)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = ScaledClock(time.time_ns(), to_ns(MORNING.astimezone(UTC)), self.factor)
        self.directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Plant":
        self.start_engine()
        self.start_machines()
        self.start_edge()
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._running):
            self._running[name].terminate()
        for name, process in self._running.items():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{name} did not stop within 10 s") from None

    # -- the programs ----------------------------------------------------------------------

    def start_machines(self) -> None:
        scenario = self._write(
            "scenario.yaml",
            {
                "site": "riverside",
                "timezone": str(ZONE),
                "seed": 7,
                "assets": [machine.in_scenario() for machine in self.machines],
                "faults": [{"asset": m.id, **m.fault} for m in self.machines if m.fault],
            },
        )
        ready = self.directory / "machines.json"
        self._start(
            "machines",
            *("pms-sim", "run", scenario, "--mqtt", f"127.0.0.1:{self.broker_port}"),
            *("--truth", self.directory / "truth.jsonl", "--ready-file", ready),
        )
        self._wait("machines", ready.exists)

    def start_engine(self) -> None:
        site = self._write(
            "site.yaml",
            {
                "site": {"code": "riverside", "name": {"zh": "滨河", "en": "Riverside"}},
                "gateways": [{"id": "gw-01", "name": {"zh": "网关", "en": "Gateway"}}],
                "assets": [machine.in_site() for machine in self.machines],
            },
        )
        env = {
            "PMS_DATA_DIR": str(self.directory),
            "PMS_MQTT__PORT": str(self.broker_port),
            "PMS_WEB__PORT": str(self.web_port),
            "PMS_WEBHOOK__URL": self.phone.url,
            "PMS_WEBHOOK__SECRET": self.phone.secret,
            **self.engine_env,
        }
        self._start("engine", "pms-iot", "serve", "--site", site, env=env)
        self._wait("engine", lambda: listens(self.web_port))

    def start_edge(self) -> None:
        served = json.loads((self.directory / "machines.json").read_text())["assets"]
        endpoints: dict[str, Any] = {"field": {"mqtt": f"127.0.0.1:{self.broker_port}"}}
        devices: list[dict[str, Any]] = []
        for machine in self.machines:
            device: dict[str, Any] = {"id": machine.id, "profile": f"{machine.watched_as}.v1"}
            if modbus := served[machine.id].get("modbus"):
                endpoints[machine.id] = {"tcp": f"{modbus['host']}:{modbus['port']}"}
                device |= {"endpoint": machine.id, "unit": modbus["unit"]}
            else:
                topic = served[machine.id]["mqtt"]["topic"]
                device |= {"endpoint": "field", "topic": topic, "values": "v"}
            devices.append(device)
        self.start_gateway(endpoints, devices)

    def start_gateway(self, endpoints: dict[str, Any], devices: list[dict[str, Any]]) -> None:
        gateway = self._write(
            "gateway.yaml",
            {
                "gateway": {"id": "gw-01", "site": "riverside"},
                "uplink": {"host": "127.0.0.1", "port": self.broker_port},
                "spool": {"path": str(self.directory / "spool.db")},
                "endpoints": endpoints,
                "devices": devices,
            },
        )
        self._start("edge", "pms-edge", "run", gateway)

    def stop(self, name: str) -> None:
        """An orderly end, which leaves nothing in memory."""
        process = self._running.pop(name)
        process.terminate()
        process.wait(10)

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _start(
        self, name: str, program: str, *arguments: object, env: Mapping[str, str] | None = None
    ) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(Path(sys.executable).with_name(program)), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PMS_CLOCK_ANCHOR_NS": str(self.clock.anchor_ns),
                    "PMS_CLOCK_START_NS": str(self.clock.start_ns),
                    "PMS_CLOCK_FACTOR": str(self.factor),
                    **(env or {}),
                },
            )

    def _wait(self, name: str, ready: Any) -> None:
        def up() -> bool:
            assert self._running[name].poll() is None, self.log_of(name)
            return ready()

        wait_for(up, f"{name} to be ready", timeout_s=60)

    def log_of(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-4000:]

    def _write(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1))  # JSON is YAML
        return path

    # -- what came of it -------------------------------------------------------------------

    @cached_property
    def core(self) -> Engine:
        url = self.engine_env.get("PMS_DATABASE_URL") or f"sqlite:///{self.directory / 'core.db'}"
        return open_engine(url)

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.core.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]

    def elapsed_s(self) -> float:
        """Simulated seconds since the start."""
        return (self.clock.now_ns() - self.clock.start_ns) / 1e9

    def samples_stored(self) -> int:
        """Measured samples of the machines, read back from where they end: the server, if there is one."""
        influx = {
            name.removeprefix("PMS_INFLUX__").lower(): value
            for name, value in self.engine_env.items()
            if name.startswith("PMS_INFLUX__")
        }
        catalog = SeriesCatalog(self.core)
        store = (
            InfluxStore(InfluxSettings.model_validate(influx), catalog)
            if influx
            else EmbeddedStore(self.directory / "samples.db", housekeeping=False)
        )
        start_ns = self.clock.start_ns - 10**9
        ids = [info.id for info in catalog.all() if info.kind != "gateway" and not info.derived]
        stored = sum(len(store.read(id, start_ns, self.clock.now_ns())) for id in ids)
        store.close()
        return stored

    def orders(self, kind: str = "corrective") -> list[dict[str, Any]]:
        """Work orders of a kind that are not over, with their asset."""
        return self.rows(
            "select o.id, o.status, o.origin, a.code as asset from work_order o"
            " join asset a on a.id = o.asset_id"
            f" where o.kind = '{kind}' and o.status not in ('closed', 'cancelled')"
        )

    def alerts(self) -> list[dict[str, Any]]:
        return self.rows(
            "select l.rule, l.state, l.opened_at, l.work_order_id, a.code as asset from alert l"
            " join asset a on a.id = l.asset_id order by l.opened_at"
        )

    def truth(self) -> list[dict[str, Any]]:
        lines = (self.directory / "truth.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
