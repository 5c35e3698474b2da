"""The outbox."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class OutboxMessage(Table, table=True):
    """A message to one channel. `key` makes it single, and goes along as the idempotency key."""

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)  # <channel>:<event>:<id>
    channel: str  # a configured channel's name
    event: str  # e.g. work_order.opened
    subject: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # {zh, en}
    body: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # the event's attributes
    created_at: datetime = Field(sa_type=UtcDateTime)
    next_try_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, index=True
    )  # None: sent or given up
    attempts: int = 0
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    given_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str = ""  # a constant or a status code: never an address, a body or a secret
