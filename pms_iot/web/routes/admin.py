"""What a manager must know of the system itself: nothing is lost silently."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import func
from sqlmodel import Session, col, select

from pms_iot import adoption
from pms_iot.assets.tables import Adoption, Asset, Gateway, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.users import Account
from pms_iot.notify.tables import OutboxMessage
from pms_iot.operations.vitals import Vitals
from pms_iot.telemetry import gaps, parked, quarantine
from pms_iot.telemetry.tables import UnknownPoint, Watermark
from pms_iot.web.render import page
from pms_iot.web.routes.health import what_is_not_ready
from pms_iot.web.visit import Managing, Visit
from pms_iot.workorders.tables import Certificate, Technician

router = APIRouter()
LISTED = 50


@router.get("/admin")
def admin(visit: Managing) -> Response:
    return admin_page(visit)


def admin_page(visit: Visit, *, status: int = 200, problem: str | None = None) -> Response:
    """`problem`: why what the reader wanted was refused."""
    with transaction(visit.deps.engine) as session:
        gateways = _gateways(session)
        context: dict[str, Any] = {
            "unknown": quarantine.unknown_points(session, LISTED),
            "parked": parked.parked_counts(session),
            "adoptions": _adoptions(session),
            "quarantined": quarantine.quarantined(session, LISTED),
            "outbox": _undelivered(session),
            "streams": _streams(session),
            "gaps": gaps.gaps(session, LISTED),
            "accounts": session.exec(select(Account).order_by(Account.username)).all(),
            "technicians": session.exec(select(Technician).order_by(Technician.name)).all(),
            "certificates": session.exec(select(Certificate)).all(),
            "totals": {
                "unknown": session.exec(select(func.count()).select_from(UnknownPoint)).one(),
                "quarantined": quarantine.quarantined_ever(session),
            },
        }
        vitals = visit.deps.vitals()
        zone = session.exec(select(Site.timezone).order_by(col(Site.id))).first()
    return page(
        visit,
        "admin.html",
        status_code=status,
        problem=problem,
        is_asset=visit.deps.catalog.has_asset,
        kinds={kind: visit.deps.packs[kind].label for kind in adoption.kinds(visit.deps.packs)},
        gateways=gateways,
        vitals=vitals,
        lags=_lags(visit, vitals),
        counters=dict(visit.deps.counters()),
        not_ready=what_is_not_ready(visit.deps),
        zone=zone or "Asia/Shanghai",
        **context,
    )


def _lags(visit: Visit, vitals: Vitals | None) -> Mapping[tuple[str, str], float]:
    """Site and gateway -> seconds since the newest sample that is committed, the latest first."""
    if vitals is None:
        return {}
    now_ns = to_ns(visit.now)
    lags = {key: (now_ns - at_ns) / 1e9 for key, at_ns in vitals.newest_ns.items()}
    return dict(sorted(lags.items(), key=lambda item: -item[1]))


def _gateways(session: Session) -> Sequence[tuple[Gateway, Asset, Site]]:
    query = (
        select(Gateway, Asset, Site)
        .join(Asset, col(Gateway.asset_id) == col(Asset.id))
        .join(Site, col(Gateway.site_id) == col(Site.id))
        .order_by(Site.code, Gateway.code)
    )
    return session.exec(query).all()


def _adoptions(session: Session) -> Sequence[tuple[Adoption, Asset]]:
    """The newest first."""
    query = select(Adoption, Asset).join(Asset, col(Adoption.asset_id) == col(Asset.id))
    return session.exec(query.order_by(col(Adoption.id).desc()).limit(LISTED)).all()


def _streams(session: Session) -> Sequence[Watermark]:
    query = select(Watermark).order_by(col(Watermark.updated_at).desc())
    return session.exec(query.limit(LISTED)).all()


def _undelivered(session: Session) -> Sequence[OutboxMessage]:
    """Messages that failed at least once and have not arrived; `next_try_at` None = given up."""
    query = select(OutboxMessage).where(
        col(OutboxMessage.sent_at).is_(None), OutboxMessage.attempts > 0
    )
    return session.exec(query.order_by(col(OutboxMessage.created_at).desc()).limit(LISTED)).all()
