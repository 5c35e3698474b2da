"""History through every format and back, into both stores, to the last bit."""

import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.transfer import bring, export
from pms_iot.telemetry.transfer.compare import difference
from pms_iot.telemetry.transfer.compression import compression_of
from pms_iot.telemetry.transfer.formats import format_of
from pms_iot.telemetry.transfer.naming import Selection, select
from pms_iot.telemetry.transfer.plan import make_plan
from tests.store.history import DAY, T0, Installation, run, same

GOLDEN = Path(__file__).parent / "golden"
FILES = ["h.csv", "h.csv.gz", "h.csv.zst", "h.line", "h.lp.gz", "h.parquet"]

sample = st.tuples(
    st.integers(0, 7),
    st.one_of(st.integers(0, 3 * DAY), st.integers(0, 3).map(lambda hour: hour * 3600 * 10**9)),
    # The stores take -0.0 for 0.0; the formats do not, see tests/unit/telemetry/test_transfer.py.
    st.one_of(
        st.just(np.nan), st.floats(allow_nan=False, allow_infinity=False).map(lambda v: v + 0.0)
    ),
    st.sampled_from([192, 64, 0]),
)
samples = st.lists(sample, max_size=60, unique_by=lambda s: s[:2])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Installation:
    return Installation.made(tmp_path_factory.mktemp("here") / "data", migrated_file)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Installation:
    """The same machines under other numbers."""
    return Installation.made(tmp_path_factory.mktemp("there") / "data", migrated_file, others=3)


@pytest.fixture(params=["embedded", "influx"])
def target(
    request: pytest.FixtureRequest, there: Installation, tmp_path: Path
) -> Generator[SampleStore]:
    if request.param == "embedded":
        store: SampleStore = EmbeddedStore(tmp_path / "samples.db", synchronous="NORMAL")
    else:
        influx: InfluxSettings = request.getfixturevalue("influx")
        store = InfluxStore(influx, there.catalog)
    with closing(store):
        yield store


def batch_of(rows: list[tuple[int, int, float, int]], series: list[int]) -> Batch:
    return Batch.of(
        [series[row[0]] for row in rows],
        [T0 + row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
    )


def exported(place: Installation, store: SampleStore, file: Path) -> None:
    plan = make_plan(store, select(place.catalog, Selection()), None, None)
    to = export.Target(file, format_of(file, None), compression_of(file), per_day=False)
    work = run(file.with_name("export.journal"))
    tally = export.export(store, place.catalog, plan, to, work)
    export.verify_export(store, place.catalog, plan, to, work, tally)
    assert (tally.differing, tally.malformed) == (0, 0)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=samples)
def test_a_file_brings_back_every_bit(
    name: str,
    rows: list[tuple[int, int, float, int]],
    here: Installation,
    there: Installation,
    target: SampleStore,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        with closing(EmbeddedStore(Path(folder) / "a.db", synchronous="NORMAL")) as store:
            store.write(batch_of(rows, here.series))
            exported(here, store, file)
        inputs = bring.Inputs([(file, format_of(file, None))], {}, strict=True)
        work = run(Path(folder) / "import.journal", verify=True)
        tally = bring.import_files(target, there.catalog, inputs, work)
    assert (tally.samples, tally.differing, tally.unknown.total()) == (len(rows), 0, 0)
    wanted = batch_of(rows, there.series).last_of_each()
    found = target.read_many(there.series, T0, T0 + 4 * DAY)  # also samples of earlier examples
    differs = difference(wanted, found)
    assert (differs.missing, differs.changed) == (0, 0)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=samples)
def test_a_copy_brings_every_bit(
    rows: list[tuple[int, int, float, int]],
    here: Installation,
    there: Installation,
    target: SampleStore,
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(EmbeddedStore(Path(folder) / "a.db", synchronous="NORMAL")) as store,
    ):
        store.write(batch_of(rows, here.series))
        plan = make_plan(store, select(here.catalog, Selection()), None, None)
        source = bring.Side("a", store, here.catalog)
        to = bring.Side("b", target, there.catalog)
        tally = bring.copy(source, to, plan, run(Path(folder) / "copy.journal"))
    assert tally.samples == len(rows)
    wanted = batch_of(rows, there.series).last_of_each()
    differs = difference(wanted, target.read_many(there.series, T0, T0 + 4 * DAY))
    assert (differs.missing, differs.changed) == (0, 0)


def golden_batch(series: list[int]) -> Batch:
    """Series in the order of their names: hill EL-99, riverside B S=1,α (4 points), EL-01 (3)."""
    rows = [
        (5, 0, 20.5, 192),
        (6, 0, 0.1 + 0.2, 192),
        (7, 0, -1.5, 64),
        (6, 1, np.nan, 0),
        (7, 1, np.nan, 0),
        (5, 1, 5e-324, 0),
        (2, 1, np.nan, 64),
        (3, 1, 1.7976931348623157e308, 192),
        (1, DAY, 1e22, 192),
        (0, DAY, 3.0, 192),
    ]
    return batch_of(rows, series)


@pytest.mark.parametrize("name", ["history.csv", "history.line"])
def test_files_are_as_they_always_were(name: str, here: Installation, tmp_path: Path) -> None:
    with closing(EmbeddedStore(tmp_path / "a.db", synchronous="NORMAL")) as store:
        store.write(golden_batch(here.series))
        exported(here, store, tmp_path / name)
    assert (tmp_path / name).read_text() == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", ["history.csv", "history.line"])
def test_files_of_earlier_versions_are_read(name: str, there: Installation, tmp_path: Path) -> None:
    with closing(EmbeddedStore(tmp_path / "a.db", synchronous="NORMAL")) as store:
        inputs = bring.Inputs([(GOLDEN / name, format_of(GOLDEN / name, None))], {}, strict=True)
        bring.import_files(store, there.catalog, inputs, run(tmp_path / "journal"))
        wanted = golden_batch(there.series).last_of_each().sorted_by_time()
        same(store.read_many(there.series, 0, 2**62), wanted)
