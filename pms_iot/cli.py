"""`pms-iot`: the engine's commands."""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import httpx2
import structlog
import typer
import uvicorn

from pms_iot import bootstrap, gateways_cli, replay_cli, telemetry_cli
from pms_iot.adoption import Wish
from pms_iot.demo import run_demo
from pms_iot.ingestfile import IngestFileError, load_sources
from pms_iot.kernel.errors import PmsError
from pms_iot.kernel.logging import configure_logging
from pms_iot.kernel.memory import keep_small, settle
from pms_iot.kernel.text import Text
from pms_iot.kernel.users import Role
from pms_iot.rulepacks import check_packs, rules_root

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(gateways_cli.gateway_config, name="gateway-config")
app.add_typer(telemetry_cli.telemetry, name="telemetry")
# A negative value is a value, not an option.
app.command("device-write", context_settings={"ignore_unknown_options": True})(
    gateways_cli.device_write
)
app.command("replay")(replay_cli.replay_rules)
log = structlog.get_logger()
GRACE_S = 2  # browsers keep their live streams open; they are not waited for longer than this


@app.command()
def serve(
    site: Annotated[
        Path | None, typer.Option(help="Bring the register up to this site file first.")
    ] = None,
) -> None:
    """Runs the engine with its web pages."""
    keep_small()
    settings = bootstrap.read_settings()
    configure_logging(settings.log_level, settings.log_format)
    clock, packs = bootstrap.read_clock(), bootstrap.read_packs(settings)
    engine = bootstrap.open_core(settings)
    if site is not None:
        imported = bootstrap.import_site(engine, packs, site, clock)
        done = imported.register
        log.info("site imported", created=done.created, updated=done.updated)
        _show_passwords(imported)
    if password := bootstrap.ensure_manager(engine, settings, clock):
        _say(f"log in as 'manager' with the password {password} (shown only now)")
    runtime = bootstrap.build(settings, clock, packs, engine)
    runtime.start()
    settle()
    # uvicorn passes the signal on when it has ended; by default that would kill us before `stop`.
    signal.signal(signal.SIGTERM, _end)
    try:
        uvicorn.run(
            runtime.app,
            host=settings.web.host,
            port=settings.web.port,
            log_config=None,  # as configured above
            log_level="warning",
            timeout_graceful_shutdown=GRACE_S,
        )
    finally:
        runtime.stop()


def _end(_signal: int, _frame: object) -> None:
    sys.exit(0)


@app.command()
def demo(
    directory: Annotated[Path, typer.Option(help="Where the data is kept.")] = Path("var/demo"),
    port: Annotated[
        int, typer.Option(help="Port of the web pages; another one if it is taken.")
    ] = 8080,
    factor: Annotated[float, typer.Option(help="How many times as fast as real time.")] = 20.0,
    recorded: Annotated[
        Path | None, typer.Option(help="Also replay this recorded CSV of a water pump.")
    ] = None,
) -> None:
    """Runs a small property on this computer: simulated machines, edge agent, engine."""
    run_demo(directory.resolve(), port, factor, recorded)


@app.command()
def migrate() -> None:
    """Brings the core store's schema up to date."""
    bootstrap.open_core(bootstrap.read_settings())


@app.command("import-site")
def import_site(file: Path) -> None:
    """Brings the register up to a site file."""
    settings = bootstrap.read_settings()
    packs, engine = bootstrap.read_packs(settings), bootstrap.open_core(settings)
    _report(file, bootstrap.import_site(engine, packs, file, bootstrap.read_clock()))


@app.command()
def adopt(
    site: str,
    asset: str,
    field: str,
    kind: Annotated[str, typer.Option(help="Of the asset, if it is to be registered too.")] = "",
    name_zh: Annotated[str, typer.Option(help="Of the asset, likewise.")] = "",
    name_en: Annotated[str, typer.Option(help="Of the asset, likewise.")] = "",
    label_zh: Annotated[str, typer.Option(help="Of the point, if no rule pack names it.")] = "",
    label_en: Annotated[str, typer.Option(help="Of the point, likewise.")] = "",
    unit: Annotated[str, typer.Option(help="Of the point, likewise.")] = "",
) -> None:
    """Registers a field that arrives and is unknown; the running engine takes it up, with its past."""
    settings = bootstrap.read_settings()
    packs, engine = bootstrap.read_packs(settings), bootstrap.open_core(settings)
    wish = Wish(
        site, asset, field, kind, Text(name_zh, name_en), Text(label_zh, label_en), unit=unit
    )
    bootstrap.adopt(engine, packs, wish, "pms-iot adopt", bootstrap.read_clock())


def _report(file: Path, imported: bootstrap.Imported) -> None:
    done = imported.register
    _say(f"{file}: {done.created} created, {done.updated} updated, {done.unchanged} unchanged")
    _show_passwords(imported)


def _show_passwords(imported: bootstrap.Imported) -> None:
    for username, password in imported.passwords.items():
        _say(f"log in as {username!r} with the password {password} (shown only now)")


def _say(words: str) -> None:
    """To the person at the terminal; standard output is for results, the log for events."""
    print(words, file=sys.stderr)


@app.command("add-user")
def add_user(username: str, role: Role) -> None:
    """Adds an account, or gives it a new password; asked for, or read from standard input."""
    if sys.stdin.isatty():
        password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().strip()
    if not password:
        raise typer.BadParameter("the password is empty")
    engine = bootstrap.open_core(bootstrap.read_settings())
    bootstrap.set_account(engine, username, password, role, bootstrap.read_clock())


@app.command("check-rules")
def check_rules(
    directory: Annotated[Path | None, typer.Argument(help="Default: the packs in use.")] = None,
) -> None:
    """Checks the rule packs and runs their tests: series in, alerts out."""
    root = directory or rules_root(bootstrap.read_settings().rules_dir)
    problems = check_packs(root)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"rule packs in {root}: all is well")


@app.command("check-ingest")
def check_ingest(file: Path) -> None:
    """Checks a file of third-party sources (PMS_INGEST_FILE) without starting anything."""
    try:
        sources = load_sources(file)
    except IngestFileError as error:
        for problem in error.problems:
            print(problem)
        raise typer.Exit(1) from None
    print(f"{file}: {len(sources)} source(s), all is well")


@app.command("settings")
def show_settings() -> None:
    """Prints the settings in force; secrets are masked."""
    settings = bootstrap.read_settings()
    shown = settings.model_dump(mode="json") | {"database_url": bootstrap.core_place(settings)}
    print(json.dumps(shown, indent=1, ensure_ascii=False))


@app.command()
def health() -> None:
    """Asks the running engine whether it is ready; for health checks."""
    settings = bootstrap.read_settings()
    try:
        answer = httpx2.get(f"http://127.0.0.1:{settings.web.port}/readyz", timeout=4)
    except httpx2.HTTPError as problem:
        print(f"no answer: {problem}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.text)
    raise typer.Exit(0 if answer.is_success else 1)


def main() -> None:
    """The entry point: what is wrong with a configuration is said in one line, without a traceback."""
    try:
        app()
    except PmsError as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
