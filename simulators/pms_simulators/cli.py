"""Command `pms-sim`: run, replay, faults, check."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pms_simulators.clock import Clock, clock_from
from pms_simulators.errors import SettingError, SimulatorError
from pms_simulators.faults import CATALOGUE, FaultPlan
from pms_simulators.mqtt_publisher import Broker
from pms_simulators.replay import Playback, ReplayDevice, load_recording
from pms_simulators.run import Job, Served, build_devices, serve
from pms_simulators.scenario import ModbusSpec, Scenario, load_scenario, seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 the scenario, a file or an address cannot be used, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # pymodbus logs an error for every request of an unknown unit; the answer says it already.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    try:
        options.action(options)
    except SimulatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pms-sim",
        description="Simulated and recorded machines over Modbus TCP and MQTT. 模拟与回放设备。",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve the assets of a scenario / 运行场景")
    run.add_argument("scenario", type=Path)
    run.add_argument("--mqtt", metavar="HOST:PORT", help="broker, over the scenario's")
    run.set_defaults(action=_run)
    replay = commands.add_parser("replay", help="serve a recorded CSV / 回放记录文件")
    _replay_options(replay)
    for command in (run, replay):
        command.add_argument("--host", help="address to listen on, over the scenario's")
        command.add_argument("--truth", type=Path, help="ground-truth file, JSON lines")
        command.add_argument("--ready-file", type=Path, help="JSON with the real addresses")
    faults = commands.add_parser("faults", help="list the faults per kind / 列出故障")
    faults.set_defaults(action=_faults)
    check = commands.add_parser("check", help="check a scenario / 检查场景文件")
    check.add_argument("scenario", type=Path)
    check.set_defaults(action=_check)
    return parser


def _replay_options(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("file", type=Path)
    replay.add_argument("--asset", help="name in the ground truth; the file's name by default")
    replay.add_argument("--port", type=int, default=0, help="0 picks a free one")
    replay.add_argument("--unit", type=int, default=1)
    replay.add_argument("--period", type=seconds, default=1.0, help="simulated time per row: 1s")
    replay.add_argument("--loop", action="store_true")
    replay.add_argument("--skip", type=int, default=0, help="rows left out at the beginning")
    replay.add_argument("--rows", type=int, default=0, help="rows to play; 0 is to the end")
    replay.add_argument("--at-end", choices=("hold", "stop"), default="hold")
    replay.set_defaults(action=_replay)


def _clock() -> Clock:
    return clock_from(os.environ, time.time_ns())


def _broker(text: str | None, scenario: Scenario) -> Broker | None:
    text = text or os.environ.get("PMS_SIM_MQTT")
    if not text:
        return Broker(scenario.mqtt.host, scenario.mqtt.port) if scenario.mqtt else None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise SettingError("mqtt", text, "HOST:PORT")
    return Broker(host, int(port))


def _run(options: argparse.Namespace) -> None:
    scenario, clock = load_scenario(options.scenario), _clock()
    folder = options.scenario.parent
    truth: Path | None = options.truth or (folder / scenario.truth if scenario.truth else None)
    broker = _broker(options.mqtt, scenario)
    if broker is None and any(a.modbus is None for a in scenario.assets):
        raise SettingError("mqtt", "", "a broker: some assets are served over MQTT only")
    served = build_devices(scenario, folder, clock)
    if options.host:
        served = tuple(_on_host(s, options.host) for s in served)
    asyncio.run(serve(Job(served, broker, truth, options.ready_file, _say), clock))


def _on_host(served: Served, host: str) -> Served:
    if served.modbus is None:
        return served
    return Served(served.device, served.modbus.model_copy(update={"host": host}), served.mqtt)


def _replay(options: argparse.Namespace) -> None:
    play = Playback(options.period, options.loop, options.skip, options.rows, options.at_end)
    recording = load_recording(options.file, play)
    device = ReplayDevice(options.asset or options.file.stem, recording, play, FaultPlan())
    address = ModbusSpec(host=options.host or "127.0.0.1", port=options.port, unit=options.unit)
    job = Job((Served(device, address, None),), None, options.truth, options.ready_file, _say)
    asyncio.run(serve(job, _clock()))


def _faults(options: argparse.Namespace) -> None:
    for kind, faults in CATALOGUE.items():
        print(kind)
        for name, words in faults.items():
            print(f"  {name:22} {words.zh} / {words.en}")


def _check(options: argparse.Namespace) -> None:
    scenario = load_scenario(options.scenario)
    for asset in scenario.assets:
        if asset.file is not None:
            load_recording(options.scenario.parent / asset.file, asset.playback)
    print(f"{options.scenario}: {len(scenario.assets)} assets, {len(scenario.faults)} faults, ok")


def _say(line: str) -> None:
    print(line, flush=True)
