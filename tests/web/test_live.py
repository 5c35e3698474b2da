"""The live stream for integrators: chosen series, every sample, and what a slow listener lost."""

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import numpy as np

from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.batch import Batch
from pms_iot.web.live import MAX_QUEUED, LiveFeed, Update
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant, password_of

MS = 1_000_000


async def _listen(feed: LiveFeed, between: list[Batch], **choice: Any) -> tuple[Update, Update]:
    """The first update, and the next after these batches have come from another thread."""
    stream = feed.subscribe(**choice)
    first = await anext(stream)
    for batch in between:
        publisher = threading.Thread(target=feed.publish, args=(batch,))
        publisher.start()
        await asyncio.to_thread(publisher.join)
    second = await anext(stream)
    await stream.aclose()
    return first, second


def test_only_the_chosen_series_are_heard():
    feed = LiveFeed()
    feed.publish(Batch.of([1, 2, 3], [MS] * 3, [1, 2, 3]))
    first, second = asyncio.run(
        _listen(feed, [Batch.of([1, 2, 9999], [2 * MS] * 3, [4, 5, 6])], series=[2, 9999])
    )
    assert first.ticks == [(2, 1, 2.0, 192)]
    assert second.ticks == [(2, 2, 5.0, 192), (9999, 2, 6.0, 192)]


def test_every_sample_in_the_order_of_its_commit_also_older_ones():
    feed = LiveFeed()
    feed.publish(Batch.of([1], [5 * MS], [5]))
    batches = [Batch.of([1, 2, 1], np.array([6, 6, 7]) * MS, [6, 0, 7]), Batch.of([1], [MS], [1])]
    first, second = asyncio.run(_listen(feed, batches, series=[1], every=True))
    assert not first.ticks and not len(first.samples), "what was before is history"
    assert second.samples.value.tolist() == [6, 7, 1]
    assert second.dropped == 0 and not second.ticks


def test_a_slow_listener_is_told_how_many_it_lost():
    feed = LiveFeed()
    rows = 1000
    batches = [
        Batch.of([1] * rows, np.arange(rows) * MS + n, [n] * rows)
        for n in range(MAX_QUEUED // rows + 3)
    ]
    _, second = asyncio.run(_listen(feed, batches, series=[1], every=True))
    assert second.dropped == 3 * rows
    assert len(second.samples) == MAX_QUEUED and second.samples.value[0] == 3


def test_a_batch_larger_than_the_queue_keeps_its_end():
    feed = LiveFeed()
    batch = Batch.of([1] * (MAX_QUEUED + 5), np.arange(MAX_QUEUED + 5), np.zeros(MAX_QUEUED + 5))
    _, second = asyncio.run(_listen(feed, [batch], series=[1], every=True))
    assert second.dropped == 5 and second.samples.at[0] == 5


def test_samples_out_of_order_within_a_batch_leave_the_newest():
    feed = LiveFeed()
    feed.publish(Batch.of([1, 2, 1, 1], np.array([9, 3, 7, 8]) * MS, [9, 3, 7, 8]))
    feed.publish(Batch.of([2, 1], np.array([2, 10]) * MS, [2, 10]))

    async def first() -> Update:
        stream = feed.subscribe()
        update = await anext(stream)
        await stream.aclose()
        return update

    assert asyncio.run(first()).ticks == [(1, 10, 10.0, 192), (2, 3, 3.0, 192)]


def _events(response: httpx2.Response) -> Generator[tuple[str, Any]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def _stream(served: str, query: str) -> Generator[Generator[tuple[str, Any]]]:
    form = {"username": "viewer", "password": password_of("viewer")}
    with httpx2.Client(base_url=served, timeout=20) as client:
        assert client.post("/login", data=form).status_code == 303
        with client.stream("GET", f"/api/v1/live?{query}") as response:
            yield _events(response)


def test_an_integrator_gets_every_sample_of_its_points(plant: Plant, served: str):
    number = plant.series("EL-01", "motor_temp")
    with _stream(served, "asset=EL-01&point=motor_temp&samples=all") as events:
        name, series = next(events)
        assert name == "series"
        assert [(one["series"], one["asset"], one["point"]) for one in series] == [
            (number, "EL-01", "motor_temp")
        ]
        assert next(events)[0] == "tick"
        for n in range(1, 4):
            plant.arrive("EL-01", {"motor_temp": 60.0 + n, "floor": n}, NOW + timedelta(seconds=n))
        values: list[float] = []
        for name, content in events:
            if name == "samples":
                assert set(content["series"]) == {number}
                values += content["value"]
            if len(values) >= 3:
                break
        assert values == [61, 62, 63]
        assert content["at"][-1] == to_ns(NOW) / 1e6 + 3000


def test_newest_values_of_one_asset(plant: Plant, served: str):
    with _stream(served, "asset=EL-02") as events:
        assert next(events)[0] == "series"
        _, content = next(events)
        theirs = set(plant.deps.catalog.of_asset("EL-02").values())
        assert not content["values"] or {tick[0] for tick in content["values"]} <= theirs


REFUSED = [
    ("samples=all", 422, "samples"),
    ("samples=some", 422, "samples"),
    ("asset=NO-99", 404, "asset"),
    ("asset=EL-01&point=outlet_p", 404, "asset"),
    ("asset=EL-01&point=motor_temp.lo", 404, "point"),
    ("assets=EL-01", 422, "assets"),
]


def test_a_choice_that_nobody_can_hear_is_refused(log_in: LogIn):
    client = log_in("viewer")
    for query, status, parameter in REFUSED:
        answer = client.get(f"/api/v1/live?{query}")
        assert (answer.status_code, answer.json()["parameter"]) == (status, parameter), query
