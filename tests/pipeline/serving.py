"""The engine as its own program, and a gateway that talks to it over a real broker."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import text

from pms_iot.cli import main
from pms_iot.kernel.db import open_engine
from tests.pipeline.rig import RULES, SITE
from tests.servers import free_port, wait_for

PMS_IOT = Path(sys.executable).with_name("pms-iot")


def environment(directory: Path, **more: object) -> dict[str, str]:
    """Ours without what belongs to the caller's own engine."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PMS_")}
    ours |= {"PMS_DATA_DIR": str(directory), "PMS_RULES_DIR": str(RULES)}
    return ours | {name: str(value) for name, value in more.items()}


def command(
    directory: Path, *words: object, given: str | None = None, **env: object
) -> subprocess.CompletedProcess[str]:
    """Runs one command of pms-iot to its end."""
    return subprocess.run(
        [str(PMS_IOT), *map(str, words)],
        input=given or "",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(directory, **env),
        cwd=directory,
    )


@dataclass
class Engine:
    """`pms-iot serve` on files of its own."""

    directory: Path
    env: Mapping[str, object]
    web_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Engine":
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "site.yaml").write_text(SITE)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        env = {"PMS_WEB__PORT": self.web_port, "PMS_ADMIN_PASSWORD": "correct horse", **self.env}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PMS_IOT), "serve", "--site", str(self.directory / "site.yaml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.directory, **env),
            )
        wait_for(self._is_up, "the engine's pages", 60, 0.02)

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log
        try:
            return httpx2.get(f"{self.url}/livez", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError(f"the engine did not stop:\n{self.log}") from None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-6000:]

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def warnings(self) -> dict[str, str]:
        return httpx2.get(f"{self.url}/readyz", timeout=30).json().get("warnings", {})

    def not_ready(self) -> dict[str, str]:
        """Part -> reason; empty when all is well."""
        return httpx2.get(f"{self.url}/readyz", timeout=30).json().get("reasons", {})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        engine = open_engine(f"sqlite:///{self.directory / 'core.db'}")
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(query))]
        finally:
            engine.dispose()


class Gateway:
    """Sends wire v1 as gw-01 of riverside and keeps what it is acknowledged."""

    def __init__(self, port: int) -> None:
        self.seq, self.acked = 0, dict[str, int]()
        self._changed = threading.Condition()
        subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-01")
        self._client.on_message = self._on_ack
        self._client.on_connect = lambda client, *_: client.subscribe("pms/v1/+/+/ack/+", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(20)

    def _on_ack(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            lane = message.topic.rsplit("/", 1)[1]
            self.acked[lane] = max(self.acked.get(lane, 0), json.loads(message.payload)["seq"])
            self._changed.notify_all()

    def publish(self, body: bytes, lane: str = "data", topic: str | None = None) -> None:
        """Returns when the broker has it."""
        where = topic or f"pms/v1/riverside/gw-01/{lane}"
        self._client.publish(where, body, qos=1).wait_for_publish(30)

    def send(self, line: str, n: int = 1, epoch: str = "9f3a1c2b") -> int:
        """The next batch of the data lane."""
        self.seq += 1
        base = self.acked.get("data", 0) + 1
        head = f"#pms1 gw=gw-01 epoch={epoch} seq={self.seq} n={n} base={base}\n"
        self.publish((head + line + "\n").encode())
        return self.seq

    def wait_acked(self, seq: int, timeout_s: float = 30) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: self.acked.get("data", 0) >= seq, timeout_s)
            assert done, f"never acknowledged: {seq}, only {self.acked}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def temp(value: object, at_ns: int | None = None, asset: str = "PU-01") -> str:
    at_ns = time.time_ns() if at_ns is None else at_ns
    return f"pump,site=riverside,asset={asset} temp={value},q=192i {at_ns}"


def refused(
    directory: Path,
    patch: pytest.MonkeyPatch,
    said: pytest.CaptureFixture[str],
    *words: str,
    **env: object,
) -> list[str]:
    """What a command says of its failure, one line for each mistake. In this process, which is quicker."""
    for name in [name for name in os.environ if name.startswith("PMS_")]:
        patch.delenv(name)
    for name, value in environment(directory, **env).items():
        patch.setenv(name, value)
    patch.chdir(directory)
    patch.setattr(sys, "argv", ["pms-iot", *words])
    with pytest.raises(SystemExit) as ended:  # any other exception would be a traceback
        main()
    assert ended.value.code == 1
    return said.readouterr().err.splitlines()
