"""Writes down what each message brought, in the transaction that commits it: a repeat counts nothing twice."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import case, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from pms_iot.assets.series import SeriesSource
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.telemetry.batch import BAD, Batch
from pms_iot.telemetry.ledger import points
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerPoint
from pms_iot.telemetry.wire import WireMessage

HOUR_NS = 3600 * 10**9
LATE_NS = 60 * 10**9  # beyond a point's own period
COUNTS = [
    "samples",
    "missing",
    "late",
    "duplicate_samples",
    "batches",
    "sent",
    "duplicate_batches",
    "skipped",
    "spoilt",
    "unknown",
    "too_old",
    "in_future",
    "text",
]
_ROWS_PER_INSERT = 1000

Row = dict[str, Any]


def late_after_ns(period_s: float | None) -> int:
    """How long after its time a sample of this period is still on time."""
    return LATE_NS + int((period_s or 0.0) * 1e9)


class Books:
    """The ledger's writing side; one for each pipeline, used while its lock is held or by its one thread."""

    def __init__(self, catalog: SeriesSource) -> None:
        self._catalog = catalog
        self._generation = -1
        self._limit_ns = np.zeros(0, np.int64)  # by series: older than this on arrival is late
        self._known: NDArray[np.bool_] | None = None  # by series: has a LedgerPoint
        self._new: list[int] = []

    def begin(self) -> None:
        """A transaction begins; what an earlier one noted and did not commit is forgotten."""
        self._new = []

    def accept(
        self, session: Session, message: WireMessage, now: datetime, *, skipped: int, spoilt: bool
    ) -> int:
        """Counts a message that is committed in this transaction; returns how many samples are late.

        `skipped`: batches lost before it.
        """
        header, batch, now_ns = message.header, message.batch, to_ns(now)
        late = now_ns - batch.at > self._limits()[batch.series]
        rows = _by_hour(batch, late, now_ns)
        rows[now_ns // HOUR_NS] |= {
            "batches": header.batches if header else 1,
            "sent": header.n if header else len(batch),
            "skipped": skipped,
            "spoilt": int(spoilt),
            "unknown": sum(item.count for item in message.unknown),
            **{reason: n for reason, n in message.refused.items() if reason in COUNTS},
        }
        _add(session, message, rows, counted=True)
        if late.any():
            _tally(session, message, "late_points", batch.take(late))
        self.meet(session, batch)
        return int(np.count_nonzero(late))

    def repeat(self, session: Session, message: WireMessage, now: datetime) -> None:
        """Counts a message that had come before; nothing of it is used."""
        now_ns, batch = to_ns(now), message.batch
        rows: dict[int, Row] = {now_ns // HOUR_NS: {"duplicate_batches": 1}}
        for hour, number in _hours(batch.at):
            rows.setdefault(hour, {})["duplicate_samples"] = number
        _add(session, message, rows, counted=False)
        _tally(session, message, "duplicate_points", batch)

    def meet(self, session: Session, batch: Batch) -> None:
        """Notes the points that speak for the first time; call `committed` when that is on record."""
        known = self._known_points(session)
        if not len(batch) or known[batch.series].all():
            return
        fresh = batch.take(~known[batch.series])
        firsts = _firsts(fresh)
        insert = _dialect(session).insert(LedgerPoint)
        chosen = insert.on_conflict_do_update(
            index_elements=["series"],
            set_={"first_at": _least(LedgerPoint.first_at, insert.excluded.first_at)},
        )
        rows = [{"series": series, "first_at": from_ns(at)} for series, at in firsts]
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            session.connection().execute(chosen, rows[start : start + _ROWS_PER_INSERT])
        self._new += [series for series, _ in firsts]

    def committed(self) -> None:
        """What `meet` noted since `begin` is on record; it is not written again."""
        if self._known is not None:
            self._known[self._new] = True
        self._new = []

    def _limits(self) -> NDArray[np.int64]:
        if self._generation != self._catalog.generation:
            self._generation = self._catalog.generation
            infos = list(self._catalog.all())
            self._limit_ns = np.full(_size(infos), LATE_NS, np.int64)
            for info in infos:
                self._limit_ns[info.id] = late_after_ns(info.period_s)
        return self._limit_ns

    def _known_points(self, session: Session) -> NDArray[np.bool_]:
        size = len(self._limits())
        if self._known is None or len(self._known) < size:
            self._known = np.zeros(size, np.bool_)
            found = [n for n in session.exec(select(LedgerPoint.series)) if n < size]
            self._known[found] = True
        return self._known


def _size(infos: Sequence[Any]) -> int:
    return max((info.id for info in infos), default=-1) + 1


def _firsts(batch: Batch) -> list[tuple[int, int]]:
    """(series, its earliest sample)."""
    order = np.lexsort((batch.at, batch.series))
    series, place = np.unique(batch.series[order], return_index=True)
    return list(zip(series.tolist(), batch.at[order][place].tolist(), strict=True))


def _hours(at: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(hour since 1970, how many of the instants lie in it)."""
    if not len(at):
        return []
    first, last = int(at.min()) // HOUR_NS, int(at.max()) // HOUR_NS
    if first == last:  # nearly always; saves a sort
        return [(first, len(at))]
    hours, counts = np.unique(at // HOUR_NS, return_counts=True)
    return list(zip(hours.tolist(), counts.tolist(), strict=True))


def _by_hour(batch: Batch, late: NDArray[np.bool_], now_ns: int) -> dict[int, Row]:
    """Hour -> its counts of samples, with the present hour even if it has none."""
    missing = (batch.quality == BAD) | np.isnan(batch.value)
    rows: dict[int, Row] = {now_ns // HOUR_NS: {}}
    for name, at in (
        ("samples", batch.at),
        ("missing", batch.at[missing]),
        ("late", batch.at[late]),
    ):
        for hour, number in _hours(at):
            rows.setdefault(hour, {})[name] = number
    return rows


def _key(message: WireMessage) -> Row:
    header = message.header
    return {
        "site": message.site,
        "gateway": message.gateway,
        "lane": message.lane if header else "plain",
        "epoch": header.epoch if header else "",
    }


def _add(session: Session, message: WireMessage, rows: Mapping[int, Row], *, counted: bool) -> None:
    """Adds the counts to their hours. `counted`: the batch's number belongs to their ranges."""
    header = message.header if counted else None
    common = _key(message) | dict.fromkeys(COUNTS, 0)
    common |= {"first_seq": header and header.first, "last_seq": header and header.seq}
    values = [common | row | {"hour": from_ns(hour * HOUR_NS)} for hour, row in rows.items()]
    session.flush()
    session.connection().execute(_upsert(session.get_bind().dialect.name), values)


def _tally(session: Session, message: WireMessage, column: str, batch: Batch) -> None:
    """Adds the samples to the tally of their points, in each of their hours; seldom any."""
    hours = [hour for hour, _ in _hours(batch.at)]
    for hour in hours:
        here = batch.series[batch.at // HOUR_NS == hour] if len(hours) > 1 else batch.series
        where = [getattr(LedgerHour, name) == value for name, value in _key(message).items()]
        where.append(col(LedgerHour.hour) == from_ns(hour * HOUR_NS))
        tally = getattr(LedgerHour, column)
        connection = session.connection()  # the row is ours: this transaction has just written it
        before = connection.execute(select(tally).where(*where)).scalar_one()
        new = {column: points.added(before, here)}
        connection.execute(update(LedgerHour).where(*where).values(new))


@cache
def _upsert(dialect: str) -> Any:
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(LedgerHour)
    new = insert.excluded
    sums = {name: getattr(LedgerHour, name) + new[name] for name in COUNTS}
    return insert.on_conflict_do_update(
        index_elements=["site", "gateway", "lane", "epoch", "hour"],
        set_={
            **sums,
            "first_seq": _least(LedgerHour.first_seq, new.first_seq),
            "last_seq": -_least(-col(LedgerHour.last_seq), -new.last_seq),
        },
    )


def _least(known: Any, new: Any) -> Any:
    """The lesser of the two where both are given, else the one that is."""
    return case((new < known, new), else_=func.coalesce(known, new))


def _dialect(session: Session) -> Any:
    return sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
