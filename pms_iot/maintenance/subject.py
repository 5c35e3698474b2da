"""What one look at a plan is about, and what it has opened."""

from dataclasses import dataclass
from datetime import date, datetime

from pms_iot.assets.tables import Asset
from pms_iot.maintenance import due
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.tables import MaintenancePlan

NOT_IN_SERVICE = "asset not in service"
RETIRED = "asset retired"


@dataclass(frozen=True, slots=True)
class OpenedOccurrence:
    """An occurrence for which a work order was opened just now."""

    occurrence_id: int
    plan_id: int
    asset_id: int
    asset: str
    template: str
    due_on: date
    trigger: str
    work_order_id: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A plan with what it is about, as of one look."""

    plan: MaintenancePlan
    template: PlanTemplate
    asset: Asset
    zone: str
    now: datetime

    @property
    def today(self) -> date:
        return due.today_in(self.zone, self.now)

    @property
    def plan_id(self) -> int:
        assert self.plan.id is not None
        return self.plan.id


def out_of_service(in_service: bool, retired_on: date | None, day: date) -> str | None:
    """Why nothing is due on an asset that day; None if it is in service."""
    if retired_on is not None and retired_on <= day:
        return RETIRED
    return None if in_service else NOT_IN_SERVICE
