"""Live values by server-sent events, for the pages and for whoever integrates."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pms_iot.kernel.auth import account_of
from pms_iot.kernel.db import transaction
from pms_iot.web.visit import SESSION_COOKIE, Looking, Visit, deps_of

router = APIRouter(prefix="/api/v1")
RECHECK_EVERY = 6  # updates; a stream outlives its log-in by half a minute at most


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
