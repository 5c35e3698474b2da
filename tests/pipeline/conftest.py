"""Engines for tests of the main path."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.pipeline.rig import Rig, prepare


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    prepare(directory)
    return directory


@pytest.fixture
def rig(template: Path, tmp_path: Path) -> Generator[Rig]:
    rig = Rig(template, tmp_path / "engine")
    yield rig
    rig.close()
