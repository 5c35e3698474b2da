"""Tables of the ledger: sums of each hour, since when a point is known, who was away when."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class LedgerHour(Table, table=True):
    """What a stream brought in one UTC hour.

    What has a time of its own stands in the hour of the sample: samples, missing, late,
    duplicate_samples. What is about messages stands in the hour of their arrival: all the rest.
    `late_points` and `duplicate_points` are `points.Tally` bytes, null while there is nothing to say.
    """

    site: str = Field(primary_key=True)
    gateway: str = Field(primary_key=True)
    lane: str = Field(primary_key=True)  # data | event | plain (without a header: at least once)
    epoch: str = Field(primary_key=True)  # empty for plain
    hour: datetime = Field(primary_key=True, sa_type=UtcDateTime, index=True)
    first_seq: int | None = Field(default=None, sa_type=BigInteger)  # lowest batch counted here
    last_seq: int | None = Field(default=None, sa_type=BigInteger)
    samples: int = Field(default=0, sa_type=BigInteger)  # taken into the store
    missing: int = Field(default=0, sa_type=BigInteger)  # of them, those that say "no value"
    late: int = Field(default=0, sa_type=BigInteger)
    duplicate_samples: int = Field(default=0, sa_type=BigInteger)
    batches: int = Field(default=0, sa_type=BigInteger)
    sent: int = Field(default=0, sa_type=BigInteger)  # samples that the headers promise
    duplicate_batches: int = Field(default=0, sa_type=BigInteger)
    skipped: int = Field(default=0, sa_type=BigInteger)  # batches that the gateway no longer has
    spoilt: int = Field(default=0, sa_type=BigInteger)  # batches that could not be understood
    unknown: int = Field(default=0, sa_type=BigInteger)  # samples of points not in the register
    too_old: int = Field(default=0, sa_type=BigInteger)  # refused samples, by reason
    in_future: int = Field(default=0, sa_type=BigInteger)
    text: int = Field(default=0, sa_type=BigInteger)
    late_points: bytes | None = Field(default=None, sa_type=LargeBinary)
    duplicate_points: bytes | None = Field(default=None, sa_type=LargeBinary)


class LedgerPoint(Table, table=True):
    """A point that has spoken; nothing is expected of one that never did."""

    series: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    first_at: datetime = Field(sa_type=UtcDateTime)


class LedgerOutage(Table, table=True):
    """Somebody was away from `start` to `end`; while it lasts, `end` is null."""

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # engine | gateway | device
    site: str = ""  # empty for the engine
    name: str = Field(default="", index=True)  # gateway, or asset of the device
    start: datetime = Field(sa_type=UtcDateTime)
    end: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    # engine: stopped | broker | store; gateway: offline | silent | restarted; device: what it said
    why: str = ""


class LedgerPulse(Table, table=True):
    """When the engine last heard the gateways; one row."""

    name: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
