"""Tables of the register of equipment."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class Site(Table, table=True):
    """A place: one property."""

    id: int | None = Field(default=None, primary_key=True)
    code: str = Field(unique=True)
    name_zh: str
    name_en: str
    timezone: str = "Asia/Shanghai"
    address: str = ""


class Asset(Table, table=True):
    """A piece of equipment, with what must be known of it over its life."""

    id: int | None = Field(default=None, primary_key=True)
    code: str = Field(unique=True)
    site_id: int = Field(foreign_key="site.id", index=True)
    parent_id: int | None = Field(default=None, foreign_key="asset.id")  # site > building > system
    supply_id: int | None = Field(
        default=None, foreign_key="asset.id"
    )  # what it hangs on: a gateway
    kind: str = Field(index=True)
    name_zh: str
    name_en: str
    location_zh: str = ""
    location_en: str = ""
    model: str = ""
    maker: str = ""
    serial: str = ""
    purchased_on: date | None = None
    installed_on: date | None = None
    warranty_until: date | None = None
    registration_no: str = ""  # statutory registration, e.g. of a lift as special equipment
    registered_on: date | None = None
    inspected_on: date | None = None
    inspection_due_on: date | None = None
    in_service: bool = True
    retired_on: date | None = None


class Document(Table, table=True):
    """A manual, certificate or report that belongs to an asset."""

    id: int | None = Field(default=None, primary_key=True)
    asset_id: int = Field(foreign_key="asset.id", index=True)
    title: str
    category: str = "manual"  # manual | certificate | inspection_report | warranty | drawing
    media_type: str
    sha256: str
    content: bytes
    added_at: datetime = Field(sa_type=UtcDateTime)


class Point(Table, table=True):
    """One measured or computed quantity of an asset. Its id is the series number everywhere."""

    __table_args__ = (UniqueConstraint("asset_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    asset_id: int = Field(foreign_key="asset.id", index=True)
    key: str
    type: str = "number"  # number | bool | enum | counter
    unit: str = ""
    label_zh: str
    label_en: str
    low: float | None = None  # physical limits
    high: float | None = None
    period_s: float | None = None
    derived: bool = False  # a detector's score or band
    values: dict[str, Any] | None = Field(default=None, sa_type=JSON)  # enum: code -> {zh, en}


class Gateway(Table, table=True):
    """An edge agent and what it last said of itself. It is also an asset of kind `gateway`."""

    id: int | None = Field(default=None, primary_key=True)
    code: str
    site_id: int = Field(foreign_key="site.id")
    asset_id: int = Field(foreign_key="asset.id", unique=True)
    state: str = "unknown"  # unknown | online | offline
    last_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    birth: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    health: dict[str, Any] | None = Field(default=None, sa_type=JSON)

    __table_args__ = (UniqueConstraint("site_id", "code"),)


class Adoption(Table, table=True):
    """That somebody took a field which arrived unasked into the register."""

    id: int | None = Field(default=None, primary_key=True)
    asset_id: int = Field(foreign_key="asset.id", index=True)
    field: str
    made_asset: bool = False
    who: str
    at: datetime = Field(sa_type=UtcDateTime)
