"""The JSON behind charts, health, and the live stream over a real socket."""

import asyncio
import json
import math
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import httpx2
import numpy as np
from sqlmodel import select
from starlette.testclient import TestClient

from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.users import LoginSession
from pms_iot.telemetry.batch import Batch
from pms_iot.web import LiveFeed, create_app
from pms_iot.web.live import Update
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant, password_of

DAY_MS = 86_400_000
NOW_MS = to_ns(NOW) // 1_000_000


def test_a_series_keeps_extremes_shows_the_band_and_breaks_at_gaps(log_in: LogIn):
    query = {"start": NOW_MS - DAY_MS, "end": NOW_MS, "buckets": 200}
    answer = log_in("viewer").get("/api/v1/series/EL-01/motor_temp", params=query).json()
    at, mean = answer["at"], answer["mean"]
    assert at == sorted(at) and len({len(answer[name]) for name in ("at", "low", "high", "mean", "lo", "hi")}) == 1  # fmt: skip
    assert max(v for v in answer["high"] if v is not None) > 80
    seen = [(low, avg, high) for low, avg, high in zip(answer["low"], mean, answer["high"], strict=True) if avg is not None]  # fmt: skip
    assert all(low <= avg <= high for low, avg, high in seen)
    assert any(lo is not None and hi is not None and lo < hi for lo, hi in zip(answer["lo"], answer["hi"], strict=True))  # fmt: skip
    gap = [t for t, value in zip(at, mean, strict=True) if value is None]
    assert gap and abs(min(gap) - (NOW_MS / 1000 - 15 * 3600)) < 900  # silent from hour 9 to 9.7


def test_a_bad_window_or_point_is_refused(log_in: LogIn):
    client = log_in("viewer")
    url = "/api/v1/series/EL-01/motor_temp"
    assert client.get(url, params={"start": 5, "end": 5}).status_code == 422
    assert client.get(url, params={"start": 0, "end": NOW_MS}).status_code == 422
    assert client.get(url, params={"start": 0, "end": 9, "buckets": 1}).status_code == 422
    assert client.get(url, params={"start": "yesterday", "end": 9}).status_code == 422
    known = {"start": NOW_MS - 1000, "end": NOW_MS}
    assert client.get("/api/v1/series/EL-01/nonsense", params=known).status_code == 404
    assert client.get("/api/v1/series/NO-99/motor_temp", params=known).status_code == 404
    assert client.get(url, params={"start": 1000, "end": 2000}).json()["at"] == []


def test_readiness_names_what_does_not_answer(plant: Plant):
    assert TestClient(plant.app).get("/readyz").json()["status"] == "ok"
    parts = {field: getattr(plant.deps, field) for field in plant.deps.__dataclass_fields__}
    deaf = create_app(type(plant.deps)(**{**parts, "not_ready": lambda: {"broker": "refused"}}))
    answer = TestClient(deaf).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == {"broker": "refused"}
    assert TestClient(deaf).get("/livez").status_code == 200


async def _next(feed: LiveFeed, count: int, between: "list[Batch]") -> list[Update]:
    updates: list[Update] = []
    stream = feed.subscribe()
    async for update in stream:
        updates.append(update)
        if len(updates) == count:
            break
        for batch in between:
            publisher = threading.Thread(target=feed.publish, args=(batch,))
            publisher.start()
            await asyncio.to_thread(publisher.join)
    await stream.aclose()
    return updates


def test_a_subscriber_gets_all_that_is_known_then_only_the_newest_of_each_series():
    feed = LiveFeed()
    feed.publish(Batch.of([1, 2, 1], [1_000_000, 2_000_000, 3_000_000], [10, math.nan, 12]))
    burst = [Batch.of([1], [(4 + n) * 1_000_000], [n]) for n in range(50)]
    first, second = asyncio.run(_next(feed, 2, burst))
    assert sorted(first.ticks) == [(1, 3, 12.0, 192), (2, 2, None, 192)]
    assert second.ticks == [(1, 53, 49.0, 192)], "coalesced: one value although fifty came"


def test_older_samples_do_not_replace_newer_ones():
    feed = LiveFeed()
    feed.publish(Batch.of([1], [9_000_000], [9]))
    feed.publish(Batch.of([1], [5_000_000], [5]))
    (first,) = asyncio.run(_next(feed, 1, []))
    assert first.ticks == [(1, 9, 9.0, 192)]


def test_a_feed_outlives_subscribers_whose_loop_is_gone():
    feed = LiveFeed()
    loop = asyncio.new_event_loop()
    stream = feed.subscribe()
    loop.run_until_complete(anext(stream))
    loop.close()
    feed.publish(Batch.of(np.array([1]), np.array([1]), np.array([1.0])))
    feed.changed("alerts")


def _events(response: httpx2.Response) -> Generator[tuple[str, object]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def _stream(served: str, name: str) -> Generator[httpx2.Response]:
    form = {"username": name, "password": password_of(name)}
    with httpx2.Client(base_url=served, timeout=20) as client:
        assert client.post("/login", data=form).status_code == 303
        with client.stream("GET", "/api/v1/live") as response:
            yield response


def test_the_stream_carries_values_and_changed_lists(plant: Plant, served: str):
    with _stream(served, "viewer") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = _events(response)
        assert next(events)[0] == "tick"
        plant.arrive("EL-01", {"motor_temp": 91.5}, NOW + timedelta(seconds=1))
        plant.deps.live.changed("alerts")
        found: dict[str, object] = {}
        while len(found) < 2:
            kind, content = next(events)
            if kind == "changed" or [plant.series("EL-01", "motor_temp"), NOW_MS + 1000, 91.5, 192] in content["values"]:  # fmt: skip
                found[kind] = content
        assert found["changed"] == ["alerts"]


def test_the_stream_ends_with_the_log_in(plant: Plant, served: str):
    with _stream(served, "viewer") as response:
        events = _events(response)
        next(events)
        with transaction(plant.deps.engine) as session:
            for row in session.exec(select(LoginSession)):
                session.delete(row)
        stop = threading.Event()

        def keep_busy() -> None:
            n = 0
            while not stop.wait(0.05):
                n += 1
                plant.deps.live.publish(Batch.of([1], [to_ns(NOW) + n], [n]))

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            assert list(events)[-1:] != [None]  # returns only when the server closes the stream
        finally:
            stop.set()
            busy.join()
