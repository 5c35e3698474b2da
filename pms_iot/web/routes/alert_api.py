"""One alert as values, for whoever integrates: GET /api/v1/alerts/{id}. See docs/detection/explanations.md."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import APIRouter

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import transaction
from pms_iot.web.alert_view import Before, alert_with_place, similar_to
from pms_iot.web.history.ask import one, refuse_unknown
from pms_iot.web.i18n import LANGUAGES
from pms_iot.web.problems import ProblemError
from pms_iot.web.reader import Reader
from pms_iot.web.similar import Past, Similar
from pms_iot.web.visit import Looking
from pms_iot.web.why import explanation

router = APIRouter(prefix="/api/v1")


@router.get("/alerts/{alert_id}")
def alert(visit: Looking, alert_id: int) -> dict[str, Any]:
    """Its values; with `lang` (zh or en) also in words. Raises ProblemError for another language."""
    query = visit.request.query_params
    refuse_unknown(query, ("lang",))
    language = one(query, "lang")
    if language is not None and language not in LANGUAGES:
        raise ProblemError(422, f"{language!r} is not one of {', '.join(LANGUAGES)}", "lang")
    with transaction(visit.deps.engine) as session:
        found, asset, site = alert_with_place(session, alert_id)
        before = similar_to(session, visit, found, asset)
    body = _values(found, asset, site) | {"similar": _before(before)}
    if language is None:
        return body
    reader = Reader(visit.deps.packs, language)
    words = asdict(explanation(reader, found, site.timezone))
    return body | {"words": {"title": reader.title(found.rule), **words}}


def _values(found: Alert, asset: Asset, site: Site) -> dict[str, Any]:
    return {
        "id": found.id,
        "key": found.key,
        "rule": found.rule,
        "site": site.code,
        "asset": asset.code,
        "kind": asset.kind,
        "severity": found.severity,
        "safety": found.safety,
        "state": found.state,
        "since": _iso(found.since),
        "opened_at": _iso(found.opened_at),
        "resolved_at": _iso(found.resolved_at),
        "held_s": (found.opened_at - found.since).total_seconds(),
        "acked_at": _iso(found.acked_at),
        "acked_by": found.acked_by,
        "shelved_until": _iso(found.shelved_until),
        "value": found.value,
        "limit": found.limit,
        "work_order": found.work_order_id,
        "why": found.why,
    }


def _before(before: Before) -> dict[str, Any]:
    return {"asset": _similar(before.here), "others_at_site": _similar(before.elsewhere)}


def _similar(similar: Similar) -> dict[str, Any]:
    return {
        "count": similar.count,
        "outcomes": similar.outcomes,
        "newest": [_past(past) for past in similar.newest],
    }


def _past(past: Past) -> dict[str, Any]:
    found, order = past.alert, past.order
    return {
        "id": found.id,
        "asset": past.asset.code,
        "opened_at": _iso(found.opened_at),
        "resolved_at": _iso(found.resolved_at),
        "work_order": found.work_order_id,
        "status": order.status if order else None,
        "outcome": order.outcome if order else None,
        "note": past.note,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
