"""Which line to look at, as given on the command line."""

import argparse
from collections.abc import Iterator

from pydantic import ValidationError

from pms_edge.config.gateway_file import Endpoint
from pms_edge.modbus.errors import NoReplyError

LINES = {"tcp": "HOST:PORT", "rtu": "/dev/…", "rtu_tcp": "HOST:PORT"}


class LineError(Exception):
    """What was given on the command line does not name a line."""


def endpoints(options: argparse.Namespace) -> Iterator[Endpoint]:
    """One for each combination of serial settings. Raises LineError naming the option."""
    for baud in (options.baud or "").split(","):
        for parity in (options.parity or "").split(","):
            yield _endpoint(options, baud.strip(), parity.strip().upper())


def _endpoint(options: argparse.Namespace, baud: str, parity: str) -> Endpoint:
    given = {key: getattr(options, key) for key in LINES}
    settings = {**given, "baud": baud, "parity": parity, "stop": options.stop}
    if settings["stop"]:
        settings["stop"] = int(settings["stop"]) if settings["stop"] in "12" else settings["stop"]
    try:
        return Endpoint.model_validate({key: value for key, value in settings.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        place = f"--{first['loc'][0]}".replace("_", "-") + ": " if first["loc"] else ""
        raise LineError(place + first["msg"].removeprefix("Value error, ")) from None


def name_of(endpoint: Endpoint) -> str:
    if endpoint.rtu:
        return f"{endpoint.rtu} {endpoint.baud} 8{endpoint.parity}{endpoint.stop}"
    host, port = endpoint.tcp or endpoint.rtu_tcp or ("", 0)
    return f"{endpoint.kind} {host}:{port}"


def explain(endpoint: Endpoint, error: NoReplyError) -> str:
    """Why nothing came, and what to look at."""
    advice = {
        "busy": "the port is in use, perhaps by an agent that runs: stop it first"
        " · 串口被占用，先停止正在运行的代理",
        "timeout": "check the unit number, wiring (A/B) and serial settings"
        " · 检查站号、接线（A/B）和串口参数",
        "crc": "wrong baud rate or parity, two units of one number, or a missing terminator"
        " · 波特率或校验错误、站号重复或缺终端电阻",
        "connect": "nobody accepts the connection there · 无法建立连接",
        "gateway": "the gateway reaches no such unit · 网关找不到该站号",
    }
    hint = advice.get(error.cause)
    return f"{name_of(endpoint)}: {error}" + (f"\n{hint}" if hint else "")
