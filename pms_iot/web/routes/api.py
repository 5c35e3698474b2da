"""Live values by server-sent events, for the pages and for whoever integrates. See docs/history-api.md."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pms_iot.assets.catalog import SeriesCatalog, SeriesInfo
from pms_iot.kernel.auth import account_of
from pms_iot.kernel.db import transaction
from pms_iot.telemetry.batch import Batch
from pms_iot.web.history.ask import one, refuse_unknown
from pms_iot.web.problems import ProblemError
from pms_iot.web.visit import SESSION_COOKIE, Looking, Visit, deps_of

router = APIRouter(prefix="/api/v1")
RECHECK_EVERY = 6  # updates; a stream outlives its log-in by half a minute at most
MAX_EVERY = 1000  # series of which one stream carries every sample
_FILTERS = ("site", "asset", "point")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a listener wants to hear. infos: None for everything."""

    infos: list[SeriesInfo] | None
    every: bool


def _wish(visit: Looking) -> Wish:
    """Raises ProblemError."""
    query = visit.request.query_params
    refuse_unknown(query, (*_FILTERS, "samples"))
    samples = one(query, "samples") or "newest"
    if samples not in ("newest", "all"):
        raise ProblemError(422, f"{samples!r} is not one of newest, all", "samples")
    only = {name: set(query.getlist(name)) for name in _FILTERS if name in query}
    infos = _chosen(visit.deps.catalog, only) if only else None
    if samples == "all":
        if infos is None:
            raise ProblemError(422, "all needs a choice: site, asset or point", "samples")
        if len(infos) > MAX_EVERY:
            detail = f"all is for at most {MAX_EVERY} series; these are {len(infos)}"
            raise ProblemError(422, detail, "samples", limit=MAX_EVERY)
    return Wish(infos, samples == "all")


def _chosen(catalog: SeriesCatalog, only: dict[str, set[str]]) -> list[SeriesInfo]:
    """Measured series; a value that no series has is an error, or its listener would wait for ever."""
    measured = [info for info in catalog.all() if not info.derived]
    for name, values in only.items():
        unknown = values - {getattr(info, name) for info in measured}
        if unknown:
            raise ProblemError(404, f"no measured series with {name} {min(unknown)!r}", name)
    found = [info for info in measured if all(getattr(info, n) in v for n, v in only.items())]
    if not found:
        raise ProblemError(404, "no measured series fits all of these", next(iter(only)))
    return found


def _has_room(request: Request) -> None:
    """Each stream holds a connection; a runaway client must not take them all."""
    if deps_of(request).live.is_full():
        raise HTTPException(503, "too many live streams")


@router.get("/live", response_class=EventSourceResponse, dependencies=[Depends(_has_room)])
async def live(
    visit: Looking, wish: Annotated[Wish, Depends(_wish)]
) -> AsyncGenerator[ServerSentEvent]:
    """Server-sent events: `tick` {now, values: [[series, at ms, value, quality], …]} and `changed` [list, …].

    With a choice of series first `series`, which names them. With samples=all `samples`, columns of
    everything committed, and `dropped` {count} for what was lost because the listener was slow.
    Ends when the log-in has ended.
    """
    deps = visit.deps
    count = 0
    if wish.infos is not None:
        yield ServerSentEvent(event="series", data=[_name(info) for info in wish.infos])
    numbers = None if wish.infos is None else [info.id for info in wish.infos]
    async for update in deps.live.subscribe(numbers, every=wish.every):
        count += 1
        if count % RECHECK_EVERY == 0 and not await asyncio.to_thread(_still_logged_in, visit):
            return
        if update.dropped:
            yield ServerSentEvent(event="dropped", data={"count": update.dropped})
        if len(update.samples):
            yield ServerSentEvent(event="samples", data=_columns(update.samples))
        now_ms = deps.clock.now_ns() // 1_000_000
        yield ServerSentEvent(event="tick", data={"now": now_ms, "values": update.ticks})
        if update.changed:
            yield ServerSentEvent(event="changed", data=update.changed)


def _name(info: SeriesInfo) -> dict[str, Any]:
    return {
        "series": info.id,
        "site": info.site,
        "asset": info.asset,
        "point": info.point,
        "unit": info.unit,
    }


def _columns(batch: Batch) -> dict[str, list[Any]]:
    """at: Unix ms, with a fraction where there is one."""
    finite = np.isfinite(batch.value)
    return {
        "series": batch.series.tolist(),
        "at": (batch.at / 1e6).tolist(),
        "value": [v if ok else None for v, ok in zip(batch.value.tolist(), finite, strict=True)],
        "quality": batch.quality.tolist(),
    }


def _still_logged_in(visit: Visit) -> bool:
    token = visit.request.cookies.get(SESSION_COOKIE, "")
    with transaction(visit.deps.engine) as session:
        return account_of(session, token, visit.deps.clock.now()) is not None
