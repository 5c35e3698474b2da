"""The plant, built once, copied for each test that wants its own; log-ins; a real server."""

import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.web.plant import Plant, build, fill, open_plant, password_of

LogIn = Callable[[str], TestClient]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filled plant's files, at rest."""
    folder = tmp_path_factory.mktemp("plant")
    build(folder)
    plant = open_plant(folder)
    fill(plant)
    plant.deps.store.close()
    plant.deps.engine.dispose()
    return folder


@pytest.fixture
def plant(files: Path, tmp_path: Path) -> Generator[Plant]:
    """A filled plant of the test's own."""
    shutil.copytree(files, tmp_path / "plant")
    plant = open_plant(tmp_path / "plant")
    yield plant
    plant.deps.store.close()
    plant.deps.engine.dispose()


@pytest.fixture
def log_in(plant: Plant) -> LogIn:
    """log_in(name) -> a client with that person's session; it does not follow redirects."""

    def client_of(name: str) -> TestClient:
        client = TestClient(plant.app, follow_redirects=False, headers={"accept-language": "en"})
        form = {"username": name, "password": password_of(name)}
        assert client.post("/login", data=form).status_code == 303
        return client

    return client_of


class Server(uvicorn.Server):
    """uvicorn in a thread, on a port that the system chose."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture
def served(plant: Plant) -> Generator[str]:
    """The plant's URL."""
    server = Server(plant.app)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.is_up.wait(20)
    yield server.url
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive(), "the server did not stop although a stream was open"
