"""Tables of verdicts on their way to the detectors, and of what the detectors made of them."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from pms_iot.kernel.db import Table, UtcDateTime


class Feedback(Table, table=True):
    """Somebody said something of one alarm. Rows are only added; the engine fills in what begins with `number`.

    kind: judged (with the outcome of its order), withdrawn (an outcome that no longer holds), accepted
    (the present level is normal). Whoever writes a row gives it no number: rows of other processes
    become visible in any order. The main path numbers them in the order in which it takes them.
    """

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    series: int = Field(foreign_key="point.id")  # the computed point whose alarm it was
    alert_id: int = Field(foreign_key="alert.id", index=True)
    outcome: str = ""  # see workorders/order.py; empty when accepted
    actor: str
    at: datetime = Field(sa_type=UtcDateTime)
    number: int | None = Field(default=None, unique=True)
    after_ns: int | None = Field(default=None, sa_type=BigInteger)  # it holds for later samples
    heard: bool = False  # the detectors have taken it into account
    limit_before: float | None = None  # of the detector, when it heard of it
    limit_after: float | None = None


class DetectorLimit(Table, table=True):
    """The limit of a score and its target of false alarms a month, as the engine last noted them."""

    series: int = Field(foreign_key="point.id", primary_key=True)
    limit: float
    target: float
    at: datetime = Field(sa_type=UtcDateTime)
