"""Tables of maintenance plans and their occurrences."""

from datetime import date, datetime

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class MaintenancePlan(Table, table=True):
    """A maintenance plan of one asset; what is to be done stands in the rule pack under `template`.

    Calendar, meter, or both (whichever first). Dates are dates in the site's zone; they become
    instants only when compared with the clock.
    """

    __table_args__ = (UniqueConstraint("asset_id", "template"),)

    id: int | None = Field(default=None, primary_key=True)
    asset_id: int = Field(foreign_key="asset.id", index=True)
    template: str  # <kind>.<plan>, e.g. elevator.half_month
    active: bool = True
    anchor_on: (
        date  # the calendar counts from here, so that 31 January does not drift to 28 for ever
    )
    next_due_on: date | None = None  # first date without an occurrence; None: by meter only
    opens_on: date | None = Field(default=None, index=True)  # next_due_on less the early window
    by_meter: bool = Field(default=False, index=True)
    meter_bases: dict[str, float] = Field(
        default_factory=dict, sa_type=JSON
    )  # point -> reading that the count starts from; empty: take the next reading
    last_done_on: date | None = None


class MeterRebase(Table, table=True):
    """A meter's count was started anew: first reading, work done, or a meter that went back."""

    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="maintenance_plan.id", index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    point: str
    old_base: float | None = None
    reading: float
    reason: str  # start | went_back


class Occurrence(Table, table=True):
    """One expected occurrence: ends done, skipped with a signed reason, or missed."""

    __table_args__ = (UniqueConstraint("plan_id", "due_on"),)

    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="maintenance_plan.id", index=True)
    due_on: date = Field(index=True)
    late_on: date  # last day inside the window
    trigger: str  # calendar | meter
    meter_value: float | None = None
    state: str = Field(default="open", index=True)  # open | done | skipped | missed
    opened_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    work_order_id: int | None = Field(default=None, foreign_key="work_order.id")
    reason: str = ""
    decided_by: str | None = None
