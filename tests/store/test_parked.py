"""Samples of unknown fields wait, bounded, until their field is registered; on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, delete, select

from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry import parked
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.quarantine import record_unknown
from pms_iot.telemetry.tables import ParkedSamples, UnknownPoint
from tests.register import register

AT = datetime(2026, 11, 23, tzinfo=UTC)
S = 1_000_000_000
Arrived = list[tuple[str, list[tuple[int, float, int]]]]  # field -> time, value, quality


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "samples.db", synchronous="NORMAL")
    yield store
    store.close()


def arrive(session: Session, message: Arrived, *, asset: str = "A", cap: int = 1 << 20) -> int:
    unknown = [
        Unresolved(asset, field, *(np.array(column) for column in zip(*samples, strict=True)))
        for field, samples in message
    ]
    record_unknown(session, "s", unknown, AT)
    return parked.park(session, "s", unknown, cap=cap)


def of_series(store: EmbeddedStore, series: int) -> list[tuple[int, float, int]]:
    batch = store.read(series, 0, 2**62)
    columns = batch.at.tolist(), batch.value.tolist(), batch.quality.tolist()
    return list(zip(*columns, strict=True))


def known(numbers: dict[str, int]):
    return lambda site, asset, field: numbers.get(field) if (site, asset) == ("s", "A") else None


def run_of(n: int, start: int = 0) -> list[tuple[int, float, int]]:
    return [(S * (start + i), float(start + i), 192) for i in range(n)]


def test_samples_come_back_as_they_were_and_the_field_is_unknown_no_longer(
    core: Engine, store: EmbeddedStore
) -> None:
    for start in range(0, 300, 10):  # more than one block
        with transaction(core) as session:
            assert arrive(session, [("x", run_of(10, start)), ("y", [(S * start, 7.5, 64)])]) == 0
    with transaction(core) as session:
        assert parked.parked_counts(session) == {("s", "A", "x"): 300, ("s", "A", "y"): 30}
        assert len(session.exec(select(ParkedSamples)).all()) < 10
    assert parked.release(core, store, known({"x": 1})) == 300
    assert of_series(store, 1) == run_of(300)
    with transaction(core) as session:
        assert [point.field for point in session.exec(select(UnknownPoint))] == ["y"]
        assert parked.parked_counts(session) == {("s", "A", "y"): 30}
    assert parked.release(core, store, known({"x": 1})) == 0


def test_beyond_the_cap_the_oldest_go_and_are_counted(core: Engine) -> None:
    evicted = 0
    for number in range(12):
        with transaction(core) as session:
            evicted += arrive(session, [(f"f{number}", run_of(100))], cap=10_000)
    with transaction(core) as session:
        rows = session.exec(select(ParkedSamples)).all()
        assert sum(row.size for row in rows) <= 10_000
        assert [row.field for row in rows] == ["f7", "f8", "f9", "f10", "f11"]
        points = {point.field: point.evicted for point in session.exec(select(UnknownPoint))}
        assert points == {f"f{i}": 100 if i < 7 else 0 for i in range(12)}
    assert evicted == 700


def test_a_message_larger_than_the_cap_evicts_itself(core: Engine) -> None:
    with transaction(core) as session:
        assert arrive(session, [("x", run_of(1000))], cap=5_000) == 1000
        assert parked.parked_counts(session) == {}


def test_names_too_long_to_list_are_not_parked(core: Engine) -> None:
    with transaction(core) as session:
        arrive(session, [("x" * 201, run_of(1)), ("y", run_of(1))])
        assert parked.parked_counts(session) == {("s", "A", "y"): 1}


class Dying(EmbeddedStore):
    """Stores, and is gone before it can say so."""

    def write(self, batch: Batch) -> None:
        super().write(batch)
        raise StoreUnavailableError("killed")


def test_a_kill_after_the_store_write_loses_and_doubles_nothing(
    core: Engine, tmp_path: Path, store: EmbeddedStore
) -> None:
    with transaction(core) as session:
        arrive(session, [("x", run_of(50))])
    dying = Dying(tmp_path / "samples.db", synchronous="NORMAL")
    with pytest.raises(StoreUnavailableError):
        parked.release(core, dying, known({"x": 1}))
    dying.close()
    with transaction(core) as session:
        assert parked.parked_counts(session) == {("s", "A", "x"): 50}
    assert parked.release(core, store, known({"x": 1})) == 50
    assert of_series(store, 1) == run_of(50)


class Late(EmbeddedStore):
    """While it writes, a message that was decoded before the adoption parks one sample more."""

    core: Engine

    def write(self, batch: Batch) -> None:
        super().write(batch)
        if len(batch) == 5:
            with transaction(self.core) as session:
                arrive(session, [("x", run_of(1, start=5))])


def test_what_is_parked_during_the_move_is_moved_too(core: Engine, tmp_path: Path) -> None:
    late = Late(tmp_path / "samples.db", synchronous="NORMAL")
    late.core = core
    with transaction(core) as session:
        arrive(session, [("x", run_of(5))])
    parked.release(core, late, known({"x": 1}))
    parked.release(core, late, known({"x": 1}))
    assert of_series(late, 1) == run_of(6)
    with transaction(core) as session:
        assert not session.exec(select(UnknownPoint)).all()
        assert not session.exec(select(ParkedSamples)).all()
    late.close()


def test_a_catalog_knows_when_another_process_has_registered_something(core: Engine) -> None:
    catalog = register(core, {"s": {"pump:A": ["x"]}})
    assert not catalog.is_behind()
    register(core, {"t": {"pump:B": []}})
    assert catalog.is_behind()
    catalog.refresh()
    assert not catalog.is_behind() and catalog.has_asset("B")
    assert catalog.series_at("t", "A", "x") is None, "of another site"
    assert catalog.series_at("s", "A", "x") == catalog.lookup("A", "x")


sample = st.tuples(
    st.integers(0, 40).map(lambda i: i * S),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([192, 64, 0]),
)
messages = st.lists(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.lists(sample, min_size=1, max_size=150)), max_size=4
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def module_core(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('parked') / 'core.db'}")
    register(engine, {})
    return engine


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages, st.integers(0, 5))
def test_whatever_arrives_is_stored_as_if_it_had_been_known(
    module_core: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    arrived: list[Arrived],
    adopt_at: int,
) -> None:
    """The last of equal times wins, adopted early or late; nothing of other fields moves."""
    store = EmbeddedStore(tmp_path_factory.mktemp("store") / "samples.db", synchronous="NORMAL")
    with transaction(module_core) as session:
        for table in (UnknownPoint, ParkedSamples):
            session.exec(delete(table))
    for number, message in enumerate(arrived):
        if number == adopt_at:
            parked.release(module_core, store, known({"x": 1}), at_most=1)
        with transaction(module_core) as session:
            arrive(session, message)
    parked.release(module_core, store, known({"x": 1}))
    expected = {
        at: (at, value, q) for m in arrived for f, run in m if f == "x" for at, value, q in run
    }
    assert of_series(store, 1) == [expected[at] for at in sorted(expected)]
    with transaction(module_core) as session:
        waiting = sum(parked.parked_counts(session).values())
    assert waiting == sum(len(run) for m in arrived for f, run in m if f != "x")
    store.close()
