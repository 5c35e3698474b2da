"""Installations with a register and a history, for tests that move it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.cli import app
from pms_iot.kernel.db import open_engine
from pms_iot.kernel.errors import PmsError
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.transfer.journal import Journal
from pms_iot.telemetry.transfer.progress import Quiet
from pms_iot.telemetry.transfer.run import Pace, Run
from tests.register import register

T0 = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z
S = 10**9
DAY = 86_400 * S
SITES = {
    "riverside": {
        "elevator:EL-01": ["p0", "p1", "motor_temp"],
        "booster_set:B S=1,α": ["flow", "in,let p=1", 'say "x\\y"', "temp.anomaly"],
    },
    "hill": {"elevator:EL-99": ["motor_temp"]},
}
PMS_IOT = Path(sys.executable).with_name("pms-iot")


@dataclass
class Installation:
    """A data directory with its core store; `others` makes the numbers of its series differ."""

    directory: Path
    catalog: SeriesCatalog = field(init=False)

    @classmethod
    def made(cls, directory: Path, migrated: Path, *, others: int = 0) -> "Installation":
        directory.mkdir(parents=True)
        shutil.copy(migrated, directory / "core.db")
        made = cls(directory)
        sites = {"elsewhere": {"gateway:gw": [f"x{i}" for i in range(others)]}} if others else {}
        made.catalog = register(open_engine(f"sqlite:///{directory / 'core.db'}"), sites | SITES)
        return made

    @property
    def series(self) -> list[int]:
        """By site, asset, point: the same place in each installation."""
        ours = [info for info in self.catalog.all() if info.site in SITES]
        return [i.id for i in sorted(ours, key=lambda i: (i.site, i.asset, i.point))]

    def store(self) -> EmbeddedStore:
        return EmbeddedStore(self.directory / "samples.db", synchronous="NORMAL")

    def write(self, batch: Batch) -> None:
        store = self.store()
        store.write(batch)
        store.close()

    def everything(self) -> Batch:
        store = self.store()
        try:
            return content(store, self.series)
        finally:
            store.close()

    def process(
        self, *words: object, stderr: int = subprocess.PIPE, **env: object
    ) -> subprocess.Popen[str]:
        """`pms-iot telemetry …` as a program of its own."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith("PMS_")}
        ours |= {"PMS_DATA_DIR": str(self.directory), "PMS_RAW_DAYS": "100000"}
        ours |= {name: str(text) for name, text in env.items()}
        return subprocess.Popen(
            [str(PMS_IOT), "telemetry", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=ours,
            cwd=self.directory,
        )

    def command(self, *words: object, **env: object) -> tuple[int, str]:
        """Its exit code and what it says; in this process, which is quicker."""
        given = {"PMS_DATA_DIR": self.directory, "PMS_RAW_DAYS": 100_000, **env}
        none: dict[str, str | None] = {n: None for n in os.environ if n.startswith("PMS_")}
        with contextlib.chdir(self.directory):
            result = CliRunner().invoke(
                app,
                ["telemetry", *map(str, words)],
                env=none | {name: str(text) for name, text in given.items()},
            )
        if isinstance(result.exception, PmsError):  # `main` prints it
            return 1, f"{result.stderr}{result.exception}\n"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stderr


def content(store: SampleStore, series: Sequence[int]) -> Batch:
    """Everything, with a series' place in `series` as its number, so that installations compare."""
    found = store.read_many(series, -(2**62), 2**62)
    place = {number: index for index, number in enumerate(series)}
    numbers = [place[number] for number in found.series.tolist()]
    return Batch.of(numbers, found.at, found.value, found.quality).sorted_by_time()


def bits(value: NDArray[np.float64]) -> list[int]:
    """Every bit counts, but a NaN is a NaN."""
    return np.where(np.isnan(value), np.nan, value).view(np.uint64).tolist()


def same(found: Batch, expected: Batch) -> None:
    assert found.series.tolist() == expected.series.tolist()
    assert found.at.tolist() == expected.at.tolist()
    assert bits(found.value) == bits(expected.value)
    assert found.quality.tolist() == expected.quality.tolist()


def history(series: Sequence[int], n: int, days: float, seed: int = 1) -> Batch:
    """Random samples over some days, some of them missing."""
    rng = np.random.default_rng(seed)
    value = rng.normal(50, 20, n)
    value[rng.random(n) < 0.1] = np.nan
    quality = rng.choice([GOOD, GOOD, UNCERTAIN, BAD], n)
    at = T0 + np.sort(rng.choice(int(days * 86_400_000), n, replace=False)) * 10**6
    return Batch.of(np.resize(series, n), at, value, quality)


def run(path: Path, *, verify: bool = False) -> Run:
    """A run that nobody watches, with a journal of its own."""
    return Run(Journal(path, {}, restart=True), Quiet(), Pace(0), verify)
