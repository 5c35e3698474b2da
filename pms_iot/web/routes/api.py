"""What the scripts of the pages read: series for charts, live values."""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pms_iot.kernel.auth import account_of
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.telemetry.store import Buckets
from pms_iot.web.visit import SESSION_COOKIE, Looking, Visit, deps_of

router = APIRouter(prefix="/api/v1")
MAX_WINDOW_S = 400 * 86_400
RECHECK_EVERY = 6  # updates; a stream outlives its log-in by half a minute at most


@router.get("/series/{asset}/{point}")
def series(
    visit: Looking,
    asset: str,
    point: str,
    start: int,
    end: int,
    buckets: Annotated[int, Query(ge=2, le=2000)] = 600,
) -> dict[str, Any]:
    """A point over [start, end) Unix ms, at most `buckets` steps with minimum, maximum and mean.

    `at` in seconds; `lo` and `hi` are the expected band where a detector made one; null where there is
    nothing. A step of nulls stands in every gap, so that no line is drawn across it.
    """
    if not 0 < end - start <= MAX_WINDOW_S * 1000:
        raise HTTPException(422, "start must be before end, and the window at most 400 days")
    known = visit.deps.catalog.lookup(asset, point)
    if known is None:
        raise NotFoundError("series", f"{asset}/{point}")
    return {"start": start / 1000, "end": end / 1000, **_columns(visit, asset, point, start, end, buckets)}  # fmt: skip


def _columns(visit: Visit, asset: str, point: str, start: int, end: int, buckets: int):
    def read(key: str) -> Buckets | None:
        number = visit.deps.catalog.lookup(asset, key)
        if number is None:
            return None
        return visit.deps.store.downsample(number, start * 1_000_000, end * 1_000_000, buckets)

    main, low_band, high_band = read(point), read(f"{point}.lo"), read(f"{point}.hi")
    assert main is not None
    step_ns = (end - start) * 1_000_000 // buckets
    number = visit.deps.catalog.lookup(asset, point)
    assert number is not None
    period_ns = int((visit.deps.catalog.info(number).period_s or 0) * 1e9)
    gap_ns = 3 * max(step_ns, period_ns)
    return join(main, low_band, high_band, gap_ns)


def join(
    main: Buckets, low_band: Buckets | None, high_band: Buckets | None, gap_ns: int
) -> dict[str, list[float | None]]:
    """All columns on one time axis, with a step of nulls wherever `main` is silent for longer than `gap_ns`."""
    columns = {
        "low": _by_time(main.at, main.low),
        "high": _by_time(main.at, main.high),
        "mean": _by_time(main.at, main.mean),
        "lo": _by_time(low_band.at, low_band.mean) if low_band else {},
        "hi": _by_time(high_band.at, high_band.mean) if high_band else {},
    }
    times = set[int]().union(*columns.values())
    starts = main.at.tolist()
    gaps = (before + 1 for before, after in pairwise(starts) if after - before > gap_ns)  # fmt: skip
    axis = sorted(times.union(gaps))
    joined: dict[str, list[float | None]] = {
        name: [column.get(at) for at in axis] for name, column in columns.items()
    }
    return {"at": [at / 1e9 for at in axis], **joined}


def _by_time(at: Any, values: Any) -> dict[int, float | None]:
    pairs: Iterable[tuple[int, float]] = zip(at.tolist(), values.tolist(), strict=True)
    return {instant: value if math.isfinite(value) else None for instant, value in pairs}


def _has_room(request: Request) -> None:
    """Each stream holds a connection; a runaway client must not take them all."""
    if deps_of(request).live.is_full():
        raise HTTPException(503, "too many live streams")


@router.get("/live", response_class=EventSourceResponse, dependencies=[Depends(_has_room)])
async def live(visit: Looking) -> AsyncGenerator[ServerSentEvent]:
    """Server-sent events: `tick` {now, values: [[series, at ms, value, quality], …]} and `changed` [list, …].

    Ends when the log-in has ended.
    """
    deps = visit.deps
    count = 0
    async for update in deps.live.subscribe():
        count += 1
        if count % RECHECK_EVERY == 0 and not await asyncio.to_thread(_still_logged_in, visit):
            return
        now_ms = deps.clock.now_ns() // 1_000_000
        yield ServerSentEvent(event="tick", data={"now": now_ms, "values": update.ticks})
        if update.changed:
            yield ServerSentEvent(event="changed", data=update.changed)


def _still_logged_in(visit: Visit) -> bool:
    token = visit.request.cookies.get(SESSION_COOKIE, "")
    with transaction(visit.deps.engine) as session:
        return account_of(session, token, visit.deps.clock.now()) is not None
