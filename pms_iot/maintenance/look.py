"""What may be due: looks at all plans, in narrow rows and without a lock. Nothing is changed here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session, col

from pms_iot.assets.tables import Asset, Site
from pms_iot.maintenance import due
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.subject import out_of_service
from pms_iot.maintenance.tables import MaintenancePlan, Occurrence

EASTERNMOST = timedelta(hours=14)  # where the day begins first

Place = tuple[str, str]  # asset code, point
Meters = Callable[[Sequence[Place]], Mapping[Place, float]]
"""The newest good reading of each of these meters; those that have none are left out."""
Readings = Mapping[str, float]  # by point


def due_by_calendar(
    session: Session, by_id: Mapping[str, PlanTemplate], now: datetime
) -> list[int]:
    """The plans whose order opens today or should have opened before."""
    plan = MaintenancePlan
    columns = col(plan.id), col(plan.template), col(plan.opens_on), col(Site.timezone)
    query = _of_active(select(*columns))
    somewhere = (now + EASTERNMOST).date()
    today = _Today(now)
    return [
        plan_id
        for plan_id, template, opens_on, zone in _rows(
            session, query.where(col(plan.opens_on) <= somewhere)
        )
        if template in by_id  # sync_plans reports the others
        and by_id[template].every is not None
        and opens_on <= today(zone)
    ]


def due_by_meter(
    session: Session, by_id: Mapping[str, PlanTemplate], now: datetime, meters: Meters
) -> dict[int, Readings]:
    """The plans that a meter makes due or whose count starts anew, with the readings that say so.

    A machine that is out of service does not run, so its meters are not asked.
    """
    plan, asset = MaintenancePlan, Asset
    columns = (
        *(col(plan.id), col(plan.template), col(plan.meter_bases)),
        *(col(asset.code), col(asset.in_service), col(asset.retired_on), col(Site.timezone)),
    )
    query = _of_active(select(*columns))
    today = _Today(now)
    asked = [
        (plan_id, meter, bases, code)
        for plan_id, template, bases, code, in_service, retired_on, zone in _rows(
            session, query.where(col(plan.by_meter).is_(True))
        )
        if template in by_id
        and (meter := by_id[template].meter) is not None
        and not out_of_service(in_service, retired_on, today(zone))
    ]
    read = meters([(code, point) for _, meter, _, code in asked for point in meter.points])
    found: dict[int, Readings] = {}
    far_enough: set[int] = set()
    for plan_id, meter, bases, code in asked:
        readings = {
            point: at
            for point in meter.points
            if (at := read.get((code, point))) is not None and at == at  # not NaN
        }
        state = due.read_meters(meter, bases, readings)
        if state.restarted or state.due is not None:
            found[plan_id] = readings
        if not state.restarted:
            far_enough.add(plan_id)
    idle = far_enough & _open(session) if found else set[int]()
    return {plan_id: readings for plan_id, readings in found.items() if plan_id not in idle}


def _open(session: Session) -> set[int]:
    """The plans whose order is open already."""
    query = select(col(Occurrence.plan_id)).where(col(Occurrence.state) == "open")
    return {plan_id for (plan_id,) in _rows(session, query)}


def _of_active(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return (
        query.join(Asset, col(MaintenancePlan.asset_id) == col(Asset.id))
        .join(Site, col(Asset.site_id) == col(Site.id))
        .where(col(MaintenancePlan.active).is_(True))
        .order_by(col(MaintenancePlan.id))
    )


def _rows(session: Session, query: Select[*tuple[Any, ...]]) -> Sequence[Any]:
    """Columns alone: the objects of a thousand plans would take longer than all the rest."""
    return session.connection().execute(query).all()


class _Today:
    """The date in each zone, worked out once."""

    def __init__(self, now: datetime) -> None:
        self._now, self._dates = now, dict[str, date]()

    def __call__(self, zone: str) -> date:
        if zone not in self._dates:
            self._dates[zone] = due.today_in(zone, self._now)
        return self._dates[zone]
