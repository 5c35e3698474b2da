"""The parts of a transfer: formats, journal, plan, patience, comparison, what is shown."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import BAD, Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.transfer.compare import difference, sum_of
from pms_iot.telemetry.transfer.compression import Compression, compressor, expand
from pms_iot.telemetry.transfer.csv_rows import HEADER, CsvDecoder, CsvEncoder
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format
from pms_iot.telemetry.transfer.journal import Journal
from pms_iot.telemetry.transfer.lines import LineDecoder, LineEncoder
from pms_iot.telemetry.transfer.naming import Ranks, Rows, Selection, select
from pms_iot.telemetry.transfer.patience import PatientStore
from pms_iot.telemetry.transfer.plan import DAY_NS, Plan, SliceReader, make_plan
from pms_iot.telemetry.transfer.progress import Lines
from pms_iot.telemetry.transfer.reading import Resolver
from pms_iot.telemetry.transfer.run import Pace
from pms_iot.telemetry.transfer.source import open_source
from tests.register import small_register

T0 = 1_700_000_000_000_000_000
S = 10**9
AnyBatch = list[tuple[int, int, float, int]]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    return small_register(tmp_path_factory.mktemp("register"))


def ours(catalog: SeriesCatalog) -> list[int]:
    found = catalog.of_asset("EL-01") | catalog.of_asset("B S=1,α")
    return [found[key] for key in ("p0", "p1", "in,let p=1", "temp.anomaly")]


def batch_of(rows: AnyBatch, series: list[int]) -> Batch:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return Batch.of([series[i] for i in columns[0]], *columns[1:])


def same(found: Batch, wanted: Batch) -> None:
    assert not difference(wanted.last_of_each(), found.last_of_each())
    assert len(found) == len(wanted)


rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.one_of(st.just(-0.0), st.just(np.nan), st.floats(allow_infinity=False)),
        st.sampled_from([192, 64, 0]),
    ),
    max_size=30,
    unique_by=lambda row: row[:2],
)


@given(rows=rows)
def test_csv_keeps_every_float_and_every_nanosecond(rows: AnyBatch, catalog: SeriesCatalog) -> None:
    batch, ranks = batch_of(rows, ours(catalog)), Ranks(select(catalog, Selection()))
    encoded = CsvEncoder(ranks).encode(Rows.of(batch, ranks))
    block = CsvDecoder(HEADER).decode(encoded, 2)
    assert not block.malformed
    same(Resolver(catalog, {}).resolve(block).batch, batch)


@given(rows=rows)
def test_line_protocol_keeps_every_float_and_every_nanosecond(
    rows: AnyBatch, catalog: SeriesCatalog
) -> None:
    batch, ranks = batch_of(rows, ours(catalog)), Ranks(select(catalog, Selection()))
    encoded = LineEncoder(ranks).encode(Rows.of(batch, ranks))
    piece = LineDecoder(Resolver(catalog, {})).decode(encoded, 1)
    assert not piece.malformed
    same(piece.batch, batch)


cell = st.one_of(
    st.sampled_from(
        ["1", "-0.0", "1e400", "nan", "inf", "", " 5", "1_0", "0x1", "192", "300", "p0"]
    ),
    st.sampled_from(["EL-01", "riverside", "2023-11-14T22:13:20Z", "1700000000000000000", "é"]),
    st.text("0123456789.eE+-", max_size=6),
)


@given(
    header=st.sampled_from([HEADER, b"time,asset,point,value\n", b"time_ns,asset,point,value,q\n"]),
    table=st.lists(st.lists(cell, min_size=3, max_size=8), max_size=6),
)
def test_csv_by_column_and_by_row_is_the_same(header: bytes, table: list[list[str]]) -> None:
    good = {
        HEADER: "2023-11-14T22:13:20Z,1700000000000000000,riverside,EL-01,p0,1.5,192",
        b"time,asset,point,value\n": "2023-11-14T22:13:20.5+01:00,EL-01,p0,-7",
        b"time_ns,asset,point,value,q\n": "1700000000000000000,EL-01,p0,,x",
    }[header]
    plain = "".join(",".join(row) + "\n" for row in [*table, good.split(",")])
    quoted = plain + '"' + '","'.join(good.split(",")) + '"\n'  # never read by column
    by_column, by_row = (CsvDecoder(header).decode(text.encode(), 1) for text in (plain, quoted))
    assert [m.line for m in by_column.malformed] == [m.line for m in by_row.malformed]
    for key in ("at", "value", "quality"):
        np.testing.assert_array_equal(getattr(by_column, key), getattr(by_row, key)[:-1], key)
    names = [[block.names[i] for i in block.name.tolist()] for block in (by_column, by_row)]
    assert names[0] == names[1][:-1]


@pytest.mark.parametrize("form", ["csv", "line", "parquet"])
@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
def test_any_file_is_read_or_refused(
    form: Format, ending: str, content: bytes, catalog: SeriesCatalog, tmp_path_factory: object
) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    path = tmp_path_factory.getbasetemp() / f"garbage{ending}"
    path.write_bytes(HEADER + content if form == "csv" and not ending else content)
    try:
        with open_source(path, form, Resolver(catalog, {})) as source:
            for step in source.steps(0, 1):
                assert not len(step.piece.batch)
    except TransferError as refusal:
        assert str(path) in str(refusal)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_file_that_is_cut_short_is_refused(kind: Compression) -> None:
    frames = b""
    for _ in range(3):
        frame = compressor(kind)
        frames += frame.compress(os.urandom(500)) + frame.flush()
    assert len(b"".join(expand(io.BytesIO(frames), kind))) == 1500
    for cut in range(1, len(frames) // 3):
        with pytest.raises(ValueError, match="cut short"):
            b"".join(expand(io.BytesIO(frames[:-cut]), kind))


def test_malformed_lines_do_not_cost_their_neighbours(catalog: SeriesCatalog) -> None:
    lines = [b"x" if i % 3 == 0 else f"e,asset=EL-01 p0={i} {T0 + i}".encode() for i in range(300)]
    piece = LineDecoder(Resolver(catalog, {})).decode(b"\n".join(lines), 11)
    assert [m.line for m in piece.malformed] == [11 + i for i in range(0, 300, 3)]
    assert piece.batch.value.tolist() == [i for i in range(300) if i % 3]


def test_messages_of_gateways_are_read_as_the_engine_reads_them(catalog: SeriesCatalog) -> None:
    text = (
        "#pms1 gw=gw-01 epoch=9f3a1c2b seq=1 n=5 base=1\n"
        f'elevator,site=riverside,asset=EL-01 p0=1,bad="p1",q=192i {T0}\n'
        f"elevator,asset=EL-01 p0=t,p1=7i {T0 + 1}\n"
        f'elevator,site=riverside,asset=EL-01 p0="words",nobody=1 {T0 + 2}\n'
    )
    piece = LineDecoder(Resolver(catalog, {})).decode(text.encode(), 1)
    lift = catalog.of_asset("EL-01")
    wanted = Batch.of(
        [lift["p0"], lift["p1"]] * 2,
        [T0, T0, T0 + 1, T0 + 1],
        [1, np.nan, 1, 7],
        [192, 0, 192, 192],
    )
    same(piece.batch, wanted)
    assert piece.unknown == {("riverside", "EL-01", "nobody"): 1}
    assert len(piece.malformed) == 1 and "text" in piece.malformed[0].problem


# -- the journal -----------------------------------------------------------------------------


def test_a_journal_cut_anywhere_gives_a_state_that_was_noted(tmp_path: Path) -> None:
    path, asked = tmp_path / "j", {"a": [1], "b": None}
    seconds = iter(range(1000))
    journal = Journal(path, asked, monotonic=lambda: float(next(seconds)))
    journal.begin(["plan"])
    for chunks in range(1, 4):
        journal.note({"chunks": chunks})
    journal.close(done=False)
    whole = path.read_bytes()
    found: list[object] = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = Journal(path, asked)
        found.append(again.state.get("chunks") if again.resumed else "new")
        again.close(done=False)
    assert list(dict.fromkeys(found)) == ["new", None, 1, 2, 3]


def test_a_journal_tells_only_of_what_is_durable(tmp_path: Path) -> None:
    order: list[str] = []
    journal = Journal(tmp_path / "j", {})
    journal.begin([])
    journal.before_flush = lambda: order.append((tmp_path / "j").read_text())
    journal.note({"chunks": 1})
    journal.flush()
    assert len(order) == 1 and "chunks" not in order[0]
    assert '"chunks":1' in (tmp_path / "j").read_text()


def test_a_journal_refuses_other_parameters_and_a_second_process(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j", {"points": ["a"], "end": 5})
    with pytest.raises(TransferError, match="running already"):
        Journal(tmp_path / "j", {"points": ["a"], "end": 5})
    first.begin([])
    first.close(done=False)
    with pytest.raises(TransferError, match=r"points was \['a'\], now \['b'\]"):
        Journal(tmp_path / "j", {"points": ["b"], "end": 5})
    again = Journal(tmp_path / "j", {"points": ["b"], "end": 5}, restart=True)
    assert not again.resumed
    again.close(done=False)
    (tmp_path / "j").write_text("notes of mine\n")
    with pytest.raises(TransferError, match="not the journal"):
        Journal(tmp_path / "j", {})


# -- the plan --------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(-2 * DAY_NS, 4 * DAY_NS),
            st.sampled_from([1.0, np.nan]),
            st.just(BAD),
        ),
        max_size=40,
    ),
    start=st.one_of(st.none(), st.integers(-3 * DAY_NS, 3 * DAY_NS)),
    end=st.one_of(st.none(), st.integers(-DAY_NS, 5 * DAY_NS)),
    aim=st.sampled_from([1, 8, 10_000]),
    first=st.sampled_from([T0, 0]),  # and around 1970, where numbers of days turn negative
)
def test_chunks_cover_every_sample_once(
    rows: AnyBatch,
    start: int | None,
    end: int | None,
    aim: int,
    first: int,
    catalog: SeriesCatalog,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = EmbeddedStore(tmp_path_factory.mktemp("plan") / "s.db", synchronous="NORMAL")
    store.write(batch_of([(s, first + at, v, q) for s, at, v, q in rows], ours(catalog)))
    window = (None if start is None else first + start), (None if end is None else first + end)
    plan = make_plan(store, select(catalog, Selection()), *window)
    saved = Plan.from_json(plan.to_json(catalog), catalog)
    assert saved == plan
    reader = SliceReader(store, aim)
    found = Batch.concat(b for chunk in plan.chunks() for _, _, b in reader.slices(chunk))
    low, high = -(2**62) if start is None else first + start, 2**62 if end is None else first + end
    same(found, store.read_many(ours(catalog), low, high))
    store.close()


def test_a_pattern_that_fits_nothing_is_an_error(catalog: SeriesCatalog) -> None:
    found = select(catalog, Selection(points=["p1*"], assets=["EL-??"]))
    assert {info.point for info in found} == {"p1", *(f"p1{i}" for i in range(10))}
    with pytest.raises(TransferError, match="--asset EL-7"):
        select(catalog, Selection(assets=["EL-7"]))


# -- a store that goes away ------------------------------------------------------------------


class Flaky(EmbeddedStore):
    """Away for its first `failures` reads."""

    failures = 0

    def latest(self, series: object) -> Batch:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("away")
        return Batch.empty()


def test_a_store_that_is_away_is_waited_for_up_to_a_limit(tmp_path: Path) -> None:
    said: list[str] = []
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    flaky = Flaky(tmp_path / "s.db")
    store = PatientStore(flaky, "S", 60, said.append, pause=pause, monotonic=lambda: now[0])
    flaky.failures = 5
    store.latest([1])
    assert [text.split(",")[0] for text in said] == ["S is away", "S is back"]
    assert now[0] == pytest.approx(0.2 + 0.4 + 0.8 + 1.6 + 3.2)
    flaky.failures = 1000
    with pytest.raises(StoreUnavailableError):
        store.latest([1])
    assert now[0] <= 6.2 + 60
    store.close()


def test_a_pace_is_kept() -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(1000, pause=pause, monotonic=lambda: now[0])
    for _ in range(10):
        pace.spend(500)
        now[0] += 0.1  # work of its own counts
    assert now[0] == pytest.approx(5.1)


# -- comparison ------------------------------------------------------------------------------


@given(rows=rows, data=st.data())
def test_sums_and_differences_notice_any_change(
    rows: AnyBatch, data: st.DataObject, catalog: SeriesCatalog
) -> None:
    batch = batch_of(rows, ours(catalog))
    shuffled = batch.take(np.random.default_rng(1).permutation(len(batch)))
    assert sum_of(shuffled) == sum_of(batch) and not difference(batch, shuffled)
    if not rows:
        return
    index = data.draw(st.integers(0, len(rows) - 1))
    value, quality = batch.value.copy(), batch.quality.copy()
    value[index] = np.where(np.isnan(value[index]), 1.0, np.nan)
    quality[index] ^= 64
    assert sum_of(Batch.of(batch.series, batch.at, value, batch.quality)) != sum_of(batch)
    assert difference(batch, Batch.of(batch.series, batch.at, value, batch.quality)).changed == 1
    assert difference(batch, Batch.of(batch.series, batch.at, batch.value, quality)).changed == 1
    shorter = batch.take(np.arange(len(batch)) != index)
    lost, more = difference(batch, shorter), difference(shorter, batch)
    assert (lost.missing, lost.extra, more.missing, more.extra) == (1, 0, 0, 1)
    assert lost.at == batch.at[index] and lost.series == batch.series[index]


# -- what is shown, and what is not installed ------------------------------------------------


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines("export", monotonic=lambda: now[0])
    lines.begin(100, 50)
    for _ in range(25):
        now[0] += 1
        lines.advance(1, 20_000)
    assert capsys.readouterr().err.splitlines() == [
        "export: 60%, 200,000 samples, 20k/s, 40 s left",
        "export: 70%, 400,000 samples, 20k/s, 30 s left",
    ]


def test_without_pyarrow_csv_works_and_parquet_says_what_is_missing(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "pyarrow"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError('no', name='pyarrow')\n")
    program = """
from pms_iot.telemetry.transfer.csv_rows import CsvDecoder
from pms_iot.telemetry.transfer.formats import parquet_module
block = CsvDecoder(b"time,asset,point,value\\n").decode(b"2023-11-14T22:13:20Z,a,p,1.5\\nx\\n", 2)
print(block.at.tolist(), block.value.tolist(), block.malformed)
parquet_module()
"""
    path = os.pathsep.join([str(absent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert f"[{T0}] [1.5] [Malformed(line=3" in done.stdout
    assert "pip install 'pms-iot[arrow]'" in done.stderr.splitlines()[-1]
