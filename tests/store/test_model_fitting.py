"""Models of assets fitted from a real store, kept in a real core store."""

import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import select

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.fitting import LEAD_NS, ModelFitting
from pms_iot.kernel import migrations
from pms_iot.kernel.clock import ManualClock, from_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.snapshots import StateSnapshot
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.unit.detection.fleet import T0, S, rows
from tests.unit.detection.test_model import infos, read, spec, values

SECONDS = 900
SPEC = spec(learn=200.0)


class Register:
    generation = 1

    def all(self) -> list[SeriesInfo]:
        return infos(("A0",), SPEC)


class Plant:
    """Detectors, a store with a quarter of an hour of history, and what fits models of it."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(f"sqlite:///{folder / 'core.db'}")
        migrations.upgrade(self.engine)
        self.store = EmbeddedStore(folder / "samples.db", housekeeping=False)
        self.clock = ManualClock(from_ns(T0 + SECONDS * S))
        self.counters = Counters()
        self.start()

    def start(self) -> None:
        self.detectors = Detectors({"pump": [SPEC]}, Register())
        self.fitting = ModelFitting(
            self.detectors,
            self.store,
            self.engine,
            self.clock,
            self.counters,
            threading.Lock(),
            0.02,
        )

    def versions(self) -> list[int]:
        model = self.detectors.models.of()["pump", "pump"]
        return model.columns["ridge.version"].tolist()


@pytest.fixture
def plant(tmp_path: Path) -> Generator[Plant]:
    plant = Plant(tmp_path)
    plant.store.write(read(0, values(SECONDS, seed=0)))
    yield plant
    plant.store.close()
    plant.engine.dispose()


def after(seconds: int = 200) -> Batch:
    return read(0, values(seconds, seed=3), start_s=SECONDS)


def test_a_model_from_history_holds_from_a_sample_time_on_and_no_earlier(plant: Plant) -> None:
    assert plant.fitting.fit_due() == 1
    assert plant.counters.snapshot()["models_fitted"] == 1
    batch = after()
    holds_from_ns = T0 + SECONDS * S + LEAD_NS
    plant.detectors.update(batch.take(batch.at < holds_from_ns))
    assert not any(plant.versions())
    plant.detectors.update(batch.take(batch.at >= holds_from_ns))
    assert all(plant.versions())
    assert plant.fitting.fit_due() == 0  # nothing is left to do


def test_a_restart_before_the_next_snapshot_continues_with_the_same_model(plant: Plant) -> None:
    plant.fitting.fit_due()
    before = rows(plant.detectors.update(after()))
    state = plant.detectors.snapshot()
    plant.start()
    plant.fitting.resume()
    assert rows(plant.detectors.update(after())) == before
    assert plant.detectors.snapshot() == state


def test_any_cut_of_the_stream_takes_the_model_up_at_the_same_row(plant: Plant) -> None:
    plant.fitting.fit_due()
    batch = after()
    edges = np.flatnonzero(np.diff(batch.at)) + 1
    cut = [batch.take(part) for part in np.split(np.arange(len(batch)), edges[::7])]
    found = rows(Batch.concat([plant.detectors.update(part) for part in cut]))
    plant.start()
    plant.fitting.resume()
    assert rows(plant.detectors.update(batch)) == found


def test_a_damaged_model_is_counted_and_fitted_again(plant: Plant) -> None:
    plant.fitting.fit_due()
    with transaction(plant.engine) as session:
        kept = session.exec(select(StateSnapshot).where(StateSnapshot.name == "model.pump.pump.A0"))
        row = kept.one()
        row.state = row.state[:-1] + bytes([row.state[-1] ^ 1])
    plant.start()
    plant.fitting.resume()
    assert plant.counters.snapshot()["models_damaged"] == 1
    plant.detectors.update(after(100))
    assert not any(plant.versions())
    assert plant.fitting.fit_due() == 1


def test_without_enough_history_there_is_no_model(plant: Plant) -> None:
    plant.clock.advance(3600.0)  # what the store holds is older than what is asked for
    assert plant.fitting.fit_due() == 0
