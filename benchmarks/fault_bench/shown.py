"""What people would have been shown: the alerts on record, and the budget of the product over them."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, SQLModel, select

from pms_iot.alerts import budget
from pms_iot.alerts import service as alerts
from pms_iot.alerts.tables import Alert
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.tables import Asset, Point, Site
from pms_iot.feedback.caps import Caps
from pms_iot.feedback.tables import Feedback
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.users import Account
from pms_iot.workorders.tables import WorkOrder

CAPS = Caps(site_month=math.inf)  # the copies of one machine are no site
TABLES = (Account, Feedback, WorkOrder)  # alerts refer to them, so they must be known


class Record:
    """The alerts of machines that exist only here, in a core store in memory. Nobody judges any of them."""

    def __init__(self, infos: Iterable[SeriesInfo]) -> None:
        self._engine = open_engine("sqlite://")
        SQLModel.metadata.create_all(self._engine)
        with transaction(self._engine) as session:
            _register(session, list(infos))

    def follow(self, found: Sequence[Transition], now: datetime) -> None:
        """Writes them down in their order, holds what there is no room for, and lets go what at `now` there
        is room for again: the product looks every ten seconds, the bench whenever it calls this."""
        with transaction(self._engine) as session:
            for change in alerts.record(session, found, now):
                if change.kind == "fired":
                    budget.hold(session, change.alert, CAPS)
            for alert_id in budget.with_room(session, now, CAPS):
                budget.release(session, alert_id, now, CAPS)

    def alerts(self) -> Sequence[Alert]:
        """All that fired, in order of time."""
        with transaction(self._engine) as session:
            return session.exec(select(Alert).order_by("opened_at", "key")).all()


def shown_at(alert: Alert) -> datetime | None:
    """When people were shown it; None: the budget holds it."""
    return None if budget.is_held(alert) else alert.released_at or alert.opened_at


def _register(session: Session, infos: Sequence[SeriesInfo]) -> None:
    site = Site(code=infos[0].site, name_zh="试验台", name_en="Bench")
    session.add(site)
    session.flush()
    assert site.id is not None
    for info in {info.asset_id: info for info in infos}.values():
        session.add(
            Asset(
                id=info.asset_id,
                code=info.asset,
                site_id=site.id,
                kind=info.kind,
                name_zh=info.asset,
                name_en=info.asset,
            )
        )
    session.flush()
    for info in infos:
        session.add(
            Point(
                id=info.id,
                asset_id=info.asset_id,
                key=info.point,
                label_zh=info.label_zh,
                label_en=info.label_en,
            )
        )
