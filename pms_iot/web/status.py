"""How each asset is, seen from its live alerts, its newest samples and its orders."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.db import transaction
from pms_iot.web.deps import WebDeps
from pms_iot.web.visit import Visit
from pms_iot.workorders.tables import WorkOrder

# Worst first. The last five are grey: calm. What is not known is never shown as normal.
STATES = ("P1", "P2", "P3", "P4", "stale", "unknown", "normal", "unmonitored", "off")
PLACES = ("building", "system", "floor")  # assets that only hold others
DEFAULT_SILENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class LiveValue:
    """The newest sample of a series. `at` is None if there is none yet; value None if known missing."""

    info: SeriesInfo
    at: datetime | None
    value: float | None
    quality: int
    limit_s: float  # older than this is stale
    stale: bool


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """One asset with all that its line on a page shows."""

    asset: Asset
    site: Site
    state: str  # one of STATES
    alerts: Sequence[Alert]
    orders: Sequence[WorkOrder]
    overdue: int
    newest_at: datetime | None
    values: Sequence[LiveValue]


def worst(states: Iterable[str]) -> str:
    """The state that needs most attention; unknown if there are none."""
    return min(states, key=STATES.index, default="unknown")


def survey(visit: Visit, code: str | None = None) -> list[AssetStatus]:
    """Every asset that is not retired (or only `code`), in order of kind and code."""
    deps = visit.deps
    with transaction(deps.engine) as session:
        rows = _assets(session, code)
        alerts = _by_asset(session.exec(_firing()))
        orders = _by_asset(session.exec(_live_orders()))
    values = live_values(deps, [asset.code for asset, _ in rows], visit.now)
    return [
        _status(asset, site, alerts[asset.id], orders[asset.id], values[asset.code], visit.now)
        for asset, site in rows
    ]


def live_values(
    deps: WebDeps, codes: Iterable[str], now: datetime
) -> Mapping[str, list[LiveValue]]:
    """The newest sample of every point of each asset, in the register's order; derived points too."""
    series = {code: list(deps.catalog.of_asset(code).values()) for code in codes}
    batch = deps.store.latest([number for numbers in series.values() for number in numbers])
    columns = (batch.at.tolist(), batch.value.tolist(), batch.quality.tolist())
    newest = dict(zip(batch.series.tolist(), zip(*columns, strict=True), strict=True))
    return {
        code: [_live_value(deps, number, newest.get(number), now) for number in numbers]
        for code, numbers in series.items()
    }


def silence_s(deps: WebDeps, kind: str) -> float:
    """After how long without a sample an asset of this kind counts as silent: its dead-man rule, if it has one."""
    pack = deps.packs.get(kind)
    spans = [rule.silent_for_s for rule in pack.rules if rule.silent_for_s] if pack else []
    return min(spans, default=DEFAULT_SILENCE_S)


def _live_value(
    deps: WebDeps, series: int, newest: tuple[int, float, int] | None, now: datetime
) -> LiveValue:
    info = deps.catalog.info(series)
    limit_s = max(silence_s(deps, info.kind), 3 * (info.period_s or 0))
    if newest is None:
        return LiveValue(info, None, None, 0, limit_s, stale=False)
    at_ns, value, quality = newest
    stale = to_ns(now) - at_ns > limit_s * 1e9
    shown = value if math.isfinite(value) else None
    return LiveValue(info, from_ns(at_ns), shown, quality, limit_s, stale)


def _assets(session: Session, code: str | None) -> list[tuple[Asset, Site]]:
    query = (
        select(Asset, Site)
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(col(Asset.retired_on).is_(None), col(Asset.kind).not_in(PLACES))
        .order_by(col(Asset.kind), col(Asset.code))
    )
    if code is not None:
        query = query.where(col(Asset.code) == code)
    return [(asset, site) for asset, site in session.exec(query)]


def _firing():
    """What the budget holds does not colour its asset."""
    shown = select(Alert).where(col(Alert.state) == "firing", col(Alert.suppressed_by).is_(None))
    return shown.order_by(col(Alert.severity))


def _live_orders():
    live = col(WorkOrder.status).not_in(("closed", "cancelled"))
    return select(WorkOrder).where(live).order_by(col(WorkOrder.priority))


Row = TypeVar("Row", Alert, WorkOrder)


def _by_asset(rows: Iterable[Row]) -> dict[int | None, list[Row]]:
    grouped: dict[int | None, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.asset_id].append(row)
    return grouped


def _status(
    asset: Asset,
    site: Site,
    alerts: Sequence[Alert],
    orders: Sequence[WorkOrder],
    values: Sequence[LiveValue],
    now: datetime,
) -> AssetStatus:
    measured = [value for value in values if not value.info.derived]
    newest = max((value.at for value in measured if value.at), default=None)
    return AssetStatus(
        asset=asset,
        site=site,
        state=_state(asset, alerts, measured),
        alerts=alerts,
        orders=orders,
        overdue=sum(is_overdue(order, now) for order in orders),
        newest_at=newest,
        values=values,
    )


def _state(asset: Asset, alerts: Sequence[Alert], measured: Sequence[LiveValue]) -> str:
    heard = [value for value in measured if value.at]
    if not asset.in_service:
        return "off"
    if alerts:
        return worst(alert.severity for alert in alerts)
    if not measured:
        return "unmonitored"
    if not heard:
        return "unknown"
    return "stale" if all(value.stale for value in heard) else "normal"


def is_overdue(order: WorkOrder, now: datetime) -> bool:
    """Past its due time with the work not yet finished."""
    unfinished = order.status not in ("done", "closed", "cancelled")
    return unfinished and order.due_at is not None and order.due_at < now
