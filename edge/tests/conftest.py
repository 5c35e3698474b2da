import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parent))  # tiny_engine, register_device, edge_rig

from edge_rig import MOSQUITTO, PROFILE, AgentProcess, Broker, StartAgent
from tiny_engine import Engine

# How long an example takes says nothing on a shared machine.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def engine(broker: Broker) -> Iterator[Engine]:
    engine = Engine(broker.port)
    yield engine
    engine.close()


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Starts an agent on a gateway given as a dict; kills what is left at the end."""
    started: list[AgentProcess] = []

    def start(gateway: dict[str, Any], env: dict[str, str] | None = None) -> AgentProcess:
        file = tmp_path / "gateway.yaml"
        content = {"profiles": [str(PROFILE.parents[1])], **gateway}
        with file.open("w") as stream:
            YAML(typ="safe").dump(content, stream)
        started.append(AgentProcess(file, env))
        start.last = started[-1]
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


@pytest.fixture
def gateway(broker: Broker) -> dict[str, Any]:
    return {
        "gateway": {"id": "gw-01", "site": "riverside"},
        "uplink": {"host": "127.0.0.1", "port": broker.port},
        "spool": {"path": "spool.db", "flush": "100ms"},
        "classes": {"fast": "50ms", "slow": "200ms"},
        "endpoints": {},
        "devices": [],
    }
