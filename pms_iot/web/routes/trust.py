"""How far the detectors can be trusted: a page and the same as JSON."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from sqlmodel import col, select

from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.db import reading
from pms_iot.web import trust
from pms_iot.web.i18n import N_
from pms_iot.web.render import page
from pms_iot.web.visit import Managing

router = APIRouter()
LISTED = 100  # points; the rest on the pages that follow
Order = Literal["worst", "alarms", "precision", "held", "asset"]
_ORDERS: dict[Order, str] = {
    "worst": N_("Worst first"),
    "alarms": N_("Most alarms"),
    "precision": N_("Lowest precision"),
    "held": N_("Most held"),
    "asset": N_("Asset"),
}


@router.get("/detection")
def trust_page(visit: Managing, sort: Order = "worst", start: int = 0) -> Response:
    with reading(visit.deps.engine) as session:
        found = trust.trust(visit.deps, session, visit.now, sort)
        zone = session.exec(select(Site.timezone).order_by(col(Site.id))).first()
        names = {asset.code: asset for asset in session.exec(select(Asset))}
        sites = {site.code: site for site in session.exec(select(Site))}
        session.expunge_all()
    start = min(max(start, 0), max(len(found.points) - 1, 0) // LISTED * LISTED)
    return page(
        visit,
        "trust.html",
        found=found,
        shown=found.points[start : start + LISTED],
        start=start,
        step=LISTED,
        sort=sort,
        orders=_ORDERS,
        names=names,
        sites=sites,
        zone=zone,
    )


@router.get("/api/v1/detection/trust")
def trust_json(visit: Managing, sort: Order = "worst") -> dict[str, Any]:
    """Every computed point that raised an alarm in the last 30 days, and the totals of assets and sites."""
    with reading(visit.deps.engine) as session:
        return trust.as_json(trust.trust(visit.deps, session, visit.now, sort))
