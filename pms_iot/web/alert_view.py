"""What the page of an alert and its API look up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.errors import NotFoundError
from pms_iot.web.similar import Similar, similar_at_site, similar_on_asset
from pms_iot.web.visit import Visit


class Before(NamedTuple):
    """Earlier alerts of the same rule, on the asset and on others of its kind at the site."""

    here: Similar
    elsewhere: Similar


@dataclass(frozen=True, slots=True)
class ChartView:
    """What a chart of an alarm shows: a point, around the marked interval (Unix ms)."""

    point: str
    start: int
    end: int
    mark_from: int
    mark_to: int
    limit: float | None


def alert_with_place(session: Session, alert_id: int) -> tuple[Alert, Asset, Site]:
    """Raises NotFoundError."""
    query = (
        select(Alert, Asset, Site)
        .join(Asset, col(Alert.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(Alert.id == alert_id)
    )
    found = session.exec(query).first()
    if found is None:
        raise NotFoundError("alert", alert_id)
    return found


def similar_to(session: Session, visit: Visit, alert: Alert, asset: Asset) -> Before:
    """What was done is told to those who work on orders."""
    notes = visit.may("technician")
    return Before(
        similar_on_asset(session, alert, notes=notes),
        similar_at_site(session, alert, asset, notes=notes),
    )


def charts_of(visit: Visit, alert: Alert, asset: Asset) -> Sequence[ChartView]:
    """A score is shown by the point it judges, with what was expected instead of the limit; that of an asset
    model by itself and by the point that made most of it."""
    known = visit.deps.catalog.of_asset(asset.code)
    key = str(alert.why.get("point", ""))
    base = key.split(".", maxsplit=1)[0]
    parts = [str(part["point"]) for part in alert.why.get("parts", ())][:1]
    shown = base if {f"{base}.lo", f"{base}.expected"} & known.keys() else key
    discrete = alert.why.get("template") in ("equals", "not_equals", "in")
    limit = None if shown != key or discrete else alert.limit
    points = [(point, None) for point in parts] + [(shown, limit)]
    return [_chart(visit, alert, point, limit) for point, limit in points if point in known]


def _chart(visit: Visit, alert: Alert, point: str, limit: float | None) -> ChartView:
    until = alert.resolved_at or visit.now
    margin = max((until - alert.since) * 0.5, timedelta(minutes=15))
    return ChartView(
        point=point,
        start=_ms(alert.since - margin),
        end=_ms(min(until + margin * 0.3, visit.now)),
        mark_from=_ms(alert.since),
        mark_to=_ms(until),
        limit=limit,
    )


def _ms(at: datetime) -> int:
    return to_ns(at) // 1_000_000
