"""People who log in."""

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class Role(StrEnum):
    """What a person may do: a manager everything, a technician the work orders, a viewer looks."""

    MANAGER = "manager"
    TECHNICIAN = "technician"
    VIEWER = "viewer"


class Account(Table, table=True):
    """An account. The password is an argon2 hash."""

    id: int | None = Field(default=None, primary_key=True)
    username: str = Field(unique=True)
    password_hash: str
    role: Role
    display_name: str = ""
    language: str = "zh"
    active: bool = True
    created_at: datetime = Field(sa_type=UtcDateTime)


class LoginSession(Table, table=True):
    """A log-in, revocable by deleting the row. The cookie's token is stored hashed."""

    token_hash: str = Field(primary_key=True)
    user_id: int = Field(foreign_key="account.id", index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
