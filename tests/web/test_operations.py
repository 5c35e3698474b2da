"""What machines ask the engine: whether it lives, whether it is ready, its figures; and what people see of it."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from pms_iot.kernel.db import transaction
from pms_iot.web import create_app
from tests.web.conftest import LogIn
from tests.web.plant import VITALS, Plant

HERE, ELSEWHERE = ("127.0.0.1", 40000), ("192.0.2.7", 40000)


def client(plant: Plant, *, token: str | None = None, peer: Any = HERE, **vitals: Any):
    settings = plant.deps.settings.model_copy(
        update={"metrics_token": SecretStr(token) if token else None}
    )
    deps = replace(plant.deps, settings=settings, vitals=lambda: replace(VITALS, **vitals))
    return TestClient(create_app(deps), client=peer)


@pytest.mark.parametrize("peer", [HERE, ("::1", 40000)])
def test_without_a_token_only_this_machine_reads_the_metrics(plant: Plant, peer: Any):
    answer = client(plant, peer=peer).get("/metrics")
    assert answer.status_code == 200 and answer.text.startswith("pms_")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    refused = client(plant, peer=ELSEWHERE).get("/metrics")
    assert refused.status_code == 403 and "pms_pipeline" not in refused.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_a_proxy_on_this_machine_does_not_open_them_to_the_world(plant: Plant, header: str):
    assert client(plant).get("/metrics", headers={header: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize("peer", [HERE, ELSEWHERE])
@pytest.mark.parametrize(
    ("given", "status"),
    [("Bearer s3cret", 200), ("Bearer s3cre", 401), ("Basic s3cret", 401), ("Bearer ä", 401), (None, 401)],
)  # fmt: skip
def test_with_a_token_everybody_needs_it(plant: Plant, peer: Any, given: str | None, status: int):
    headers = [(b"authorization", given.encode())] if given else []
    answer = client(plant, token="s3cret", peer=peer).get("/metrics", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("vitals", "reasons"),
    [
        ({}, {}),
        ({"busy_s": 119.0}, {}),
        ({"busy_s": 121.0}, {"pipeline": "stuck on one message for more than 120 s"}),
        ({"busy_s": 121.0, "waiting": True}, {}),
        ({"alive": False}, {"pipeline": "its thread has ended"}),
    ],
)
def test_livez_fails_when_only_a_restart_helps(plant: Plant, vitals: Any, reasons: Any):
    answer = client(plant, **vitals).get("/livez")
    assert (answer.status_code, answer.json().get("reasons", {})) == (503 if reasons else 200, reasons)  # fmt: skip


def test_readyz_warns_of_a_disk_that_fills_up(plant: Plant):
    low = client(plant).get("/readyz")
    assert (low.status_code, low.json()) == (200, {"status": "ok", "warnings": {"disk": "nearly full"}})  # fmt: skip


def test_readyz_fails_on_a_schema_of_another_version(plant: Plant):
    with transaction(plant.deps.engine) as session:
        session.connection().execute(text("update alembic_version set version_num = '0001'"))
    answer = client(plant).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == {"database": "its schema is of another version"}


def test_a_manager_sees_lag_writes_and_disk(log_in: LogIn):
    page = log_in("manager").get("/admin").text
    assert "4 s (riverside/gw-01)" in page
    assert "95 % within 25 ms" in page
    assert "1.4 GB of 64 GB free" in page and "9 h left until the reserve of 512 MB" in page
    assert "Nearly full" in page
