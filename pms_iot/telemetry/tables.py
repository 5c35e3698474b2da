"""Tables of the telemetry path: what has been committed, what could not be understood."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class Watermark(Table, table=True):
    """Per gateway, epoch and lane: everything up to and including `seq` is committed."""

    site: str = Field(primary_key=True)
    gateway: str = Field(primary_key=True)
    lane: str = Field(primary_key=True)  # data | event
    epoch: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    batches: int = Field(default=0, sa_type=BigInteger)
    samples: int = Field(default=0, sa_type=BigInteger)
    duplicates: int = Field(default=0, sa_type=BigInteger)  # batches that had come before
    skipped: int = Field(default=0, sa_type=BigInteger)  # batches that the gateway had to evict
    updated_at: datetime = Field(sa_type=UtcDateTime)


class TelemetryGap(Table, table=True):
    """Batches that a gateway lost and told of; what is unknown of their extent is null."""

    __table_args__ = (UniqueConstraint("site", "gateway", "lane", "epoch", "cause", "start"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str
    gateway: str
    lane: str
    epoch: str
    cause: str  # evicted | disk_full | corrupt
    start: int = Field(sa_type=BigInteger)  # first batch lost; without a number, the one that told
    last: int | None = Field(default=None, sa_type=BigInteger)
    samples: int | None = Field(default=None, sa_type=BigInteger)
    first_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    noted_at: datetime = Field(sa_type=UtcDateTime)


class QuarantinedMessage(Table, table=True):
    """A message that could not be understood, kept with its reason, never retried."""

    id: int | None = Field(default=None, primary_key=True)
    received_at: datetime = Field(sa_type=UtcDateTime, index=True)
    topic: str
    reason: str
    detail: str
    payload: bytes


class UnknownPoint(Table, table=True):
    """A field that arrives but is not in the register: counted, and shown to whoever can adopt it."""

    __table_args__ = (UniqueConstraint("site", "asset", "field"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str
    asset: str
    field: str
    count: int = Field(default=0, sa_type=BigInteger)
    last_value: float | None = None
    evicted: int = Field(default=0, sa_type=BigInteger)  # samples parked once and given up
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class CounterTotal(Table, table=True):
    """How far a counter has run over roll-overs and replacements, and where its count stands.

    total: begins at the reading with which the count began, so it is what a counter that was never
    replaced and never rolled over shows. read_to_ns: every sample before it is counted.
    """

    series: int = Field(primary_key=True, foreign_key="point.id")
    total: float
    began_ns: int = Field(sa_type=BigInteger)
    read_to_ns: int = Field(sa_type=BigInteger)
    last_ns: int = Field(sa_type=BigInteger)
    last_value: float
    open_ns: int | None = Field(default=None, sa_type=BigInteger)
    open_value: float | None = None
    fell_ns: int | None = Field(default=None, sa_type=BigInteger)
    fell_value: float | None = None
    rollovers: int = 0
    resets: int = 0
    jumps: int = 0
    glitches: int = 0
    updated_at: datetime = Field(sa_type=UtcDateTime)


class CounterReplacement(Table, table=True):
    """A counter, or the controller that keeps it, was replaced: what the old and the new one showed."""

    __table_args__ = (UniqueConstraint("series", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    series: int = Field(foreign_key="point.id")
    at: datetime = Field(sa_type=UtcDateTime)
    old_reading: float
    new_reading: float
    note: str = ""
    noted_by: str
    noted_at: datetime = Field(sa_type=UtcDateTime)


class ParkedSamples(Table, table=True):
    """Samples of an unknown field that wait for its adoption; see `telemetry.parked`."""

    __table_args__ = (Index("parked_samples_field", "site", "asset", "field"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str
    asset: str
    field: str
    samples: int = 0
    size: int = Field(index=True)  # bytes, for the cap
    records: bytes = b""
