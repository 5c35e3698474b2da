"""The engine's commands, as a person at a terminal uses them."""

import json
import shutil
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from pms_iot.cli import app
from pms_iot.kernel.auth import verify_password
from pms_iot.kernel.db import open_engine

SITE = """
site: {code: riverside, name: {zh: 滨河, en: Riverside}}
gateways: [{id: gw-01, name: {zh: 网关, en: Gateway}}]
assets: [{id: EL-01, kind: elevator, name: {zh: 电梯, en: Lift}, gateway: gw-01}]
technicians: [{username: zhang, name: 张伟, skills: [lift_mechanic]}]
"""
PACKS = Path(__file__).parents[1] / "pipeline" / "rules"


@dataclass
class Terminal:
    directory: Path
    patch: pytest.MonkeyPatch

    def run(self, *words: str, given: str | None = None, **env: str) -> Result:
        for name, value in {"PMS_DATA_DIR": str(self.directory / "data"), **env}.items():
            self.patch.setenv(name, value)
        return CliRunner().invoke(app, list(words), input=given)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        engine = open_engine(f"sqlite:///{self.directory / 'data' / 'core.db'}")
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(text(query))]
        engine.dispose()
        return found


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(tmp_path, monkeypatch)


def test_migrate_makes_the_core_store_and_a_repeat_changes_nothing(terminal: Terminal) -> None:
    for _ in range(2):
        assert terminal.run("migrate").exit_code == 0
        assert terminal.rows("select count(*) from alembic_version") == [(1,)]
        assert terminal.rows("select count(*) from asset") == [(0,)]


def test_import_site_says_what_it_did_and_shows_passwords_once(terminal: Terminal) -> None:
    site = terminal.directory / "site.yaml"
    site.write_text(SITE)
    first = terminal.run("import-site", str(site))
    assert first.exit_code == 0
    assert "0 updated, 0 unchanged" in first.stderr and "'zhang'" in first.stderr
    assert terminal.rows("select code from asset order by code") == [("EL-01",), ("gw-01",)]
    again = terminal.run("import-site", str(site))
    assert "0 created, 0 updated" in again.stderr and "password" not in again.stderr


def test_add_user_reads_the_password_from_standard_input(terminal: Terminal) -> None:
    assert terminal.run("add-user", "li", "viewer", given="first\n").exit_code == 0
    assert terminal.run("add-user", "li", "manager", given="second\n").exit_code == 0
    ((role, stored),) = terminal.rows("select role, password_hash from account")
    assert str(role).lower() == "manager"
    assert verify_password("second", str(stored)) and not verify_password("first", str(stored))


@pytest.mark.parametrize("words", [("li", "viewer", "\n"), ("li", "boss", "x\n")])
def test_add_user_refuses_an_empty_password_and_an_unknown_role(
    terminal: Terminal, words: tuple[str, str, str]
) -> None:
    name, role, given = words
    assert terminal.run("add-user", name, role, given=given).exit_code == 2
    assert not (terminal.directory / "data" / "core.db").exists()


def test_settings_are_shown_without_secrets(terminal: Terminal) -> None:
    secrets = {
        "PMS_MQTT__PASSWORD": "hush-mqtt",
        "PMS_INFLUX__TOKEN": "hush-influx",
        "PMS_WEBHOOK__SECRET": "hush-webhook",
        "PMS_EMAIL__PASSWORD": "hush-mail",
        "PMS_ADMIN_PASSWORD": "hush-admin",
    }
    shown = terminal.run("settings", PMS_WEB__PORT="8123", **secrets)
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["web"]["port"] == 8123
    assert "hush" not in shown.output


def test_the_password_of_a_database_is_not_shown(terminal: Terminal) -> None:
    shown = terminal.run("settings", PMS_DATABASE_URL="postgresql+psycopg://u:hush@db/pms")
    assert "hush" not in shown.output and "u:***@db/pms" in shown.output


def test_check_rules_ends_with_1_and_names_what_is_wrong(terminal: Terminal) -> None:
    packs = terminal.directory / "packs"
    shutil.copytree(PACKS, packs)
    good = terminal.run("check-rules", str(packs))
    assert (good.exit_code, "all is well" in good.stdout) == (0, True), good.output
    case = packs / "pump" / "tests" / "cold.yaml"
    case.parent.mkdir()
    case.write_text(
        "asset: PU-01\n"
        "input: {temp: {start: 0, step: 10s, values: [20x30]}}\n"
        "expect: [{rule: hot, fires_at: 60s}]\n"
    )
    failing = terminal.run("check-rules", str(packs))
    assert failing.exit_code == 1
    assert "pump/tests/cold.yaml" in failing.stdout and "hot" in failing.stdout
    points = packs / "pump" / "points.yaml"
    points.write_text(points.read_text().replace("kind: pump", "kind: pmup"))
    wrong = terminal.run("check-rules", str(packs))
    assert wrong.exit_code == 1
    assert "packs/pump/points.yaml:1: kind" in str(wrong.exception)  # `main` prints it


@pytest.fixture
def answering() -> Generator[Callable[[int], int]]:
    """A web server that answers every request with this status; returns its port."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{"status":"as asked"}')

            def log_message(self, format: str, *args: object) -> None: ...

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1].server_port

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_ends_as_the_engine_answers(
    terminal: Terminal, answering: Callable[[int], int], status: int, code: int
) -> None:
    asked = terminal.run("health", PMS_WEB__PORT=str(answering(status)))
    assert asked.exit_code == code
    assert "as asked" in asked.stdout


def test_check_ingest_names_every_mistake_and_praises_a_good_file(terminal: Terminal) -> None:
    file = terminal.directory / "ingest.yaml"
    file.write_text("sources:\n  - {topic: 'a/b', site: s}\n  - {topic: '#', site: s, asset: x}\n")
    bad = terminal.run("check-ingest", str(file))
    assert bad.exit_code == 1
    assert [line[:27] for line in bad.stdout.splitlines()] == [
        "ingest.yaml:2: sources.0.as",
        "ingest.yaml:3: sources.1.to",
    ]
    file.write_text("sources:\n  - {topic: 'a/{asset}', site: s}\n")
    assert terminal.run("check-ingest", str(file)).exit_code == 0
