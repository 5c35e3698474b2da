"""What an operator sends to a gateway: the engine's commands and the edge agent, as processes."""

import json
import os
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, free_port, wait_for

KEY = "0123456789abcdef0123456789abcdef"
PUMP = """
profile: pump.w
version: 1
measurement: water_pump
points: [{name: pressure, at: 0, type: u16, scale: 0.1, class: fast}]
writes: [{name: setpoint, at: 0, type: u16, scale: 0.1, range: [-20, 60]}]
"""


class Registers(socketserver.ThreadingTCPServer):
    """Ten holding registers over Modbus TCP: function codes 3 and 6."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.values = [300] + [0] * 9
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, body: bytes) -> bytes:
        function, address, count = struct.unpack(">BHH", body[1:6])
        if function == 6:
            self.values[address] = count
            return body
        found = self.values[address : address + count]
        return body[:2] + bytes([2 * count]) + struct.pack(f">{count}H", *found)


class _Conversation(socketserver.StreamRequestHandler):
    server: Registers

    def handle(self) -> None:
        while len(head := self.rfile.read(6)) == 6:
            transaction, _, size = struct.unpack(">HHH", head)
            reply = self.server.answer(self.rfile.read(size))
            self.wfile.write(struct.pack(">HHH", transaction, 0, len(reply)) + reply)


@dataclass
class Site:
    folder: Path
    broker: int
    device: Registers
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def gateway(self, **more: Any) -> str:
        content: dict[str, Any] = {
            "gateway": {"id": "gw-01", "site": "riverside"},
            "uplink": {"host": "127.0.0.1", "port": self.broker},
            "classes": {"fast": "100ms"},
            "endpoints": {"plc": {"tcp": f"127.0.0.1:{self.device.server_address[1]}"}},
            "devices": [{"id": "P1", "profile": "pump.w", "endpoint": "plc", "unit": 1}],
            **more,
        }
        return json.dumps(content)  # which is YAML as well

    def start_agent(self, *, trial: str = "60s", **more: Any) -> None:
        local = {"push": {"key_file": "push.key", "trial": trial}, "profiles": ["."]}
        file, ready = self.folder / "gateway.yaml", self.folder / "ready"
        file.write_text(self.gateway(**local, **more))
        command = [sys.executable, "-m", "pms_edge", "run", file, "--ready-file", ready]
        with (self.folder / "agent.log").open("wb") as log:
            self.agents.append(subprocess.Popen(command, stderr=log))
        wait_for(ready.exists, "the agent")

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        env = os.environ | {
            "PMS_MQTT__PORT": str(self.broker),
            "PMS_DATA_DIR": str(self.folder / "data"),
        }
        command = [sys.executable, "-c", "from pms_iot.cli import main; main()", *map(str, words)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def site(broker: Server, tmp_path: Path) -> Generator[Site]:
    (tmp_path / "push.key").write_text(KEY)
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "pump.yaml").write_text(PUMP)
    device = Registers()
    site = Site(tmp_path, broker.port, device)
    yield site
    for agent in site.agents:
        agent.kill()
        agent.wait(10)
    device.shutdown()
    device.server_close()


def test_a_configuration_is_pushed_checked_and_shown(site: Site) -> None:
    site.start_agent()
    target, key = "riverside/gw-01", ["--key-file", site.folder / "push.key"]
    wanted = site.folder / "wanted.yaml"
    second = {"id": "P2", "profile": "pump.w", "endpoint": "plc", "unit": 2}
    wanted.write_text(site.gateway(devices=[second]))
    done = site.run("gateway-config", "push", target, wanted, *key)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "applied"
    shown = site.run("gateway-config", "show", target)
    assert json.loads(shown.stdout) == report
    wanted.write_text(site.gateway(devices=[second | {"profile": "pmp.w"}]))
    refused = site.run("gateway-config", "push", target, wanted, *key)
    assert refused.returncode == 1
    assert "no profile is named 'pmp.w'; did you mean 'pump.w'?" in refused.stderr


def test_a_configuration_that_cuts_the_gateway_off_is_told_as_rolled_back(site: Site) -> None:
    site.start_agent(trial="1s")
    target, key = "riverside/gw-01", ["--key-file", site.folder / "push.key"]
    wanted = site.folder / "wanted.yaml"
    wanted.write_text(site.gateway(uplink={"host": "127.0.0.1", "port": free_port()}))
    back = site.run("gateway-config", "push", target, wanted, *key)
    assert back.returncode == 1
    assert json.loads(back.stdout)["status"] == "rolled_back"


def test_a_value_is_written_once_it_is_as_expected(site: Site) -> None:
    site.start_agent(writes=True)
    key = ["--key-file", site.folder / "push.key"]
    write = ["device-write", "riverside/gw-01", "P1", "setpoint"]
    done = site.run(*write, "35.5", "--expect", "30", "--by", "op-7", *key)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["before"], result["after"]) == (30.0, 35.5)
    assert site.device.values[0] == 355
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in said] == ["device write asked", "device write answered"]
    assert KEY not in done.stderr + done.stdout
    again = site.run(*write, "40", "--expect", "30", *key)
    assert again.returncode == 1
    assert json.loads(again.stdout)["reason"] == "expect_mismatch"
    below = site.run(*write, "-21", "--expect", "35.5", *key)
    assert json.loads(below.stdout)["reason"] == "out_of_range"
    assert site.device.values[0] == 355


def test_mistakes_of_the_operator_are_told_without_a_broker(site: Site) -> None:
    short = site.folder / "short.key"
    short.write_text("short")
    write = ["device-write", "riverside/gw-01", "P1", "setpoint", "1", "--expect", "0"]
    assert "at least 32 bytes" in site.run(*write, "--key-file", short).stderr
    key = ["--key-file", site.folder / "push.key"]
    push = site.run("gateway-config", "push", "riverside", "x.yaml", *key)
    assert (push.returncode, push.stderr) == (1, "riverside: is not SITE/GATEWAY\n")
    push = site.run("gateway-config", "push", "a/b", site.folder / "none.yaml", *key)
    assert "cannot be read" in push.stderr
    site.broker = free_port()
    assert "127.0.0.1" in site.run("gateway-config", "show", "a/b").stderr


def test_no_answer_is_told_as_such(site: Site) -> None:
    file = site.folder / "wanted.yaml"
    file.write_text(site.gateway())
    key = ["--key-file", site.folder / "push.key"]
    push = site.run("gateway-config", "push", "riverside/gw-01", file, *key, "--wait", "1s")
    assert push.returncode == 2
    site.start_agent()  # it was away; the broker kept the message
    show = ["gateway-config", "show", "riverside/gw-01"]
    wait_for(lambda: "applied" in site.run(*show).stdout, "the report", 60)
