"""The one path of `pms-sim run` and `pms-sim replay`: build, catch up, listen, publish, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pms_simulators.clock import Clock, LocalCalendar
from pms_simulators.device import Device, SimulatedDevice
from pms_simulators.machines.machine import Placement
from pms_simulators.modbus_server import ModbusPort, group_ports
from pms_simulators.mqtt_publisher import Broker, MqttPublisher
from pms_simulators.replay import ReplayDevice, load_recording
from pms_simulators.scenario import ModbusSpec, Scenario, TopicSpec
from pms_simulators.truth import TruthFile

TICK_S = 0.2  # real seconds between two turns of the background stepper
CANCEL_AGAIN_S = 0.4
SLICE_STEPS = 500  # steps between two looks at the event loop, so that a signal is seen


@dataclass(frozen=True)
class Served:
    """A device and where it is served."""

    device: Device
    modbus: ModbusSpec | None
    mqtt: TopicSpec | None


@dataclass(frozen=True)
class Job:
    """Everything that one run serves."""

    served: tuple[Served, ...]
    broker: Broker | None
    truth: Path | None
    ready_file: Path | None
    say: Callable[[str], None]


def build_devices(scenario: Scenario, folder: Path, clock: Clock) -> tuple[Served, ...]:
    """Devices of a scenario; recordings are found relative to `folder`. Raises RecordingError."""
    calendar = LocalCalendar(clock.start_ns, ZoneInfo(scenario.timezone))
    found: list[Served] = []
    for spec in scenario.assets:
        plan = scenario.plan(spec.id)
        if spec.file is not None:
            recording = load_recording(folder / spec.file, spec.playback)
            device: Device = ReplayDevice(spec.id, recording, spec.playback, plan)
        else:
            place = Placement(spec.id, scenario.seed, plan, calendar)
            device = SimulatedDevice(spec.kind, place, clock.elapsed_s())
        found.append(Served(device, spec.modbus, spec.mqtt))
    return tuple(found)


async def serve(job: Job, clock: Clock) -> None:
    """Serves until SIGTERM or SIGINT. Raises ListenError when a port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    devices = [s.device for s in job.served]
    await _catch_up(devices, clock, stop)
    rows = [(s.modbus.host, s.modbus.port, s.modbus.unit, s.device) for s in job.served if s.modbus]
    ports = group_ports(rows, clock)
    for port, _ in ports:
        await port.listen()
    try:
        _announce(job, ports)
        await _run_until(stop, _tasks(job, devices, ports, clock))
    finally:
        for port, _ in ports:
            await port.close()


def _tasks(
    job: Job, devices: list[Device], ports: list[tuple[ModbusPort, list[Device]]], clock: Clock
) -> list[tuple[str, Any]]:
    truth = TruthFile(job.truth, clock) if job.truth else None
    tasks: list[tuple[str, Any]] = [("stepper", _step(devices, ports, truth, clock))]
    if job.broker is not None:
        for served in job.served:
            if served.mqtt is not None:
                spec = served.mqtt
                publisher = MqttPublisher(served.device, spec.topic, spec.period, job.broker, clock)
                tasks.append((f"mqtt {served.device.asset}", publisher.run()))
    return tasks


async def _run_until(stop: asyncio.Event, work: Iterable[tuple[str, Any]]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine, name=name) for name, coroutine in work]
        await stop.wait()
        # asyncio.wait_for of Python 3.11 may swallow a cancellation, so it is repeated.
        pending: Iterable[asyncio.Task[Any]] = tasks
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def _catch_up(devices: list[Device], clock: Clock, stop: asyncio.Event) -> None:
    """Steps every model to the present before anybody may read it."""
    for device in devices:
        while not (device.advance(clock.elapsed_s(), SLICE_STEPS) or stop.is_set()):
            await asyncio.sleep(0)


async def _step(
    devices: list[Device],
    ports: list[tuple[ModbusPort, list[Device]]],
    truth: TruthFile | None,
    clock: Clock,
) -> None:
    while True:
        for device in devices:
            device.advance(clock.elapsed_s(), SLICE_STEPS)
            await asyncio.sleep(0)
        if truth is not None:
            truth.record(devices, clock.elapsed_s())
        for port, units in ports:
            if all(isinstance(unit, ReplayDevice) and unit.ended() for unit in units):
                await port.close()
        await asyncio.sleep(TICK_S)


def _announce(job: Job, ports: list[tuple[ModbusPort, list[Device]]]) -> None:
    """One line per asset, then the ready file, then `ready`."""
    real = {unit.asset: port for port, units in ports for unit in units}
    ready: dict[str, Any] = {}
    for served in job.served:
        asset = served.device.asset
        entry: dict[str, Any] = {"kind": served.device.kind}
        words: list[str] = []
        if served.modbus is not None:
            host, port, unit = real[asset].host, real[asset].port, served.modbus.unit
            entry["modbus"] = {"host": host, "port": port, "unit": unit}
            words.append(f"modbus tcp {host}:{port} unit {unit}")
        if served.mqtt is not None and job.broker is not None:
            host, port, topic = job.broker.host, job.broker.port, served.mqtt.topic
            entry["mqtt"] = {"host": host, "port": port, "topic": topic}
            words.append(f"mqtt {host}:{port} {topic}")
        ready[asset] = entry
        job.say(f"{asset}  {served.device.kind}  {', '.join(words)}")
    if job.ready_file is not None:
        _write_whole(job.ready_file, json.dumps({"pid": os.getpid(), "assets": ready}, indent=1))
    job.say("ready")


def _write_whole(path: Path, text: str) -> None:
    """A reader sees either no file or all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
