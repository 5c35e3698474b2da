"""Command `pms-edge`."""

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pms_edge.clock import clock_from
from pms_edge.config.check import check_file
from pms_edge.config.located import ConfigError
from pms_edge.doctor import command as doctor
from pms_edge.import_points import command as import_points
from pms_edge.logs import log_to_stderr
from pms_edge.profiles.listing import list_profiles

if TYPE_CHECKING:
    from pms_edge.agent import Agent


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 done, 1 mistakes found or start refused, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    if options.command == "check":
        return _check(options.files)
    if options.command == "profiles":
        return list_profiles(options.folders)
    if options.command == "import-points":
        return import_points.run(options)
    if options.command == "doctor":
        return doctor.run(options)
    return _run(options.gateway, options.ready_file, options.log_level)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("pms-edge", description="Edge agent of pms_iot 边缘采集代理")
    parser.add_argument("--version", action="version", version=f"pms-edge {version('pms-edge')}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="read devices and send to the engine 采集并上送")
    run.add_argument("gateway", type=Path, metavar="GATEWAY.yaml")
    run.add_argument("--ready-file", type=Path, help="written once the agent runs 就绪后写入")
    run.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    check = commands.add_parser("check", help="name every mistake in files 检查配置")
    check.add_argument("files", type=Path, nargs="+", metavar="FILE.yaml")
    profiles = commands.add_parser("profiles", help="list profiles and how sure each is 列出点表")
    profiles.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    import_points.add_to(
        commands.add_parser("import-points", help="a profile from a vendor's table 导入厂家点表")
    )
    doctor.add_to(commands.add_parser("doctor", help="look at a device, a bus, a gateway 诊断"))
    return parser


def _check(files: list[Path]) -> int:
    mistakes = [mistake for file in files for mistake in check_file(file, os.environ)]
    for mistake in dict.fromkeys(mistakes):
        print(mistake)
    if mistakes:
        print(f"{len(set(mistakes))} mistake(s) 处错误")
        return 1
    print(f"{len(files)} file(s) correct 个文件正确")
    return 0


def _run(gateway: Path, ready_file: Path | None, log_level: str) -> int:
    # asyncio and paho are loaded only here: `check` needs none of them.
    from pms_edge.remote.generations import Generations
    from pms_edge.start import open_agent, roll_back_failure, start_again

    log_to_stderr(log_level)
    generations = Generations(gateway)
    try:
        agent = open_agent(generations, clock_from())
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"spool cannot be opened: {error}", file=sys.stderr)
        return 1
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            signalled = runner.run(_until_signal(agent, ready_file))
    except Exception as error:
        roll_back_failure(generations, error)
        raise
    if agent.starts_again and not signalled:
        start_again()
    return 0


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (extra `fast`): half the time per request; else Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signal(agent: "Agent", ready_file: Path | None) -> bool:
    """Whether a signal ended it."""
    stop, signals = asyncio.Event(), list[int]()

    def end(number: int) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    await agent.run(stop, ready_file)
    return bool(signals)
