"""`pms-iot gateway-config` and `pms-iot device-write`: what an operator sends to a gateway."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from pms_iot import bootstrap
from pms_iot.kernel.logging import configure_logging
from pms_iot.telemetry.remote import (
    Ask,
    configuration,
    exchange,
    new_id,
    place_of,
    read_key,
    signed,
)

_log = structlog.get_logger(__name__)

gateway_config = typer.Typer(no_args_is_help=True, help="Configuration of gateways.")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_SHOW_S = 5.0


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(text))
    if not match or float(match[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration such as 30s or 24h")
    return float(match[1]) * _UNITS[match[2]]


def _number(text: str) -> float:
    try:
        return int(text) if re.fullmatch(r"-?\d+", str(text)) else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


Target = Annotated[str, typer.Argument(metavar="SITE/GATEWAY")]
KeyFile = Annotated[Path, typer.Option(help="The gateway's push key, 32 bytes or more.")]
Duration = Annotated[float, typer.Option(parser=_seconds, metavar="DURATION")]


@gateway_config.command("push")
def push(
    target: Target,
    file: Annotated[Path, typer.Argument(metavar="GATEWAY.yaml")],
    key_file: KeyFile,
    profile: Annotated[list[Path] | None, typer.Option(help="A profile to send along.")] = None,
    wait: Duration = "90s",  # pyright: ignore[reportArgumentType]  # the parser makes it a number
    expires: Duration = "24h",  # pyright: ignore[reportArgumentType]
) -> None:
    """Sends a configuration; 0 applied, 1 refused or rolled back, 2 no answer in time."""
    place, settings = place_of(target), bootstrap.read_settings()
    id, now_ns, topic = new_id(), bootstrap.read_clock().now_ns(), place.topic("cfg/desired")
    content = configuration(
        file, profile or [], id=id, issued_ns=now_ns, expires_ns=now_ns + int(expires * 1e9)
    )
    report = exchange(
        settings.mqtt,
        place.topic("cfg/reported"),
        lambda said: said.get("id") == id and said.get("status") != "trial",
        wait_s=wait,
        ask=Ask(topic, signed(read_key(key_file), topic, content), retain=True),
    )
    if report is None:
        _say(f"no answer yet; the gateway takes {id} until it expires")
        raise typer.Exit(2)
    for mistake in report.get("mistakes", []):
        _say(str(mistake))
    _print(report)
    raise typer.Exit(0 if report.get("status") == "applied" else 1)


@gateway_config.command("show")
def show(target: Target) -> None:
    """Prints what the gateway reported last; 2 when it has reported nothing."""
    settings = bootstrap.read_settings()
    topic = place_of(target).topic("cfg/reported")
    report = exchange(settings.mqtt, topic, lambda _: True, wait_s=_SHOW_S)
    if report is None:
        _say("the gateway has reported no configuration")
        raise typer.Exit(2)
    _print(report)


def device_write(
    target: Target,
    device: str,
    point: str,
    value: Annotated[float, typer.Argument(parser=_number)],
    key_file: KeyFile,
    expect: Annotated[
        float, typer.Option(parser=_number, help="The value that must be found before.")
    ],
    expires: Duration = "30s",  # pyright: ignore[reportArgumentType]
    by: Annotated[str, typer.Option(help="An id of the operator, never a name.")] = "cli",
) -> None:
    """Writes one value; 0 done, 1 refused or failed, 2 unknown or no answer."""
    place, settings = place_of(target), bootstrap.read_settings()
    configure_logging(settings.log_level, settings.log_format)
    id, topic = new_id(), place.topic("cmd/write")
    content = {
        "id": id,
        "device": device,
        "point": point,
        "value": value,
        "expect": expect,
        "expires_ns": bootstrap.read_clock().now_ns() + int(expires * 1e9),
        "by": by,
    }
    _log.info("device write asked", gateway=target, **content)
    result = exchange(
        settings.mqtt,
        place.topic("cmd/res"),
        lambda said: said.get("id") == id,
        wait_s=expires + 15,  # the device may take its time
        ask=Ask(topic, signed(read_key(key_file), topic, content), retain=False),
    )
    if result is None:
        _log.warning("device write unanswered", gateway=target, id=id)
        _say("no answer: whether it was done is unknown")
        raise typer.Exit(2)
    answer = {key: result.get(key) for key in ("status", "reason", "before", "after")}
    _log.info("device write answered", gateway=target, id=id, **answer)
    _print(result)
    raise typer.Exit({"done": 0, "unknown": 2}.get(str(result.get("status")), 1))


def _print(report: Any) -> None:
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))


def _say(words: str) -> None:
    typer.echo(words, err=True)
