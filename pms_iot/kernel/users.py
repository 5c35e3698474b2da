"""People who log in."""

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from pms_iot.kernel.db import UtcDateTime


class Role(StrEnum):
    """What a person may do: a manager everything, a technician the work orders, a viewer looks."""

    MANAGER = "manager"
    TECHNICIAN = "technician"
    VIEWER = "viewer"


class User(SQLModel, table=True):
    """An account. The password is an argon2 hash."""

    __tablename__ = "user_account"

    id: int | None = Field(default=None, primary_key=True)
    username: str = Field(unique=True)
    password_hash: str
    role: Role
    display_name: str = ""
    language: str = "zh"
    active: bool = True
    created_at: datetime = Field(sa_type=UtcDateTime)


class LoginSession(SQLModel, table=True):
    """A log-in, revocable by deleting the row. The cookie's token is stored hashed."""

    __tablename__ = "login_session"

    token_hash: str = Field(primary_key=True)
    user_id: int = Field(foreign_key="user_account.id", index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
