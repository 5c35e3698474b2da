"""The engine of the telemetry chaos with its store, as a process; how to find out what became of it."""

import fcntl
import json
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from pms_iot.settings import Settings
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.chaos import busy_engine
from tests.chaos.telemetry_load import ASSETS, GATEWAYS, KIND, POINTS, SITE, asset_of, point_of
from tests.servers import Influx, Server, free_port, listens, wait_for

_COUNTED = re.compile(r"^(pms_\w+)_total ([0-9.e+]+)$", re.M)
DAYS_BEFORE = 2  # the store has been in use


class Engine:
    """`pms-iot serve` in a directory of its own; `settings` are those it runs with."""

    def __init__(
        self, directory: Path, broker: int, influx: tuple[Influx, str] | None = None
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.began: Counter[str] = (
            Counter()
        )  # counters of all lives, as of shortly before their ends
        self.settings = Settings(data_dir=directory)
        environ = {
            "PMS_DATA_DIR": str(directory),
            "PMS_RULES_DIR": str(directory / "rules"),
            "PMS_MQTT__PORT": str(broker),
            "PMS_WEB__PORT": str(web := free_port()),
            "PMS_LOG_LEVEL": "warning",
            "PMS_DISK_RESERVE_MB": "16",
        }
        if influx is not None:
            server, bucket = influx
            self.settings = Settings(data_dir=directory, influx=server.settings(bucket))
            environ |= server.environment(bucket)
        (directory / "rules" / KIND).mkdir(parents=True)
        self._write(f"rules/{KIND}/points.yaml", _pack())
        site = self._write("site.yaml", _site())
        self._pretend_age()
        command = [sys.executable, busy_engine.__file__, "serve", "--site", str(site)]
        self.server = Server(
            "engine", command, web, directory, lambda: listens(web), environ=environ
        )

    def start(self, *, wait: bool = True) -> None:
        ready = self.server.ready
        self.server.ready = ready if wait else lambda: True
        try:
            self.server.start()
        finally:
            self.server.ready = ready

    def kill(self) -> None:
        self.server.kill()

    def note_counters(self) -> None:
        """While it still can tell."""
        url = f"http://127.0.0.1:{self.server.port}/metrics"
        self.began.update({k: int(float(v)) for k, v in _COUNTED.findall(httpx2.get(url).text)})

    @property
    def keeps_house(self) -> bool:
        """Whether the log is being packed, blocks merged or windows finished just now."""
        with (self.directory / "samples.db.keeper").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def rows(self, file: str, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.directory / file, timeout=30)) as db:
            return db.execute(query).fetchall()

    def is_forwarded(self) -> bool:
        """Samples and roll-ups have left for the server."""
        waiting = self.rows("outgoing.db", "select count(*) from outgoing")[0][0]
        return not waiting and not self.rows("samples.db", "select count(*) from finished")[0][0]

    def _pretend_age(self) -> None:
        """In front of a server a new store trusts itself only from its first day on."""
        before_ns = time.time_ns() - DAYS_BEFORE * 24 * 3600 * 10**9
        path = self.directory / "samples.db"
        EmbeddedStore(path, now_ns=lambda: before_ns, housekeeping=False).close()

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(json.dumps(content))  # JSON is YAML
        return path


@contextmanager
def engine(
    directory: Path, broker: int, influx: tuple[Influx, str] | None = None
) -> Iterator[Engine]:
    running = Engine(directory, broker, influx)
    try:
        running.start()
        yield running
    finally:
        running.server.stop()


def wait_until_up(running: Engine) -> None:
    wait_for(running.server.ready, "the engine to be up", 60)


def _pack() -> dict[str, Any]:
    label = {"zh": "测试", "en": "Chaos"}
    points = {point_of(p): {"label": {"zh": point_of(p), "en": point_of(p)}} for p in range(POINTS)}
    return {"kind": KIND, "label": label, "points": points}


def _site() -> dict[str, Any]:
    label = {"zh": "测试", "en": "Chaos"}
    assets = [
        {"id": asset_of(gateway, number), "kind": KIND, "name": label, "plans": {}}
        | {"gateway": gateway}
        for gateway in GATEWAYS
        for number in range(ASSETS)
    ]
    gateways = [{"id": gateway, "name": label} for gateway in GATEWAYS]
    return {"site": {"code": SITE, "name": label}, "gateways": gateways, "assets": assets}
