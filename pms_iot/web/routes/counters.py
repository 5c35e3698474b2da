"""A counter over its life: its running total, and the replacements that people record."""

import math
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import CounterDef
from pms_iot.kernel.clock import from_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.telemetry import counter_changes
from pms_iot.telemetry.counter_changes import ReplacementRefusedError
from pms_iot.telemetry.counter_totals import rows_of
from pms_iot.telemetry.tables import CounterReplacement, CounterTotal
from pms_iot.web.history.ask import parse_instant, series_of
from pms_iot.web.problems import ProblemError
from pms_iot.web.visit import Looking, Managing, Visit, Working

router = APIRouter(prefix="/api/v1/series/{asset}/{point}/counter")
_REFUSED = {
    "twice": (409, "a replacement at this instant is recorded already"),
    "no_readings": (422, "there are no readings left on both sides of this instant"),
}


def counter_of(visit: Visit, info: SeriesInfo) -> CounterDef:
    """What the rule pack says of a counter. Raises ProblemError for a point that is none."""
    pack = visit.deps.packs.get(info.kind)
    point = pack.points.get(info.point) if pack else None
    if point is None or point.counter is None:
        what = f"{info.point} is a {info.type}, not a counter"
        raise ProblemError(422, what, "point")
    return point.counter


@router.get("")
def counter(visit: Looking, asset: str, point: str) -> Response:
    """How the counter behaves, its running total if a plan needs one, and its replacements."""
    info, known = _counter(visit, asset, point)
    with transaction(visit.deps.engine) as session:
        row = rows_of(session, [info.id]).get(info.id)
        changes = [_shown(change) for change in counter_changes.replacements(session, info.id)]
    body = {
        "asset": asset,
        "point": point,
        "unit": info.unit,
        "modulus": known.modulus,
        "most_per_h": known.most_per_h,
        "total": None if row is None else _total(row),
        "replacements": changes,
    }
    return Response(orjson.dumps(body), media_type="application/json")


def _total(row: CounterTotal) -> dict[str, Any]:
    return {
        "value": row.total,
        "began_at": from_ns(row.began_ns),
        "counted_to": from_ns(row.read_to_ns),
        "rollovers": row.rollovers,
        "resets": row.resets,
        "jumps": row.jumps,
        "glitches": row.glitches,
    }


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as problem:
        raise ProblemError(400, f"not JSON: {problem}") from problem
    if not isinstance(body, dict):
        raise ProblemError(400, "not a JSON object")
    return body


@router.post("/replacements", status_code=201)
def replace(
    visit: Working, asset: str, point: str, body: Annotated[dict[str, Any], Depends(_body)]
) -> Response:
    """Records {at, old, new, note}: when it was replaced, and what the old and the new one showed."""
    info, known = _counter(visit, asset, point)
    change = CounterReplacement(
        series=info.id,
        at=_at(body, visit.now),
        old_reading=_number(body, "old"),
        new_reading=_number(body, "new"),
        note=str(body.get("note", ""))[:500],
        noted_by=visit.who,
        noted_at=visit.now,
    )
    try:
        with transaction(visit.deps.engine) as session:
            number = counter_changes.record(session, visit.deps.store, known, change)
    except ReplacementRefusedError as problem:
        raise _refusal(problem) from problem
    place = f"{visit.request.url.path}/{number}"
    body = _shown(change) | {"id": number}
    return Response(orjson.dumps(body), 201, {"Location": place}, "application/json")


@router.delete("/replacements/{replacement_id}", status_code=204)
def withdraw(visit: Managing, asset: str, point: str, replacement_id: int) -> Response:
    """Takes a replacement back that was recorded by mistake."""
    info, known = _counter(visit, asset, point)
    try:
        with transaction(visit.deps.engine) as session:
            counter_changes.withdraw(session, visit.deps.store, known, info.id, replacement_id)
    except NotFoundError as problem:
        raise ProblemError(404, "no such replacement", "replacement_id") from problem
    except ReplacementRefusedError as problem:
        raise _refusal(problem) from problem
    return Response(status_code=204)


def _counter(visit: Visit, asset: str, point: str) -> tuple[SeriesInfo, CounterDef]:
    (info,) = series_of(visit.deps.catalog, [asset], [point])
    return info, counter_of(visit, info)


def _refusal(problem: ReplacementRefusedError) -> ProblemError:
    status, detail = _REFUSED[problem.reason]
    return ProblemError(status, detail, "at")


def _at(body: dict[str, Any], now: datetime) -> datetime:
    if "at" not in body:
        raise ProblemError(422, "at is missing", "at")
    at = from_ns(parse_instant(str(body["at"]), "at"))
    if at > now:
        raise ProblemError(422, "at is in the future", "at")
    return at


def _number(body: dict[str, Any], name: str) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProblemError(422, f"{name} must be a number", name)
    if not math.isfinite(value) or value < 0:
        raise ProblemError(422, f"{name} must not be below zero", name)
    return float(value)


def _shown(change: CounterReplacement) -> dict[str, Any]:
    return {
        "id": change.id,
        "at": change.at,
        "old": change.old_reading,
        "new": change.new_reading,
        "note": change.note,
        "noted_by": change.noted_by,
        "noted_at": change.noted_at,
    }
