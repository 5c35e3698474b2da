"""The history API: windows, formats, quality, refusals, and closed windows that late samples change."""

import csv
import io
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pms_iot.kernel.clock import ManualClock, to_ns
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.web.history import closed, read
from pms_iot.web.history.ask import Ask, Grid
from pms_iot.web.history.closed import ClosedWindows, Part
from pms_iot.web.history.encode import to_csv
from pms_iot.web.history.frame import Frame
from pms_iot.web.history.read import HistoryReader, reduced
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant

S = 10**9
NOW_NS = to_ns(NOW)
NOW_MS = NOW_NS // 1_000_000
HOUR_MS = 3_600_000
URL = "/api/v1/series/EL-01/motor_temp"
DAY = {"start": NOW_MS - 24 * HOUR_MS, "end": NOW_MS}
ISO = "%Y-%m-%dT%H:%M:%S"


@pytest.fixture
def ask(log_in: LogIn) -> Callable[..., httpx2.Response]:
    """ask(url, **query) as somebody who may only look."""
    client = log_in("viewer")

    def get(url: str = URL, headers: dict[str, str] | None = None, **query: Any):
        return client.get(url, params=query or None, headers=headers)

    return get


Get = Callable[..., httpx2.Response]


def rows(answer: httpx2.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


# -- windows and buckets -------------------------------------------------------------------


def test_buckets_begin_at_multiples_of_their_width_and_cover_the_window(ask: Get):
    start = NOW_MS - 3 * HOUR_MS - 12_345
    body = ask(start=start, end=NOW_MS, buckets=180).json()
    width = body["width"]
    assert body["start"] <= start / 1000 < body["start"] + width
    assert body["end"] >= NOW_MS / 1000 > body["end"] - width
    values = [at for at, count in zip(body["at"], body["count"], strict=True) if count is not None]
    steps = [at / width for at in (body["start"], body["end"], *values)]
    assert values and all(abs(step - round(step)) < 1e-6 for step in steps)


def test_the_same_window_in_other_words(ask: Get):
    start, end = NOW - timedelta(hours=2), NOW
    shanghai = (end + timedelta(hours=8)).strftime(ISO) + "+08:00"
    by_ms = ask(start=NOW_MS - 2 * HOUR_MS, end=NOW_MS, buckets=60)
    by_iso = ask(start=f"{start:{ISO}}Z", end=shanghai, buckets=60)
    unescaped = ask(f"{URL}?start={start:{ISO}}Z&end={shanghai}&buckets=60")
    until_now = ask(start=NOW_MS - 2 * HOUR_MS, buckets=60)
    assert by_ms.status_code == 200
    assert by_ms.json() == by_iso.json() == unescaped.json() == until_now.json()


@pytest.mark.parametrize(
    ("aggregate", "column"),
    [("min", "low"), ("max", "high"), ("mean", "mean"), ("count", "count")],
)
def test_one_aggregate_is_one_column_of_minmax(ask: Get, aggregate: str, column: str):
    window = {"start": NOW_MS - HOUR_MS, "end": NOW_MS, "buckets": 30}
    single = ask(**window, aggregate=aggregate).json()
    whole = ask("/api/v1/series", asset="EL-01", point="motor_temp", **window).json()["series"][0]
    assert single[aggregate] == whole[column] and len(single[aggregate]) == 30


def test_several_points_of_several_assets_at_once(ask: Get):
    body = ask("/api/v1/series", asset=["EL-01", "EL-02"], point=["floor", "mode"], **DAY).json()
    assert [(one["asset"], one["point"]) for one in body["series"]] == [
        ("EL-01", "floor"), ("EL-01", "mode"), ("EL-02", "floor"), ("EL-02", "mode")]  # fmt: skip
    assert all(len(one["at"]) == len(one["low"]) for one in body["series"])


# -- raw samples and quality ---------------------------------------------------------------


@pytest.fixture
def graded(plant: Plant) -> Plant:
    """Ten samples of one minute of another point: good, bad, uncertain, missing."""
    series = plant.series("EL-02", "load")
    quality = [GOOD, GOOD, BAD, UNCERTAIN, GOOD, BAD, UNCERTAIN, GOOD, GOOD, GOOD]
    values = [10, 12, -999, 30, np.nan, 0, 11, 10, 12, 14]
    at = NOW_NS - 2 * HOUR_MS * 1_000_000 + np.arange(10) * S
    plant.deps.store.write(Batch.of([series] * 10, at, values, quality))
    return plant


@pytest.mark.parametrize(
    ("quality", "low", "high", "count"),
    [("all", -999, 30, 9), ("not_bad", 10, 30, 7), ("good", 10, 14, 5)],
)
def test_quality_leaves_worse_samples_out(
    graded: Plant, ask: Get, quality: str, low: float, high: float, count: int
):
    window = {"start": NOW_MS - 3 * HOUR_MS, "end": NOW_MS, "buckets": 3, "quality": quality}
    body = ask("/api/v1/series/EL-02/load", **window).json()
    index = body["count"].index(float(count))
    assert (body["low"][index], body["high"][index]) == (low, high)


def test_raw_samples_are_as_they_were_stored(graded: Plant, ask: Get):
    window = {"start": NOW_MS - 2 * HOUR_MS, "end": NOW_MS - 2 * HOUR_MS + 60_000, "raw": "true"}
    body = ask("/api/v1/series/EL-02/load", **window).json()
    assert body["value"][:5] == [10, 12, -999, 30, None] and len(body["value"]) == 10
    assert body["quality"][2:4] == [BAD, UNCERTAIN]
    assert body["at"][1] - body["at"][0] == 1
    good = ask("/api/v1/series/EL-02/load", **window, quality="good").json()
    assert set(good["quality"]) == {GOOD} and len(good["at"]) == 6


def test_too_many_raw_samples_are_told_with_the_way_on(plant: Plant):
    series = plant.series("EL-01", "motor_temp")
    many = np.arange(read.MAX_RAW + 1)

    class Dense:
        """A store that holds a sample each millisecond; writing a million would take seconds."""

        def read_many(self, series: list[int], start_ns: int, end_ns: int) -> Batch:
            at = many[(many >= start_ns // 10**6) & (many < end_ns // 10**6)]
            return Batch.of(np.full(len(at), series[0]), at * 10**6, np.zeros(len(at)))

    dense: Any = Dense()
    with pytest.raises(read.ProblemError) as refused:
        HistoryReader(dense, plant.deps.catalog, ClosedWindows(), NOW_NS).raw([series], 0, NOW_NS, "all")  # fmt: skip
    assert refused.value.status == 413 and refused.value.more["limit"] == read.MAX_RAW
    fits = refused.value.more["end_that_fits"]
    assert isinstance(fits, int)
    page = HistoryReader(dense, plant.deps.catalog, ClosedWindows(), NOW_NS).raw([series], 0, fits * 10**6, "all")  # fmt: skip
    assert len(page) == read.MAX_RAW


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(-5, 5) | st.just(float("nan"))), max_size=60, unique_by=lambda x: x[0]), st.integers(1, 90))  # fmt: skip
def test_buckets_from_raw_samples_equal_plain_arithmetic(
    samples: list[tuple[int, float]], width: int
):
    samples = sorted(samples)
    grid = Grid(0, -(-501 // width) * width, width)
    batch = Batch.of([1] * len(samples), [at for at, _ in samples], [value for _, value in samples])
    part = reduced(batch, grid)
    expected: dict[int, list[float]] = {}
    for at, value in samples:
        if value == value:
            expected.setdefault(at // width * width, []).append(value)
    assert part.at.tolist() == list(expected)
    assert part.low.tolist() == [min(values) for values in expected.values()]
    assert part.high.tolist() == [max(values) for values in expected.values()]
    assert part.count.tolist() == [len(values) for values in expected.values()]
    np.testing.assert_allclose(part.mean, [np.mean(values) for values in expected.values()], atol=1e-12)  # fmt: skip


# -- formats -------------------------------------------------------------------------------


def test_csv_json_and_arrow_say_the_same(ask: Get):
    window = {"asset": "EL-01", "point": ["motor_temp", "motor_temp.lo"], "buckets": 50, **DAY}
    body = ask("/api/v1/series", **window).json()
    table = rows(ask("/api/v1/series", **window, format="csv"))
    arrow = pa.ipc.open_stream(ask("/api/v1/series", **window, format="arrow").content).read_all()
    by_json = [
        (one["point"], at, low, high, mean, count)
        for one in body["series"]
        for at, low, high, mean, count in zip(*(one[n] for n in ("at", "low", "high", "mean", "count")), strict=True)
    ]  # fmt: skip
    by_csv = [
        (row["point"], datetime.fromisoformat(row["time"]).timestamp(),
         float(row["low"]), float(row["high"]), float(row["mean"]), int(row["count"]))
        for row in table
    ]  # fmt: skip
    by_arrow = [
        (row["point"], row["time"].timestamp(), row["low"], row["high"], row["mean"], row["count"])
        for row in arrow.to_pylist()
    ]
    assert len(by_json) > 60 and by_json == by_csv == by_arrow
    assert str(arrow.schema.field("time").type) == "timestamp[ns, tz=UTC]"


def test_csv_is_as_rfc_4180_says(graded: Plant, ask: Get):
    answer = ask("/api/v1/series/EL-02/load", start=NOW_MS - 2 * HOUR_MS, raw="true", format="csv")
    lines = answer.content.split(b"\r\n")
    assert answer.headers["content-type"].startswith("text/csv")
    assert lines[0] == b"time,asset,point,value,quality" and lines[-1] == b""
    assert lines[1] == b"2026-11-23T04:30:00.000Z,EL-02,load,10.0,192"
    assert lines[5] == b"2026-11-23T04:30:04.000Z,EL-02,load,,192", "missing is empty"


def test_words_with_commas_and_quotes_are_quoted():
    info = SimpleNamespace(asset='A,"1"', point="p")
    frame = Frame(cast(Any, info), np.array([0]), {"mean": np.array([1.5])})
    text = b"".join(to_csv(["mean"], [frame])).decode()
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == [
        "1970-01-01T00:00:00.000Z", 'A,"1"', "p", "1.5"]  # fmt: skip


def test_missing_is_null_in_arrow(graded: Plant, ask: Get):
    window = {"start": NOW_MS - 2 * HOUR_MS, "raw": "true", "format": "arrow"}
    table = pa.ipc.open_stream(ask("/api/v1/series/EL-02/load", **window).content).read_all()
    assert table["value"].to_pylist()[3:6] == [30.0, None, 0.0]


def test_without_arrow_the_answer_says_so(ask: Get, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    answer = ask(**DAY, format="arrow")
    assert (answer.status_code, answer.json()["parameter"]) == (406, "format")


def test_nothing_is_still_an_answer_in_every_format(ask: Get):
    window = {"start": 1000, "end": 2_000_000}
    assert ask(**window).json()["at"] == []
    assert ask(**window, format="csv").text == "time,asset,point,low,high,mean,count\r\n"
    assert pa.ipc.open_stream(ask(**window, format="arrow").content).read_all().num_rows == 0


ACCEPT = {
    "*/*": "application/json",
    "": "application/json",
    "text/csv": "text/csv",
    "text/csv;q=0.5, application/json;q=0.9": "application/json",
    "application/vnd.apache.arrow.stream": "application/vnd.apache.arrow.stream",
    "image/png, text/*;q=0.1": "text/csv",
}


def test_the_accept_header_chooses_the_format(ask: Get):
    for accept, kind in ACCEPT.items():
        answer = ask(headers={"accept": accept}, **DAY)
        assert answer.headers["content-type"].split(";")[0] == kind, accept
        assert "Accept" in answer.headers["vary"]


# -- refusals ------------------------------------------------------------------------------


WRONG = [
    ({"end": 5}, "start"),
    ({"start": 5, "end": 5}, "end"),
    ({"start": "yesterday"}, "start"),
    ({"start": "2026-11-23T06:30:00"}, "start"),
    ({"start": 1, "end": 9 * 10**15}, "end"),
    ({"start": 0, "end": NOW_MS}, "start"),
    ({**DAY, "buckets": 1}, "buckets"),
    ({**DAY, "buckets": 5001}, "buckets"),
    ({**DAY, "buckets": "many"}, "buckets"),
    ({**DAY, "aggregate": "median"}, "aggregate"),
    ({**DAY, "aggregate": "increase"}, "point"),
    ({**DAY, "quality": "best"}, "quality"),
    ({**DAY, "raw": "true", "buckets": 5}, "buckets"),
    ({**DAY, "bucket": 5}, "bucket"),
    ({**DAY, "quality": ["good", "all"]}, "quality"),
    ({**DAY, "format": "xml"}, "format"),
    ({"start": NOW_MS - 800 * 24 * HOUR_MS, "quality": "good"}, "quality"),
]  # fmt: skip


def test_a_mistake_names_its_parameter(ask: Get):
    for query, parameter in WRONG:
        answer = ask(**query)
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["status"], body["parameter"]) == (422, parameter), query
        assert body["detail"]
    assert "did you mean buckets" in ask(**DAY, bucket=5).json()["detail"]


def test_unknown_points_and_formats_are_named(ask: Get):
    assert ask("/api/v1/series/NO-99/motor_temp", **DAY).json()["parameter"] == "asset"
    assert "did you mean 'motor_temp'" in ask("/api/v1/series/EL-01/motor_tmp", **DAY).json()["detail"]  # fmt: skip
    assert ask(headers={"accept": "image/png"}, **DAY).status_code == 406
    assert ask("/api/v1/series", asset="EL-01", **DAY).json()["parameter"] == "point"


# -- the list ------------------------------------------------------------------------------


def test_the_list_tells_what_there_is(ask: Get):
    body = ask("/api/v1/series", asset="EL-01", point="motor_temp", first="true").json()
    (one,) = body["series"]
    assert (one["unit"], one["kind"], one["site"]) == ("°C", "elevator", "riverside")
    assert one["label"]["en"] and one["label"]["zh"]
    assert one["last"] == {"at": "2026-11-23T06:30:00.000Z", "value": 86.4, "quality": 192}
    assert one["first"] == "2026-11-22T06:30:00.000Z"


def test_the_list_goes_page_by_page(ask: Get):
    whole = ask("/api/v1/series", kind="elevator", limit=5000).json()
    found, after = list[int](), 0
    while after is not None:
        page = ask("/api/v1/series", kind="elevator", limit=40, after=after).json()
        found += [one["series"] for one in page["series"]]
        after = page["next"]
    assert found == [one["series"] for one in whole["series"]] and len(found) == whole["total"] > 80
    assert ask("/api/v1/series", first="true", limit=51).json()["parameter"] == "first"


# -- closed windows ------------------------------------------------------------------------

CLOSED = {"start": NOW_MS - 6 * HOUR_MS, "end": NOW_MS - 2 * HOUR_MS, "buckets": 60}


def test_a_closed_window_is_answered_304_until_a_late_sample_changes_it(plant: Plant, ask: Get):
    first = ask(**CLOSED)
    assert first.headers["cache-control"] == "private, max-age=60"
    tag = {"if-none-match": first.headers["etag"]}
    assert ask(headers=tag, **CLOSED).status_code == 304
    plant.arrive("EL-01", {"motor_temp": 20.0}, NOW)
    assert ask(headers=tag, **CLOSED).status_code == 304, "newer samples change nothing"
    plant.arrive("EL-01", {"motor_temp": 999.0}, NOW - timedelta(hours=3))
    late = ask(headers=tag, **CLOSED)
    assert late.status_code == 200 and late.headers["etag"] != first.headers["etag"]
    assert max(value for value in late.json()["high"] if value is not None) == 999


def test_an_open_window_is_always_asked_for_again(ask: Get):
    answer = ask(**DAY)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert ask(headers={"if-none-match": answer.headers["etag"]}, **DAY).status_code == 304


def test_the_closed_part_of_an_open_window_is_read_once(plant: Plant, ask: Get):
    kept = plant.deps.live.closed
    ask(**DAY)
    misses = kept.misses
    again = ask(**DAY)
    assert kept.misses == misses and kept.hits >= 1
    plant.deps.live.closed.forget()
    assert ask(**DAY).content == again.content


def test_what_another_process_wrote_shows_after_a_while(plant: Plant, ask: Get):
    ask(**CLOSED)
    late = Batch.of([plant.series("EL-01", "motor_temp")], [NOW_NS - 3 * 3600 * S], [777.0])
    plant.deps.store.write(late)  # past the pipeline
    clock = plant.deps.clock
    assert isinstance(clock, ManualClock)
    clock.advance(closed.KEPT_S)
    assert max(value for value in ask(**CLOSED).json()["high"] if value is not None) == 777


def test_memory_is_bounded_and_the_least_used_goes_first():
    kept = ClosedWindows(max_bytes=10_000)
    made: list[int] = []

    def part(n: int) -> Callable[[], Part]:
        def make() -> Part:
            made.append(n)
            return Part(*(np.zeros(50) for _ in range(5)))  # type: ignore[arg-type]

        return make

    for n in (1, 2, 3, 1, 4, 5, 1):
        kept.read(n, [1], 0, NOW_NS, part(n))
    assert kept.nbytes <= 10_000
    assert made == [1, 2, 3, 4, 5], "1 stayed because it was used"
    kept.read(2, [1], 0, NOW_NS, part(2))
    assert made[-1] == 2


late_writes = st.lists(
    st.tuples(
        st.sampled_from(["write", "ask", "ask", "wait"]),
        st.integers(0, 2),  # which series
        st.integers(0, 39),  # hundreds of seconds after the beginning: four windows of ten buckets
        st.integers(-9, 9),
    ),
    max_size=60,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(late_writes)
def test_what_is_kept_never_differs_from_what_is_stored(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int]]
):
    """Writes at any time into any window, told to the feed as the pipeline does."""
    store = EmbeddedStore(tmp_path_factory.mktemp("late") / "samples.db", synchronous="NORMAL")
    points = ("motor_temp", "floor", "load")
    infos = [plant.deps.catalog.info(plant.series("EL-01", point)) for point in points]
    kept, begin_ns, now_ns = ClosedWindows(max_bytes=5_000), NOW_NS - 4000 * S, NOW_NS
    for what, number, at, value in steps:
        if what == "wait":
            now_ns += at * 10 * S
        elif what == "write":
            batch = Batch.of([infos[number].id], [begin_ns + at * 100 * S], [value])
            store.write(batch)
            kept.stored(batch)
        else:
            start_ns = begin_ns + at // 10 * 1000 * S
            ask = Ask(start_ns, start_ns + 1000 * S, 10, "minmax", "all", False, "json")
            for info in infos:
                mine, fresh = (
                    HistoryReader(store, plant.deps.catalog, cache, now_ns).part(info, ask.grid, "all")
                    for cache in (kept, ClosedWindows())
                )  # fmt: skip
                for name in Part.__slots__:
                    np.testing.assert_array_equal(getattr(mine, name), getattr(fresh, name))
    store.close()
