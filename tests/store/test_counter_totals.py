"""Running totals of counters: over replaced controllers, restarts, late samples and two engines."""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import select

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.points import CounterDef
from pms_iot.assets.tables import Point
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.db import transaction
from pms_iot.telemetry import counter_changes
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counter_changes import ReplacementRefusedError
from pms_iot.telemetry.counter_totals import CounterTotals
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.tables import CounterReplacement, CounterTotal
from tests.store.world import T0, seed

MIN = 60 * 10**9
START = to_ns(T0)
STARTS = CounterDef(modulus=65536)


@dataclass
class Plant:
    """One counter, its store, and engines that come and go."""

    core: Engine
    store: EmbeddedStore
    series: int
    engines: list[CounterTotals] = field(default_factory=list[CounterTotals])

    def engine(self) -> CounterTotals:
        return CounterTotals(
            self.core, self.store, SeriesCatalog(self.core), {("elevator", "runs"): STARTS}
        )

    def shows(self, minute: int, *values: float) -> None:
        """A reading each minute from this one on."""
        at = START + (minute + np.arange(len(values))) * MIN
        self.store.write(Batch.of([self.series] * len(values), at, values))

    def total(self, minute: float, engine: CounterTotals | None = None) -> float | None:
        engine = engine or self.engine()
        engine.look(START + int(minute * MIN))
        return engine.total(self.series)

    def row(self) -> CounterTotal:
        with transaction(self.core) as session:
            return session.exec(select(CounterTotal)).one()

    def replaced(self, minute: float, old: float, new: float) -> int:
        change = CounterReplacement(
            series=self.series,
            at=from_ns(START + int(minute * MIN)),
            old_reading=old,
            new_reading=new,
            noted_by="wang",
            noted_at=T0,
        )
        with transaction(self.core) as session:
            return counter_changes.record(session, self.store, STARTS, change)


@pytest.fixture
def plant(core: Engine, tmp_path: Path) -> Generator[Plant]:
    (asset_id,) = seed(core)
    with transaction(core) as session:
        point = Point(asset_id=asset_id, key="runs", type="counter", label_zh="数", label_en="Runs")
        session.add(point)
        session.flush()
        series = point.id or 0
    store = EmbeddedStore(tmp_path / "samples.db", synchronous="NORMAL")
    yield Plant(core, store, series)
    store.close()


def test_it_begins_at_what_the_counter_shows(plant: Plant) -> None:
    assert plant.total(0) is None
    plant.shows(1, 4000)
    assert plant.total(2) == 4000


def test_a_replaced_controller_loses_and_gains_nothing(plant: Plant) -> None:
    plant.shows(0, 4000)
    plant.total(1)
    plant.shows(1, 4001, 4002, 0, 1, 2, 3)
    assert plant.total(10) == 4004, "the newest reading waits for the next"
    plant.shows(7, 3)
    assert plant.total(20) == 4005


def test_roll_over_goes_on(plant: Plant) -> None:
    plant.shows(0, 65530)
    plant.total(1)
    plant.shows(1, 65535, 3, 4, 4)
    assert plant.total(30) == 65540


def test_each_sample_counts_once_over_restarts_and_repeated_looks(plant: Plant) -> None:
    plant.shows(0, 0)
    plant.total(0)
    engine = plant.engine()
    for minute in range(1, 120):
        plant.shows(minute, minute * 2)
        assert plant.total(minute, engine) == max(minute - 1, 0) * 2
        if minute % 17 == 0:
            engine = plant.engine()
    row = plant.row()
    assert row.read_to_ns > START + 90 * MIN and row.total <= 236, "most of it is settled"


def test_two_engines_count_once(plant: Plant) -> None:
    plant.shows(0, 0)
    first, second = plant.engine(), plant.engine()
    plant.total(0, first)
    plant.shows(1, *range(1, 61))
    for minute in (40, 55, 62, 80):
        assert plant.total(minute, first) == plant.total(minute, second)
    assert plant.total(100, first) == 59
    assert plant.row().total == 59


def test_samples_a_little_late_count_in_their_order(plant: Plant) -> None:
    plant.shows(0, 100)
    plant.total(0)
    plant.shows(8, 2, 3)  # restarted at minute 5, which is told later
    plant.total(9)
    plant.shows(1, 101, 102, 103, 104, 0, 1, 2)
    assert plant.total(40) == 106


def test_an_outage_of_months_is_caught_up(plant: Plant) -> None:
    plant.shows(0, 10)
    plant.total(0)
    day = 1440
    plant.shows(60 * day, 500, 501, 502)
    assert plant.total(61 * day) == 501


@pytest.mark.parametrize("told_after", [5, 60, 600])
def test_a_recorded_replacement_counts_whenever_it_is_told(plant: Plant, told_after: int) -> None:
    plant.shows(0, 5000)
    plant.total(0)
    plant.shows(1, *[5000 + n for n in range(1, 5)], 3020, 3021, *[3021] * 30)
    plant.total(told_after)
    plant.replaced(4.5, old=5010, new=3019)
    assert plant.total(700) == 5000 + 10 + 2


def test_a_replacement_can_be_taken_back(plant: Plant) -> None:
    plant.shows(0, 5000)
    plant.total(0)
    plant.shows(1, 5001, 0, 1, *[2] * 30)
    before = plant.total(100)
    number = plant.replaced(1.5, old=9000, new=0)
    assert plant.total(101) == (before or 0) + 3999
    with transaction(plant.core) as session:
        counter_changes.withdraw(session, plant.store, STARTS, plant.series, number)
    assert plant.total(102) == before


def test_replacements_that_cannot_be_right_are_refused(plant: Plant) -> None:
    plant.shows(0, 5000)
    plant.total(0)
    plant.shows(1, 5001, 0, 1, *[2] * 30)
    plant.total(100)
    plant.replaced(1.5, old=5001, new=0)
    with pytest.raises(ReplacementRefusedError, match="twice"):
        plant.replaced(1.5, old=5001, new=0)


def test_a_replacement_before_the_count_began_changes_nothing(plant: Plant) -> None:
    plant.shows(0, 700, 710, 0, 1)
    plant.total(10)
    plant.shows(11, 2, 2)
    before = plant.total(60)
    plant.replaced(1.5, old=900, new=0)
    assert plant.total(61) == before == 2


def test_a_silent_counter_does_not_hold_up_the_rest(plant: Plant) -> None:
    """Each look reads from where the count stands, also for a counter that says nothing."""
    plant.shows(0, 5)
    plant.total(0)
    plant.total(10_000)
    assert plant.row().read_to_ns > START + 9_900 * MIN
    plant.shows(10_001, 6, 7)
    assert plant.total(10_010) == 6
