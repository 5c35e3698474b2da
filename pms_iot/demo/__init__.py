"""`pms-iot demo`: one property with its plant rooms on this computer; nothing else is needed.

Everything runs as in production, as separate programs: an MQTT broker, simulated machines that speak
Modbus TCP and MQTT, an edge agent that reads them, the engine. Only the clock is compressed.
"""

import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
from ruamel.yaml import YAML

from pms_iot import bootstrap
from pms_iot.demo.processes import Processes
from pms_iot.kernel.clock import ManualClock, ScaledClock, from_ns, to_ns
from pms_iot.kernel.users import Role
from pms_iot.settings import Settings

SITE_ZONE = ZoneInfo("Asia/Shanghai")
GATEWAY_SITE = "riverside"
LAST_DONE_DAYS_AGO = {
    "EL-01": {"half_month": 15},
    "EL-02": {"half_month": 11, "quarter": 80},
    "FP-01": {"week": 7, "month": 20},
    "WT-01": {"cleaning": 172},
}
ROLES = {
    "manager": Role.MANAGER,
    "zhang": Role.TECHNICIAN,
    "li": Role.TECHNICIAN,
    "viewer": Role.VIEWER,
}


@dataclass
class DemoState:
    """What a second start continues from; kept in `demo.json`."""

    start_ns: int  # simulated time at which the machines began
    now_ns: int  # simulated time when last seen running
    passwords: dict[str, str]


def run_demo(directory: Path, port: int, factor: float, recorded: Path | None) -> None:
    """Runs until Ctrl-C or SIGTERM. Raises ChildFailedError if a part does not come up."""
    _on_signals(_leave)
    directory.mkdir(parents=True, exist_ok=True)
    state, known = _load(directory)
    # The machines count from their start, so a second run takes the clock up where the first left it.
    anchor_ns = time.time_ns() - int((state.now_ns - state.start_ns) / factor)
    clock = ScaledClock(anchor_ns, state.start_ns, factor)
    processes = Processes(directory, _clock_env(clock))
    try:
        _say(1, f"data in {directory}: " + ("continued" if known else "new"))
        url = _start_all(processes, directory, port, state, recorded)
        _greet(url, state, factor)
        while True:
            time.sleep(1.0)
            processes.check()
            state.now_ns = clock.now_ns()
            _save(directory, state)
    finally:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave programs behind
        _say_plain("stopping …")
        processes.stop()


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _leave(_number: int, _frame: object) -> None:
    """Ends the program at once, also while a part is still being waited for."""
    sys.exit(0)


def _start_all(
    processes: Processes, directory: Path, port: int, state: DemoState, recorded: Path | None
) -> str:
    broker_port, web_port = _free_port(), _free_port(port)
    processes.start("broker", [sys.executable, "-m", "pms_iot.demo.broker", str(broker_port)])
    processes.wait_for("broker", lambda: _listens(broker_port))
    _say(2, f"MQTT broker on 127.0.0.1:{broker_port}")

    served = _start_machines(processes, directory, broker_port, state, recorded)
    _say(
        3,
        f"{len(served)} machines: "
        + ", ".join(f"{asset} ({_address(m)})" for asset, m in served.items()),
    )

    url = f"http://127.0.0.1:{web_port}"
    env = {
        "PMS_DATA_DIR": str(directory),
        "PMS_MQTT__HOST": "127.0.0.1",
        "PMS_MQTT__PORT": str(broker_port),
        "PMS_WEB__HOST": "127.0.0.1",
        "PMS_WEB__PORT": str(web_port),
    }
    _fill_register(directory, served, state)
    processes.start("engine", [_program("pms-iot"), "serve"], env)
    processes.wait_for("engine", lambda: _answers(f"{url}/livez"))
    _say(4, "engine: embedded time-series store, SQLite, web pages")

    gateway = directory / "gateway.yaml"
    gateway.write_text(json.dumps(_gateway(served, broker_port, directory), indent=1))
    ready = directory / "edge.ready"
    ready.unlink(missing_ok=True)
    command = [_program("pms-edge"), "run", str(gateway), "--ready-file", str(ready)]
    processes.start("edge", command)
    processes.wait_for("edge", lambda: ready.exists() and _answers(f"{url}/readyz"))
    _say(5, "edge agent reads the machines")
    return url


def _start_machines(
    processes: Processes, directory: Path, broker_port: int, state: DemoState, recorded: Path | None
) -> dict[str, dict[str, Any]]:
    scenario, ready = directory / "scenario.yaml", directory / "machines.json"
    ready.unlink(missing_ok=True)
    scenario.write_text(_scenario(recorded))
    processes.start(
        "machines",
        [
            *(_program("pms-sim"), "run", str(scenario)),
            *("--mqtt", f"127.0.0.1:{broker_port}"),
            *("--truth", str(directory / "truth.jsonl")),
            *("--ready-file", str(ready)),
        ],
    )
    processes.wait_for("machines", ready.exists)
    assets: dict[str, dict[str, Any]] = json.loads(ready.read_text())["assets"]
    return assets


def _greet(url: str, state: DemoState, factor: float) -> None:
    _say_plain("")
    _say_plain(f"  open   {url}")
    for username, password in state.passwords.items():
        _say_plain(f"  log in {username:8} {password}")
    _say_plain("")
    _say_plain(f"  Time runs {factor:g} times as fast: the first faults come within minutes.")
    _say_plain("  Ctrl-C stops everything; starting again continues.")


def _gateway(
    served: Mapping[str, Mapping[str, Any]], broker_port: int, directory: Path
) -> dict[str, Any]:
    """The edge agent's configuration for these machines (JSON is YAML)."""
    endpoints: dict[str, Any] = {"field": {"mqtt": f"127.0.0.1:{broker_port}"}}
    devices: list[dict[str, Any]] = []
    for asset, machine in served.items():
        kind = "water_pump" if machine["kind"] == "replay" else machine["kind"]
        device: dict[str, Any] = {"id": asset, "profile": f"{kind}.v1"}
        if modbus := machine.get("modbus"):
            endpoints[asset] = {"tcp": f"{modbus['host']}:{modbus['port']}"}
            device |= {"endpoint": asset, "unit": modbus["unit"]}
        else:
            device |= {"endpoint": "field", "topic": machine["mqtt"]["topic"], "values": "v"}
        devices.append(device)
    return {
        "gateway": {"id": "gw-01", "site": GATEWAY_SITE},
        "uplink": {"host": "127.0.0.1", "port": broker_port},
        "spool": {"path": str(directory / "spool.db"), "max_mb": 64},
        "classes": {"fast": "5s", "normal": "10s", "slow": "60s"},
        "endpoints": endpoints,
        "devices": devices,
    }


def _fill_register(
    directory: Path, served: Mapping[str, Mapping[str, Any]], state: DemoState
) -> None:
    settings = Settings(data_dir=directory)
    clock = ManualClock(from_ns(state.now_ns))
    engine = bootstrap.open_core(settings)
    packs = bootstrap.read_packs(settings)
    today = from_ns(state.start_ns).astimezone(SITE_ZONE).date()
    bootstrap.import_site(engine, packs, _site_file(directory, served, today), clock)
    for username, role in ROLES.items():
        bootstrap.set_account(engine, username, state.passwords[username], role, clock)
    engine.dispose()


def _scenario(recorded: Path | None) -> str:
    text = _resource("scenario.yaml")
    if recorded is None:
        return text
    machine = f"  - {{id: WP-01, kind: replay, file: {json.dumps(str(recorded.resolve()))}, modbus: {{port: 0, unit: 1}}}}"
    return text.replace("assets:\n", f"assets:\n{machine}\n")


def _site_file(directory: Path, served: Mapping[str, Mapping[str, Any]], today: date) -> Path:
    """The property of site.yaml, with some maintenance that is due about now."""
    site: dict[str, Any] = YAML(typ="safe").load(_resource("site.yaml"))
    if any(machine["kind"] == "replay" for machine in served.values()):
        site["assets"] += YAML(typ="safe").load(_resource("recorded.yaml"))
    for asset in site["assets"]:
        asset["plans"] = {
            plan: {"last_done_on": today - timedelta(days=days)}
            for plan, days in LAST_DONE_DAYS_AGO.get(asset["id"], {}).items()
        }
    path = directory / "site.yaml"
    path.write_text(json.dumps(site, ensure_ascii=False, indent=1, default=str))  # JSON is YAML
    return path


def _load(directory: Path) -> tuple[DemoState, bool]:
    path = directory / "demo.json"
    if path.exists():
        return DemoState(**json.loads(path.read_text())), True
    today = (
        datetime.now(UTC).astimezone(SITE_ZONE).replace(hour=7, minute=40, second=0, microsecond=0)
    )
    passwords = {name: secrets.token_urlsafe(6) for name in ROLES}
    state = DemoState(to_ns(today), to_ns(today), passwords)
    _save(directory, state)
    return state, False


def _save(directory: Path, state: DemoState) -> None:
    path = directory / "demo.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(state)))
    new.chmod(0o600)
    new.replace(path)


def _clock_env(clock: ScaledClock) -> Mapping[str, str]:
    return {
        "PMS_CLOCK_ANCHOR_NS": str(clock.anchor_ns),
        "PMS_CLOCK_START_NS": str(clock.start_ns),
        "PMS_CLOCK_FACTOR": f"{clock.factor:g}",
    }


def _resource(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def _program(name: str) -> str:
    """A command of the same environment, installed beside the Python that runs this."""
    return str(Path(sys.executable).with_name(name))


def _address(machine: Mapping[str, Any]) -> str:
    return f"Modbus TCP {machine['modbus']['port']}" if "modbus" in machine else "MQTT"


def _free_port(wanted: int = 0) -> int:
    """`wanted` if nobody has it, else any free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2.0).is_success
    except httpx2.HTTPError:
        return False


def _say(step: int, text: str) -> None:
    _say_plain(f"[{step}/5] {text}")


def _say_plain(text: str) -> None:
    print(text, flush=True)
