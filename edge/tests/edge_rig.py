"""What the edge tests are driven with: a private broker, the agent as a process, points."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pms_edge.profiles.profile import Point
from tiny_engine import eventually

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


def point(name: str = "x", address: int = 0, **more) -> Point:
    return PLAIN._replace(name=name, address=address, **more)


PLAIN = Point(
    name="x",
    kind="holding",
    address=0,
    type="u16",
    bit=None,
    order="ABCD",
    poll_class="fast",
    scale=1.0,
    offset=0.0,
    range=None,
    enum=None,
    not_a_value=(),
    event=False,
)
