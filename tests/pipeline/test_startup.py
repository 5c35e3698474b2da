"""Mistakes at the start: named in a line each, exit code 1, no traceback; servers that come later are waited for."""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from pms_iot.kernel.db import open_engine
from pms_iot.kernel.migrations import upgrade
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.pipeline.rig import RULES, SITE
from tests.pipeline.serving import Engine, Gateway, command, refused, temp
from tests.servers import Server, free_port, mosquitto, wait_for


class Refused(Protocol):
    """Runs a command with these variables; returns what it says of its failure, line by line."""

    def __call__(self, *words: str, **env: object) -> list[str]: ...


@pytest.fixture
def fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    return partial(refused, tmp_path, monkeypatch, capsys)


def migrated(directory: Path) -> Path:
    engine = open_engine(f"sqlite:///{directory / 'core.db'}")
    upgrade(engine)
    engine.dispose()
    return directory / "core.db"


def test_a_rule_pack_with_typos_names_each_line(tmp_path: Path, fails: Refused) -> None:
    rules = tmp_path / "packs"
    shutil.copytree(RULES, rules)
    file = rules / "pump" / "alerts.yaml"
    file.write_text(file.read_text().replace("point: temp", "point: tmep").replace("P1", "P9"))
    said = fails("serve", PMS_RULES_DIR=rules)
    assert any(line.startswith("packs/pump/alerts.yaml:4: rules.hot.point") for line in said), said
    assert any("severity" in line for line in said), said


def test_a_site_file_with_mistakes_names_each_line(tmp_path: Path, fails: Refused) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE.replace("kind: pump", "kind: pmup", 1).replace("id: PU-02", "id: PU/02"))
    said = fails("serve", "--site", str(site))
    assert [line.split(" ")[0] for line in said[1:]] == ["site.yaml:6:"] or len(said) >= 2, said
    assert all(":" in line for line in said)
    assert any("PU/02" in line or "assets.1.id" in line for line in said), said


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("PMS_WEB__PORT", "abc", "PMS_WEB__PORT: "),
        ("PMS_WEB__PROT", "80", "PMS_WEB__PROT: no such setting; did you mean PMS_WEB__PORT?"),
        ("PMS_RAW_DAYS", "-1", "PMS_RAW_DAYS: "),
        ("PMS_EMAIL__RECIPIENTS", "not json", "email"),
        ("PMS_MQTT__PASSWORD_FILE", "/nowhere/secret", "/nowhere/secret"),
        ("PMS_CLOCK_FACTOR", "fast", "PMS_CLOCK_FACTOR"),
        ("PMS_LOG_LEVEL", "loud", "PMS_LOG_LEVEL"),
        ("PMS_DATABASE_URL", "nonsense", "PMS_DATABASE_URL"),
        ("PMS_DATABASE_URL", "postgresql+psycopg://u:hush@127.0.0.1:9/x", "127.0.0.1"),
        ("PMS_DATA_DIR", "/proc/nowhere", "PMS_DATA_DIR"),
        ("PMS_RULES_DIR", "/nowhere", "/nowhere"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, fails: Refused, variable: str, value: str, place: str
) -> None:
    said = "\n".join(fails("serve", **{variable: value}))
    assert place in said, said
    assert "hush" not in said


def test_two_wrong_settings_are_two_lines(tmp_path: Path, fails: Refused) -> None:
    wrong = {"PMS_WEB__PORT": "abc", "PMS_MQTT__PORT": "def"}
    said = fails("settings", **wrong)
    assert sorted(line.split(":")[0] for line in said[1:]) == ["PMS_MQTT__PORT", "PMS_WEB__PORT"]


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_a_damaged_core_store_is_named_and_left_alone(
    tmp_path: Path, fails: Refused, damage: str
) -> None:
    core = migrated(tmp_path)
    content = core.read_bytes()
    content = b"what is this" * 1000 if damage == "garbage" else content[: len(content) // 2]
    core.write_bytes(content)
    said = fails("serve")
    assert len(said) == 1 and "core.db" in said[0], said
    assert core.read_bytes() == content


def test_a_core_store_of_a_newer_version_is_refused(tmp_path: Path, fails: Refused) -> None:
    engine = open_engine(f"sqlite:///{migrated(tmp_path)}")
    with engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    engine.dispose()
    said = fails("serve")
    assert len(said) == 1 and "core.db" in said[0] and "9999" in said[0], said


def test_an_influxdb_that_is_away_holds_up_no_start(tmp_path: Path, broker: Server) -> None:
    port = free_port()
    env = {"PMS_MQTT__PORT": broker.port, "PMS_INFLUX__URL": f"http://127.0.0.1:{port}"}
    with Engine(tmp_path / "engine", env) as engine:
        gateway = Gateway(broker.port)
        gateway.wait_acked(gateway.send(temp(20)))
        wait_for(lambda: str(port) in engine.log, "the address in the log", 30, 0.05)
        gateway.close()


def test_a_server_that_is_away_holds_up_no_start_of_a_store_that_is_days_old(
    tmp_path: Path, broker: Server
) -> None:
    """What this store has then begins a day ago, later at each look; new rules read a history from before."""
    env = {"PMS_MQTT__PORT": broker.port, "PMS_INFLUX__URL": f"http://127.0.0.1:{free_port()}"}
    (tmp_path / "engine").mkdir()
    three_days_ago = time.time_ns() - 3 * 86_400 * 10**9
    EmbeddedStore(tmp_path / "engine" / "samples.db", now_ns=lambda: three_days_ago).close()
    with Engine(tmp_path / "engine", env) as engine:
        gateway = Gateway(broker.port)
        gateway.wait_acked(gateway.send(temp(20)))
        assert "older history cannot be read now" in engine.log
        gateway.close()


def test_a_truncated_sample_store_is_set_aside_and_the_engine_runs(
    tmp_path: Path, broker: Server
) -> None:
    engine = Engine(tmp_path / "engine", {"PMS_MQTT__PORT": broker.port})
    with engine:
        gateway = Gateway(broker.port)
        lines = [temp(20, asset=f"PU-0{1 + i % 2}") for i in range(400)]
        gateway.wait_acked(gateway.send("\n".join(lines), n=len(lines)))
        engine.stop()
        assert not list(engine.directory.glob("*.db-wal")), "an orderly end closes the stores"
        samples = engine.directory / "samples.db"
        content = samples.read_bytes()
        samples.write_bytes(content[: len(content) // 2])
        engine.start()
        assert (engine.directory / "samples.db.damaged-1").exists()
        gateway.wait_acked(gateway.send(temp(20)))
        gateway.close()
        assert "store file damaged" in engine.log


def test_a_broker_that_comes_later_is_found(tmp_path: Path) -> None:
    port = free_port()
    with Engine(tmp_path / "engine", {"PMS_MQTT__PORT": port}) as engine:
        assert engine.not_ready() == {"broker": "not connected"}
        assert command(tmp_path, "health", PMS_WEB__PORT=engine.web_port).returncode == 1
        with mosquitto(tmp_path / "broker", port=port):
            wait_for(lambda: engine.not_ready() == {}, "the engine to be ready", 60, 0.05)
            gateway = Gateway(port)
            gateway.wait_acked(gateway.send(temp(20)))
            gateway.close()
        healthy = command(tmp_path, "health", PMS_WEB__PORT=free_port())
        assert healthy.returncode == 1 and "no answer" in healthy.stderr
