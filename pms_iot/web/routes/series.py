"""The history of points: GET /api/v1/series. See docs/history-api.md."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.kernel.db import transaction
from pms_iot.telemetry.counter_totals import replacements_of
from pms_iot.web.history import encode
from pms_iot.web.history.ask import Ask, flag, read_ask, refuse_unknown, series_of, whole
from pms_iot.web.history.closed import closed_until
from pms_iot.web.history.frame import (
    RAW_COLUMNS,
    Frame,
    columns_of,
    frame_of,
    frames_of_samples,
    with_band,
    with_gaps,
)
from pms_iot.web.history.increase import increase
from pms_iot.web.history.listing import describe
from pms_iot.web.history.read import HistoryReader
from pms_iot.web.routes.counters import counter_of
from pms_iot.web.visit import Looking, Visit

router = APIRouter(prefix="/api/v1")
DAY_NS = 86_400 * 10**9
MAX_AGE_S = 60


def reader_of(visit: Visit) -> HistoryReader:
    """The history as of this request."""
    deps, now_ns = visit.deps, visit.deps.clock.now_ns()
    settings = deps.settings
    raw_from = None if settings.influx.url else now_ns - int(settings.raw_days * DAY_NS)
    return HistoryReader(deps.store, deps.catalog, deps.live.closed, now_ns, raw_from)


@router.get("/series")
def series(visit: Looking) -> Response:
    """With `start`: the history of every `point` of every `asset` named. Without: the list of series."""
    query = visit.request.query_params
    if "start" not in query:
        return _list(visit)
    reader = reader_of(visit)
    ask = read_ask(query, _accept(visit.request), reader.now_ns, also=("asset", "point"))
    infos = series_of(visit.deps.catalog, query.getlist("asset"), query.getlist("point"))
    return _answer(visit, reader, ask, infos, single=False)


def _list(visit: Visit) -> Response:
    query = visit.request.query_params
    refuse_unknown(query, {"site", "asset", "kind", "point", "first", "limit", "after"})
    reader = reader_of(visit)
    body = describe(
        reader,
        {name: set(query.getlist(name)) for name in ("site", "asset", "kind", "point")},
        after=whole(query, "after", 0, 0, 2**31),
        limit=whole(query, "limit", 500, 1, 5000),
        first=flag(query, "first"),
    )
    return Response(encode.dumps(body), media_type=encode.CONTENT_TYPES["json"])


@router.get("/series/{asset}/{point}")
def one_series(visit: Looking, asset: str, point: str) -> Response:
    """The history of one point; for charts: with its expected band, and a step of nulls in every gap."""
    reader = reader_of(visit)
    ask = read_ask(visit.request.query_params, _accept(visit.request), reader.now_ns)
    infos = series_of(visit.deps.catalog, [asset], [point])
    return _answer(visit, reader, ask, infos, single=True)


def _accept(request: Request) -> str:
    return request.headers.get("accept", "")


def _answer(
    visit: Visit, reader: HistoryReader, ask: Ask, infos: Sequence[SeriesInfo], *, single: bool
) -> Response:
    if ask.raw:
        return _raw(reader, ask, infos, single=single)
    grid = ask.grid
    frames = _frames(visit, reader, ask, infos)
    if single and ask.format == "json":
        frames = [_for_chart(reader, ask, frames[0])]
    head = {
        "start": grid.start_ns / 1e9,
        "end": grid.end_ns / 1e9,
        "width": grid.width_ns / 1e9,
        "aggregate": ask.aggregate,
        "quality": ask.quality,
    }
    body = _body(ask, head, columns_of(ask.aggregate), frames, single=single)
    # A reading after the window may still take back the last one in it.
    is_closed = ask.aggregate != "increase" and grid.end_ns <= closed_until(
        reader.now_ns, grid.width_ns
    )
    return _cacheable(visit.request, b"".join(body), ask, is_closed=is_closed)


def _frames(
    visit: Visit, reader: HistoryReader, ask: Ask, infos: Sequence[SeriesInfo]
) -> list[Frame]:
    if ask.aggregate != "increase":
        parts = ((info, reader.part(info, ask.grid, ask.quality)) for info in infos)
        return [frame_of(info, part, ask.aggregate) for info, part in parts]
    counters = [counter_of(visit, info) for info in infos]
    with transaction(visit.deps.engine) as session:
        replaced = replacements_of(session, [info.id for info in infos])
    return [
        increase(reader, info, counter, replaced.get(info.id, ()), ask.grid)
        for info, counter in zip(infos, counters, strict=True)
    ]


def _for_chart(reader: HistoryReader, ask: Ask, frame: Frame) -> Frame:
    info, grid = frame.info, ask.grid
    gap_ns = 3 * max(grid.width_ns, int((info.period_s or 0) * 1e9))
    frame = with_gaps(frame, gap_ns)
    if ask.aggregate != "minmax":
        return frame
    low, high, expected = (
        reader.catalog.lookup(info.asset, f"{info.point}.{name}")
        for name in ("lo", "hi", "expected")
    )
    band = (low, high) if low is not None or high is not None else (expected, expected)
    parts = {n: reader.part(reader.catalog.info(n), grid, "all") for n in band if n is not None}
    return with_band(frame, *(None if n is None else parts[n] for n in band))


def _raw(reader: HistoryReader, ask: Ask, infos: Sequence[SeriesInfo], *, single: bool) -> Response:
    """Samples as they are stored; written while they are sent, so without an ETag."""
    batch = reader.raw([info.id for info in infos], ask.start_ns, ask.end_ns, ask.quality)
    head = {"start": ask.start_ns / 1e9, "end": ask.end_ns / 1e9, "quality": ask.quality}
    body = _body(ask, head, RAW_COLUMNS, frames_of_samples(infos, batch), single=single)
    headers = {"Vary": "Accept, Cookie"}
    return StreamingResponse(body, 200, headers, encode.CONTENT_TYPES[ask.format])


def _body(
    ask: Ask, head: dict[str, Any], names: Sequence[str], frames: Sequence[Frame], *, single: bool
) -> Iterator[bytes]:
    if ask.format == "csv":
        return encode.to_csv(names, frames)
    if ask.format == "arrow":
        return encode.to_arrow(names, frames)
    return iter([encode.to_json(head, frames, single=single)])


def _cacheable(request: Request, body: bytes, ask: Ask, *, is_closed: bool) -> Response:
    """The ETag is that of the content: whoever wrote late into the window, it is never wrong."""
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={MAX_AGE_S}" if is_closed else "private, no-cache",
        "Vary": "Accept, Cookie",
    }
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}  # fmt: skip
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, encode.CONTENT_TYPES[ask.format])
