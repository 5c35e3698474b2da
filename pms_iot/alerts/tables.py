"""Tables of alerts and their history."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class Alert(Table, table=True):
    """One occurrence of a rule's condition on an asset. The database refuses a second live one.

    Times are sample times, so a replay of the same samples writes the same rows. `acked_at`,
    `shelved_until` and `suppressed_by` are fields of their own: an alert can be firing and acknowledged.
    """

    __table_args__ = (
        Index(
            "alert_one_live",
            "key",
            unique=True,
            sqlite_where=text("state = 'firing'"),
            postgresql_where=text("state = 'firing'"),
        ),
        UniqueConstraint("key", "opened_at"),
        Index("alert_history", "rule", "asset_id", "opened_at", "work_order_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    key: str  # rule id | asset code | point key
    rule: str  # e.g. elevator.motor_overheat
    asset_id: int = Field(foreign_key="asset.id", index=True)
    point_id: int | None = Field(default=None, foreign_key="point.id")
    severity: str  # P1 .. P4
    safety: bool = False
    state: str = Field(index=True)  # firing | resolved
    opened_at: datetime = Field(sa_type=UtcDateTime, index=True)
    since: datetime = Field(sa_type=UtcDateTime)  # when the condition began, before the on-delay
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    acked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    acked_by: str | None = None
    shelved_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    suppressed_by: str | None = None  # budget:asset | budget:site: held, see budget.py
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)  # from it
    value: float | None = None  # at opening
    limit: float | None = None
    why: dict[str, Any] = Field(
        default_factory=dict, sa_type=JSON
    )  # template id and values, not words
    work_order_id: int | None = Field(default=None, foreign_key="work_order.id", index=True)


class AlertEvent(Table, table=True):
    """One step in the life of an alert."""

    __table_args__ = (UniqueConstraint("alert_id", "kind", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    alert_id: int = Field(foreign_key="alert.id", index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str  # fired | resolved | acknowledged | shelved | unshelved | suppressed | released | accepted | work_order
    actor: str = "system"
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
