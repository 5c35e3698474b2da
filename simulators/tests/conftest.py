"""Real `pms-sim` processes and the models they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pms_simulators.clock import LocalCalendar
from pms_simulators.device import SimulatedDevice
from pms_simulators.faults import Fault, FaultPlan
from pms_simulators.machines.machine import Placement

ZONE = ZoneInfo("Asia/Shanghai")
DEADLINE_S = 20.0


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> object:
    """Polls until the condition is true and returns its value; fails at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


class Running:
    """A `pms-sim` process that has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str], ready: dict) -> None:
        self.process = process
        self.assets: dict = ready["assets"]

    def address(self, asset: str) -> tuple[str, int, int]:
        where = self.assets[asset]["modbus"]
        return where["host"], where["port"], where["unit"]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)


@pytest.fixture
def wait() -> Callable[..., object]:
    return wait_for


@pytest.fixture
def start_sim(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """start(*arguments, **environment) -> Running; stopped at the end of the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: str) -> Running:
        ready_file = tmp_path / f"ready-{len(begun)}.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "pms_simulators", *map(str, arguments),
             "--ready-file", str(ready_file)],
            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        begun.append(process)
        wait_for(lambda: ready_file.exists() or process.poll() is not None, "ready file")
        assert process.poll() is None, process.stdout and process.stdout.read()
        return Running(process, json.loads(ready_file.read_text()))

    yield start
    for process in begun:
        process.kill()
        process.wait(timeout=10)
        if process.stdout:
            process.stdout.close()


def clock_environment(elapsed_s: float, local: str = "2026-06-02T09:00") -> dict[str, str]:
    """A clock that practically stands still `elapsed_s` (and a half) after its start."""
    start_ns = int(datetime.fromisoformat(local).replace(tzinfo=ZONE).timestamp()) * 10**9
    anchor_ns = time.time_ns() - round((elapsed_s + 0.5) * 1e9 * 1000)
    return {
        "PMS_CLOCK_START_NS": str(start_ns),
        "PMS_CLOCK_ANCHOR_NS": str(anchor_ns),
        "PMS_CLOCK_FACTOR": "0.001",
    }


@pytest.fixture
def still_clock() -> Callable[..., dict[str, str]]:
    return clock_environment


@pytest.fixture
def make_device() -> Callable[..., SimulatedDevice]:
    """make(kind, *faults, asset=, seed=, local=, now_s=) -> a model at its start."""

    def make(
        kind: str,
        *faults: Fault,
        asset: str = "X-01",
        seed: int = 7,
        local: str = "2026-06-02T09:00",
        now_s: float = 0.0,
    ) -> SimulatedDevice:
        start_ns = int(datetime.fromisoformat(local).replace(tzinfo=ZONE).timestamp()) * 10**9
        place = Placement(asset, seed, FaultPlan(faults), LocalCalendar(start_ns, ZONE))
        return SimulatedDevice(kind, place, now_s)

    return make
