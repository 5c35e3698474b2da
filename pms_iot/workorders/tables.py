"""Tables of technicians and work orders."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime

LIVE = "status not in ('closed', 'cancelled')"


class Technician(Table, table=True):
    """A person who repairs; skills are those that rules and plans name."""

    id: int | None = Field(default=None, primary_key=True)
    user_id: int | None = Field(default=None, foreign_key="account.id", unique=True)
    name: str
    skills: list[str] = Field(default_factory=list, sa_type=JSON)
    active: bool = True


class Certificate(Table, table=True):
    """A licence of a technician, e.g. T (lift repair), with its validity."""

    id: int | None = Field(default=None, primary_key=True)
    technician_id: int = Field(foreign_key="technician.id", index=True)
    code: str
    number: str = ""
    valid_from: date | None = None
    valid_until: date | None = None


class WorkOrder(Table, table=True):
    """Work to be done on an asset. The database refuses a second live order of the same origin."""

    __table_args__ = (
        Index(
            "work_order_one_live",
            "origin",
            unique=True,
            sqlite_where=text(LIVE),
            postgresql_where=text(LIVE),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    origin: str = Field(index=True)  # fault|safety|link:<asset>, pm:<asset>:<plan>:<due date>
    kind: str  # corrective | preventive
    asset_id: int = Field(foreign_key="asset.id", index=True)
    title_zh: str
    title_en: str
    priority: str  # P1 .. P4
    status: str = Field(index=True)  # see workorders/order.py
    skill: str = ""
    people: int = 1
    statutory: bool = False
    technician_id: int | None = Field(default=None, foreign_key="technician.id", index=True)
    opened_at: datetime = Field(sa_type=UtcDateTime)
    arrive_by: datetime | None = Field(default=None, sa_type=UtcDateTime)
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = None  # true_fault | false_alarm | no_fault_found | sensor_fault | done
    reopened: int = 0
    version: int = 1  # grows with every change, for If-Match


class OrderAlert(Table, table=True):
    """An alert that a corrective order is about. The repair counts when all of them have recovered."""

    id: int | None = Field(default=None, primary_key=True)
    work_order_id: int = Field(foreign_key="work_order.id", index=True)
    alert_id: int = Field(foreign_key="alert.id", unique=True)
    rule: str
    series: int | None = Field(default=None, foreign_key="point.id")  # what the rule looked at
    fired_at: datetime = Field(sa_type=UtcDateTime)
    recovered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ChecklistItem(Table, table=True):
    """One line of a work order's checklist."""

    __table_args__ = (UniqueConstraint("work_order_id", "code"),)

    id: int | None = Field(default=None, primary_key=True)
    work_order_id: int = Field(foreign_key="work_order.id", index=True)
    position: int
    code: str
    text_zh: str
    text_en: str
    evidence: str = "none"  # none | photo | reading
    result: str = "open"  # open | pass | fail | not_applicable
    reading: str = ""
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    done_by: str | None = None


class WorkOrderEvent(Table, table=True):
    """One step in the life of a work order."""

    id: int | None = Field(default=None, primary_key=True)
    work_order_id: int = Field(foreign_key="work_order.id", index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str  # a move of workorders/order.py, or open | alert | recovered | escalated | note | photo | check | carried | corrected
    actor: str = "system"
    note: str = ""
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class Photo(Table, table=True):
    """A picture as evidence, of the order or of one checklist item."""

    id: int | None = Field(default=None, primary_key=True)
    work_order_id: int = Field(foreign_key="work_order.id", index=True)
    item_id: int | None = Field(default=None, foreign_key="checklist_item.id")
    taken_by: str
    added_at: datetime = Field(sa_type=UtcDateTime)
    media_type: str
    sha256: str
    content: bytes
