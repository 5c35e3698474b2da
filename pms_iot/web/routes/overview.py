"""The start page: every site and building in one line, then every asset."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Response
from sqlmodel import col, select

from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import transaction
from pms_iot.web.key_points import key_values
from pms_iot.web.render import page
from pms_iot.web.status import STATES, AssetStatus, survey, worst
from pms_iot.web.visit import Looking, Visit

router = APIRouter()


@dataclass(frozen=True, slots=True)
class PlaceLine:
    """A site or a building with the sums over its assets."""

    place: object  # Site or Asset: has name_zh and name_en
    state: str
    alerts: int
    orders: int
    overdue: int
    newest_at: datetime | None
    silent: int
    assets: int


@router.get("/")
def overview(visit: Looking) -> Response:
    everything = survey(visit)
    kinds: dict[str, list[AssetStatus]] = defaultdict(list)
    for status in everything:
        kinds[status.asset.kind].append(status)
    return page(
        visit,
        "overview.html",
        places=_places(visit, everything),
        kinds=kinds,
        key_values=key_values,
        zone=everything[0].site.timezone if everything else None,
    )


def _places(visit: Visit, everything: Sequence[AssetStatus]) -> list[PlaceLine]:
    buildings = _building_of(visit)
    groups: dict[tuple[str, str], list[AssetStatus]] = defaultdict(list)
    places: dict[tuple[str, str], object] = {}
    for status in everything:
        building = buildings.get(status.asset.id)
        key = (status.site.code, building.code if building else "")
        groups[key].append(status)
        places[key] = building or status.site
    lines = [_line(places[key], group) for key, group in groups.items()]
    return sorted(lines, key=lambda line: STATES.index(line.state))


def _building_of(visit: Visit) -> Mapping[int | None, Asset]:
    """The nearest building above each asset; assets that stand in none are left out."""
    with transaction(visit.deps.engine) as session:
        assets = {asset.id: asset for asset in session.exec(select(Asset).order_by(col(Asset.id)))}
    found: dict[int | None, Asset] = {}
    for asset in assets.values():
        above = assets.get(asset.parent_id)
        while above is not None and above.kind != "building":
            above = assets.get(above.parent_id)
        if above is not None:
            found[asset.id] = above
    return found


def _line(place: object, group: Sequence[AssetStatus]) -> PlaceLine:
    watched = [status for status in group if status.state not in ("unmonitored", "off")]
    return PlaceLine(
        place=place,
        state=worst(status.state for status in watched),
        alerts=sum(len(status.alerts) for status in group),
        orders=sum(len(status.orders) for status in group),
        overdue=sum(status.overdue for status in group),
        newest_at=max((status.newest_at for status in watched if status.newest_at), default=None),
        silent=sum(status.state in ("stale", "unknown") for status in watched),
        assets=len(watched),
    )
