"""Counters in the API: increase per bucket, and replacements that people record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pms_iot.assets.points import CounterDef
from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.store import Buckets
from pms_iot.web.history.ask import Grid
from pms_iot.web.history.closed import ClosedWindows
from pms_iot.web.history.increase import increase
from pms_iot.web.history.read import HistoryReader
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant

MIN = 60 * 10**9
HOUR = 60 * MIN
NOW_NS = to_ns(NOW)
NOW_MS = NOW_NS // 1_000_000
# 2026-11-23T06:30Z is half past: hours begin 30 minutes before.
END_NS = NOW_NS - 30 * MIN
COUNTER = "/api/v1/series/EL-02/runs/counter"
URL = "/api/v1/series/EL-02/runs"


@pytest.fixture
def counting(plant: Plant) -> Plant:
    """A lift that runs once a minute for ten hours; its controller is replaced in the middle."""
    minute = np.arange(-60, 600)  # one hour of it before the window
    shown = np.where(minute < 300, 7000 + minute, 400 + minute - 300)
    at = END_NS - 10 * HOUR + minute * MIN
    series = plant.series("EL-02", "runs")
    plant.deps.store.write(Batch.of(np.full(len(at), series), at, shown))
    return plant


def window(hours_before: int, hours: int, buckets: int) -> dict[str, Any]:
    start = (END_NS - hours_before * HOUR) // 1_000_000
    end = start + hours * HOUR // 1_000_000
    return {"start": start, "end": end, "buckets": max(buckets, 2), "aggregate": "increase"}


def test_the_parts_of_an_increase_add_up_to_the_whole(counting: Plant, log_in: LogIn):
    client = log_in("viewer")
    whole = client.get(URL, params=window(10, 10, 10)).json()
    # 400 is what the new controller shows at first: too much for a minute, so none of it is use.
    assert whole["increase"] == [60, 60, 60, 60, 60, 59, 60, 60, 60, 59]
    assert whole["total"] == sum(whole["increase"]) and whole["resets"] == 1
    assert whole["completeness"] == 1 and whole["source"] == "raw"
    parts = [client.get(URL, params=window(10 - n, 2, 2)).json() for n in range(0, 10, 2)]
    assert sum(part["total"] for part in parts) == whole["total"]
    assert [step for part in parts for step in part["increase"]] == whole["increase"]


def test_only_counters_have_an_increase(log_in: LogIn):
    client = log_in("viewer")
    answer = client.get("/api/v1/series/EL-01/motor_temp", params=window(2, 1, 2))
    assert (answer.status_code, answer.json()["parameter"]) == (422, "point")
    quality = {**window(2, 1, 2), "quality": "good"}
    assert client.get(URL, params=quality).json()["parameter"] == "quality"


def record(client: TestClient, at_min: float, old: float, new: float, **more: Any):
    at = (END_NS - 10 * HOUR + int(at_min * MIN)) // 1_000_000
    return client.post(f"{COUNTER}/replacements", json={"at": at, "old": old, "new": new, **more})


def test_a_recorded_replacement_counts_by_its_readings(counting: Plant, log_in: LogIn):
    client = log_in("wang")
    made = record(client, 299.5, 7300, 399, note="new control board")
    assert made.status_code == 201
    assert client.get(URL, params=window(10, 10, 10)).json()["increase"][5] == 61
    shown = client.get(COUNTER).json()
    (change,) = shown["replacements"]
    assert (change["old"], change["new"], change["noted_by"]) == (7300, 399, "wang")
    assert change["note"] == "new control board" and shown["unit"] == ""
    assert record(client, 299.5, 1, 2).status_code == 409
    place = made.headers["location"]
    assert place.endswith(f"/{change['id']}")
    assert client.delete(place).status_code == 403, "that is for managers"
    manager = log_in("manager")
    assert manager.delete(place).status_code == 204
    assert manager.delete(place).status_code == 404
    assert client.get(COUNTER).json()["replacements"] == []


SENSELESS: list[tuple[Any, int, str | None]] = [
    ({"old": 1, "new": 0}, 422, "at"),
    ({"at": NOW_MS + 1000, "old": 1, "new": 0}, 422, "at"),
    ({"at": "noon", "old": 1, "new": 0}, 422, "at"),
    ({"at": NOW_MS, "new": 0}, 422, "old"),
    ({"at": NOW_MS, "old": True, "new": 0}, 422, "old"),
    ({"at": NOW_MS, "old": 1, "new": -1}, 422, "new"),
    ([], 400, None),
]


def test_a_replacement_that_makes_no_sense_is_refused(log_in: LogIn):
    client = log_in("wang")
    for body, status, parameter in SENSELESS:
        answer = client.post(f"{COUNTER}/replacements", json=body)
        assert (answer.status_code, answer.json().get("parameter")) == (status, parameter), body


@pytest.mark.parametrize("counter", [CounterDef(), CounterDef(most_per_h=120)])
def test_where_raw_samples_are_gone_the_roll_ups_give_the_same(
    counting: Plant, counter: CounterDef
):
    info = counting.deps.catalog.info(counting.series("EL-02", "runs"))
    grid = Grid(END_NS - 10 * HOUR, END_NS, 2 * HOUR)

    def read(raw_from_ns: int | None):
        deps = counting.deps
        reader = HistoryReader(deps.store, deps.catalog, ClosedWindows(), NOW_NS, raw_from_ns)
        return increase(reader, info, counter, (), grid)

    raw, rolled = read(None), read(NOW_NS)
    assert (raw.told["source"], rolled.told["source"]) == ("raw", "rollup")
    assert rolled.at.tolist() == raw.at.tolist()
    assert rolled.told["resets"] == 1
    # An hour's step is booked where the next hour begins: a sample of difference at the edges.
    np.testing.assert_allclose(rolled.columns["increase"], raw.columns["increase"], atol=1)
    assert abs(rolled.told["total"] - raw.told["total"]) <= 1


happenings = st.lists(
    st.tuples(
        st.sampled_from(["runs", "runs", "runs", "resets", "shows", "is silent", "rolls over"]),
        st.integers(1, 30),
    ),
    min_size=3,
    max_size=25,
)


def shown_by(happened: list[tuple[str, int]]) -> Iterator[tuple[int, float]]:
    """(minute, reading) of a counter to which these things happen."""
    minute, value = 0, 65_400.0
    for what, much in happened:
        if what == "runs":
            for n in range(much):
                yield minute + n, value + n % 3
                value += n % 3
            minute += much
        elif what == "is silent":
            minute += 10 * much
        elif what == "shows":  # nonsense
            yield minute, float(much * 2000)
            minute += 1
        else:
            value = 0.0 if what == "resets" else (value + 65_536 - much) % 65_536


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings, st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
def test_any_parts_of_a_window_add_up(
    plant: Plant, happened: list[tuple[str, int]], cuts: list[int]
):
    """Each asked for by itself, with what its own request finds before and after it."""
    info = plant.deps.catalog.info(plant.series("EL-02", "door_cycles"))
    readings = list(shown_by(happened))
    begin_ns = END_NS - 10 * 24 * HOUR
    samples = Batch.of(
        [info.id] * len(readings),
        [begin_ns + minute * MIN for minute, _ in readings],
        [value for _, value in readings],
    )
    reader = HistoryReader(OneSeries(samples), plant.deps.catalog, ClosedWindows(), NOW_NS)
    length = (readings[-1][0] if readings else 0) + 2

    def total(start: int, end: int) -> float:
        grid = Grid(begin_ns + start * MIN, begin_ns + end * MIN, MIN)
        return increase(reader, info, CounterDef(modulus=65_536), (), grid).told["total"]

    edges = [0, *sorted({cut * length // 100 for cut in cuts} - {0}), length]
    assert sum(total(*part) for part in pairwise(edges)) == total(0, length)


@dataclass
class OneSeries:
    """A SampleStore of one series in memory."""

    samples: Batch

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        at = self.samples.at
        return self.samples.take((at >= start_ns) & (at < end_ns))

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        return self.read(series[0], start_ns, end_ns)

    def write(self, batch: Batch) -> None:
        raise NotImplementedError

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        raise NotImplementedError

    def latest(self, series: Sequence[int]) -> Batch:
        raise NotImplementedError

    def close(self) -> None: ...
