"""What the core store knows of gateways, alerts, orders and messages: a few short queries in one view."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import add
from typing import Any

from sqlalchemy import Engine, func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Gateway, Site
from pms_iot.kernel.db import reading
from pms_iot.notify.tables import OutboxMessage
from pms_iot.telemetry.meters import GatewayKey
from pms_iot.telemetry.tables import Watermark
from pms_iot.workorders.order import ENDED
from pms_iot.workorders.tables import WorkOrder


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway last said of itself. `spool` has of `rows`, `bytes`, `oldest_age_s`, `left_s`
    what it said, if it is a number."""

    state: str
    last_seen_at: datetime | None
    spool: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """A stream of a gateway: how far its newest epoch is committed, counts over all its epochs."""

    seq: int
    committed_at: datetime
    samples: int
    batches: int
    duplicates: int
    lost: int

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return self.samples, self.batches, self.duplicates, self.lost


@dataclass(frozen=True, slots=True)
class Survey:
    """The core store at one moment. Only gateways of the register, so nobody can add to them."""

    gateways: Mapping[GatewayKey, GatewayReport]
    lanes: Mapping[tuple[str, str, str], Lane]  # site, gateway, lane
    alerts: Mapping[str, int]  # live ones by severity
    orders: Mapping[str, int]  # open ones by status
    outbox_waiting: int
    outbox_given_up: int


def survey(engine: Engine) -> Survey:
    """Raises sqlalchemy.exc.SQLAlchemyError if the core store does not answer."""
    with reading(engine) as session:
        gateways = _gateways(session)
        return Survey(
            gateways=gateways,
            lanes=_lanes(session, gateways),
            alerts=_alerts(session),
            orders=_orders(session),
            outbox_waiting=_messages(session, col(OutboxMessage.next_try_at).is_not(None)),
            outbox_given_up=_messages(session, col(OutboxMessage.given_up_at).is_not(None)),
        )


def _gateways(session: Session) -> dict[GatewayKey, GatewayReport]:
    health = col(Gateway.health)  # a report of a large gateway is long; only this much is read
    query = select_columns(
        col(Site.code),
        col(Gateway.code),
        col(Gateway.state),
        col(Gateway.last_seen_at),
        health["spool"],
        health["at_ns"],
    ).join(Site, col(Gateway.site_id) == col(Site.id))
    return {
        (site, code): GatewayReport(state, seen, _spool(spool, at_ns))
        for site, code, state, seen, spool, at_ns in session.connection().execute(query)
    }


def _spool(said: Any, at_ns: Any) -> dict[str, float]:
    if not isinstance(said, dict):
        return {}
    known = {name: said.get(name) for name in ("rows", "bytes", "hours_left")}
    known["oldest_age_s"] = said_age_s(said, at_ns)
    spool = {
        name: float(value)
        for name, value in known.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    if (hours := spool.pop("hours_left", None)) is not None:
        spool["left_s"] = hours * 3600
    return spool


def said_age_s(spool: Mapping[str, Any], at_ns: Any) -> float | None:
    """How old the oldest batch in a gateway's spool was when it said so; 0 with an empty spool."""
    if spool.get("rows") == 0:
        return 0.0
    oldest = spool.get("oldest_ns")
    if not isinstance(oldest, int) or not isinstance(at_ns, int):
        return None
    return max((at_ns - oldest) / 1e9, 0.0)


def _lanes(
    session: Session, known: Mapping[GatewayKey, object]
) -> dict[tuple[str, str, str], Lane]:
    query = select_columns(  # rows, not objects: there may be thousands
        col(Watermark.site),
        col(Watermark.gateway),
        col(Watermark.lane),
        col(Watermark.seq),
        col(Watermark.updated_at),
        col(Watermark.samples),
        col(Watermark.batches),
        col(Watermark.duplicates),
        col(Watermark.skipped),
    ).order_by(col(Watermark.updated_at))
    found: dict[tuple[str, str, str], Lane] = {}
    for site, gateway, lane, seq, at, *counts in session.connection().execute(query):
        if (site, gateway) in known:
            before = found.get((site, gateway, lane))
            if before is not None:
                counts = map(add, counts, before.counts)
            found[site, gateway, lane] = Lane(seq, at, *counts)
    return found


def _alerts(session: Session) -> dict[str, int]:
    query = (
        select(col(Alert.severity), func.count())
        .where(col(Alert.state) == "firing")
        .group_by(col(Alert.severity))
    )
    return dict(session.exec(query).all())


def _orders(session: Session) -> dict[str, int]:
    query = (
        select(col(WorkOrder.status), func.count())
        .where(col(WorkOrder.status).not_in(ENDED))
        .group_by(col(WorkOrder.status))
    )
    return dict(session.exec(query).all())


def _messages(session: Session, which: Any) -> int:
    return session.exec(select(func.count()).select_from(OutboxMessage).where(which)).one()
