import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

sys.path.insert(
    0, str(Path(__file__).parent)
)  # the tests' own servers: tiny_engine, register_device

from tiny_engine import Engine, eventually

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PROFILE = Path(__file__).parent / "profiles" / "devices" / "test_lift.v1.yaml"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Broker:
    """A private mosquitto without persistence: what it had not delivered dies with it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def engine(broker: Broker) -> Iterator[Engine]:
    engine = Engine(broker.port)
    yield engine
    engine.close()


class AgentProcess:
    """`pms-edge run` as its own process."""

    def __init__(self, gateway_file: Path, env: dict[str, str] | None = None) -> None:
        self.log = gateway_file.with_suffix(".log")
        ready = gateway_file.with_suffix(".ready")
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pms_edge", "run", gateway_file, "--ready-file", ready],
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        eventually(lambda: ready.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        self.epoch = ""
        eventually(lambda: ready.read_text().endswith("\n"))
        self.epoch = ready.read_text().strip()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


StartAgent = Callable[..., AgentProcess]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Starts an agent on a gateway given as a dict; kills what is left at the end."""
    started: list[AgentProcess] = []

    def start(gateway: dict[str, Any], env: dict[str, str] | None = None) -> AgentProcess:
        file = tmp_path / "gateway.yaml"
        content = {"profiles": [str(PROFILE.parents[1])], **gateway}
        with file.open("w") as stream:
            YAML(typ="safe").dump(content, stream)
        started.append(AgentProcess(file, env))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


@pytest.fixture
def gateway(broker: Broker) -> dict[str, Any]:
    return {
        "gateway": {"id": "gw-01", "site": "riverside"},
        "uplink": {"host": "127.0.0.1", "port": broker.port},
        "spool": {"path": "spool.db", "flush": "100ms"},
        "classes": {"fast": "50ms", "slow": "200ms"},
        "endpoints": {},
        "devices": [],
    }
