"""docker-compose.yml cannot be run everywhere; what can be proven without Docker is proven here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pms_iot.settings import names_of

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ["engine", "edge", "simulators"]


def test_all_parts_are_there_with_a_health_check() -> None:
    others = {"mosquitto", "influxdb", "postgres", "prometheus", "grafana"}
    assert {*others, *OURS} == set(SERVICES)
    assert all("healthcheck" in service for service in SERVICES.values())


def test_services_depend_only_on_services_that_exist() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_every_variable_of_the_engine_is_a_setting() -> None:
    known = names_of()
    assert set(SERVICES["engine"]["environment"]) <= known
    assert len(SERVICES["engine"]["environment"]) >= 10


def test_every_variable_that_is_interpolated_is_a_setting_or_a_server_password() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used - {"INFLUX_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"} <= names_of()


@pytest.mark.parametrize("file", ["servers.env", "observability.env"])
def test_an_environment_file_sets_only_variables_that_compose_reads(file: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    from_environment = {secret["environment"] for secret in COMPOSE["secrets"].values()}
    lines = (ROOT / "deploy" / file).read_text().splitlines()
    names = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    assert names
    assert all(f"${{{name}" in text for name in names - from_environment)


def test_pinned_images_only() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert all(re.search(r":v?\d", image) for image in images), images


def test_a_service_with_a_secret_of_the_environment_is_not_read_only() -> None:
    """Compose copies such a secret into the container and refuses a read-only one."""
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert not (service.get("secrets") and service.get("read_only"))


def test_the_edge_reads_the_variables_that_compose_sets(tmp_path: Path) -> None:
    environment = dict(SERVICES["edge"]["environment"])
    environment["PMS_EDGE_UPLINK__PORT"] = "not a port"  # an error proves that the prefix is read
    done = run(["pms-edge", "check", "deploy/gateway.yaml"], environment)
    assert done.returncode == 1 and "PMS_EDGE_UPLINK__PORT" in done.stdout + done.stderr


def test_unknown_edge_variables_are_refused() -> None:
    done = run(["pms-edge", "check", "deploy/gateway.yaml"], {"PMS_EDGE_UPLINK__HOTS": "x"})
    assert done.returncode == 1 and "HOTS" in done.stdout + done.stderr


@pytest.mark.parametrize("service", OURS)
def test_every_command_exists(service: str) -> None:
    for command in (SERVICES[service]["command"], SERVICES[service]["healthcheck"]["test"][1:]):
        done = run([*command[:2], "--help"])
        assert done.returncode == 0, done.stderr
        for option in (word for word in command if word.startswith("--")):
            assert option in done.stdout


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_mounted_file_exists(service: str) -> None:
    for volume in SERVICES[service]["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


def test_the_mounted_configurations_are_valid() -> None:
    for command in (
        ["pms-edge", "check", "deploy/gateway.yaml"],
        ["pms-sim", "check", "deploy/scenario.yaml"],
    ):
        done = run(command, dict(SERVICES["edge"]["environment"]) if "edge" in command[0] else {})
        assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed"
    return subprocess.run(
        [program, *command[1:]],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
