"""The command line of `pms-edge doctor`."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pms_edge.config.fields import seconds

if TYPE_CHECKING:
    from pms_edge.doctor.scan import Found

# MODBUS Application Protocol V1.1b3, chapter 7.
REFUSALS = {
    1: "the unit has no such function: try another --kind 不支持该功能码，换 --kind",
    2: "the unit answers, but has not all of these addresses 站号正确，地址不存在",
    3: "the unit does not give so many registers at once 一次读取过多",
    4: "the unit has failed 设备故障",
    6: "the unit is busy 设备忙",
}
READ = """Reads a block and shows it in every way that it can be read. Marked with * is what is plausible: 0 or a
size from 0.0001 to 10,000,000; with ** what is also a float of at most 5 significant digits.
读取一段寄存器，按所有类型和字节序显示，标出可信的。"""


def add_to(doctor: argparse.ArgumentParser) -> None:
    """The options of every task."""
    tasks = doctor.add_subparsers(dest="task", required=True)
    read = tasks.add_parser(
        "read", help="show a block in every order 按各种字节序显示", description=READ
    )
    _add_line(read, many=False)
    read.add_argument("--unit", type=_within(0, 255), required=True, help="station 站号")
    read.add_argument("--at", type=_within(0, 65535), required=True, help="wire address, from 0")
    read.add_argument("--count", type=_within(1, 100), default=10, help="default 10")
    kinds = ["holding", "input", "coil", "discrete"]
    read.add_argument("--kind", choices=kinds, default="holding")
    read.add_argument("--all", action="store_true", help="also what is not plausible 显示全部")
    read.add_argument("--timeout", type=_seconds, default=1.0, metavar="1s")
    scan = tasks.add_parser("scan", help="which units answer 扫描站号")
    _add_line(scan, many=True)
    scan.add_argument("--units", type=_units, default="1-247", help="default 1-247")
    scan.add_argument("--timeout", type=_seconds, default=0.3, metavar="300ms")
    bus = tasks.add_parser(
        "bus", help="load, round trips and hours of spool 总线负载、时延、缓存时长"
    )
    bus.add_argument("gateway", type=Path, metavar="GATEWAY.yaml")
    bus.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="10s", help="how long to poll"
    )
    agent = "ask the agent that runs, through its broker 询问运行中的代理"
    bus.add_argument("--agent", action="store_true", help=agent)


def _add_line(parser: argparse.ArgumentParser, *, many: bool) -> None:
    """Adds the options that say how to reach the units; `many` allows lists of serial settings."""
    several = ", or several with commas 可用逗号列出多个" if many else ""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tcp", metavar="HOST:PORT", help="Modbus TCP")
    which.add_argument("--rtu", metavar="/dev/…", help="RTU on a serial port 串口")
    which.add_argument(
        "--rtu-tcp", metavar="HOST:PORT", help="RTU through a serial server 串口服务器"
    )
    parser.add_argument("--baud", help=f"for --rtu, default 9600{several}")
    parser.add_argument("--parity", help=f"N, E or O for --rtu, default E{several}")
    parser.add_argument("--stop", help="1 or 2 stop bits for --rtu, default 1")


def run(options: argparse.Namespace) -> int:
    """0 something answered, 1 nothing did or a mistake in a file, 2 wrong usage, 130 Ctrl-C."""
    from pms_edge.doctor.line import LineError

    try:
        return {"read": _read, "scan": _scan, "bus": _bus}[options.task](options)
    except LineError as error:
        print(f"pms-edge doctor {options.task}: {error}", file=sys.stderr)
        return 2


def _read(options: argparse.Namespace) -> int:
    from pms_edge.doctor.line import endpoints, explain
    from pms_edge.doctor.read import read
    from pms_edge.modbus import NoReplyError, RefusedError

    (endpoint,) = endpoints(options)
    try:
        print("\n".join(asyncio.run(read(endpoint, options))))
    except NoReplyError as error:
        return _fail(explain(endpoint, error))
    except RefusedError as error:
        return _fail(f"{error}: {REFUSALS.get(error.code, 'the unit refuses 拒绝')}")
    return 0


def _scan(options: argparse.Namespace) -> int:
    from pms_edge.doctor.line import endpoints, explain
    from pms_edge.doctor.scan import HEAD, scan
    from pms_edge.modbus import NoReplyError

    lines = list(endpoints(options))
    longest_s = len(lines) * len(options.units) * options.timeout * (1 if options.tcp else 2)
    print(
        f"{len(options.units)} 个站号 units × {len(lines)}: 最多 at most {longest_s:.0f} s, Ctrl-C 停止 stops"
    )
    print(HEAD, flush=True)
    found: list[Found] = []

    def show(one: "Found") -> None:
        found.append(one)
        print(one, flush=True)

    try:
        asyncio.run(scan(lines, options.units, options.timeout, show))
    except NoReplyError as error:
        return _fail(explain(lines[0], error))
    except KeyboardInterrupt:
        print(f"\n已停止 stopped: {len(found)} 个应答 answered so far")
        return 130
    print(f"{len(found)} 个应答 answered")
    return 0 if found else 1


def _bus(options: argparse.Namespace) -> int:
    from pms_edge.config.located import ConfigError
    from pms_edge.doctor.bus import report

    try:
        seen = report(options.gateway, seconds=options.seconds, ask_agent=options.agent, say=print)
    except (ConfigError, OSError) as error:
        return _fail(str(error))
    return 0 if seen else 1


def _fail(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


def _within(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text, 0)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not {low} to {high}")
        return value

    return number


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _units(text: str) -> list[int]:
    """`1-32,100` as numbers."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        ranges = [range(int(first), int(last or first) + 1) for first, _, last in parts]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1-32,100") from None
    units = list(dict.fromkeys(unit for numbers in ranges for unit in numbers))
    if not units or min(units) < 0 or max(units) > 255:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0 to 255")
    return units
