"""The running totals of counters, for plans that fall due by use.

Raw samples are kept for weeks, a plan may count for years: so the total and the place up to which
it is counted are a row, moved on together in one transaction. A sample is counted for good once it
is SETTLE_S old, so that those that come a little late are counted in their order; newer ones are
counted on top at each look. What comes later still changes nothing unless it hides a restart: the
increase between two readings does not depend on those between them.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Engine, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from pms_iot.assets.points import CounterDef
from pms_iot.assets.series import SeriesSource
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.db import reading, transaction
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.counter_points import (
    HOUR_NS,
    JUMP,
    RESET,
    ROLLOVER,
    CounterState,
    Reading,
    Replacement,
    Steps,
    advance,
)
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.tables import CounterReplacement, CounterTotal

SETTLE_S = 900.0
LOOK_EVERY_NS = 60 * 10**9
SETTLE_EVERY_NS = 600 * 10**9  # rows are written no oftener
_READ_NS = 6 * HOUR_NS  # read at once when much has to be caught up with
_IDS = 500  # of one statement


class CounterTotals:
    """Totals of the counters of `defs`, by (kind, point); safe to share between threads."""

    def __init__(
        self,
        engine: Engine,
        store: SampleStore,
        catalog: SeriesSource,
        defs: Mapping[tuple[str, str], CounterDef],
    ) -> None:
        self._engine, self._store, self._catalog, self._all = engine, store, catalog, defs
        self._lock = threading.Lock()
        self._generation = -1
        self._defs: dict[int, CounterDef] = {}
        self._totals: dict[int, float] = {}
        self._looked_ns: int | None = None

    def covers(self, series: int) -> bool:
        """Whether the total of this series is kept here."""
        return series in self._defs

    def total(self, series: int) -> float | None:
        """As of the last look; None without a good reading so far."""
        return self._totals.get(series)

    def look(self, now_ns: int) -> None:
        """Counts what is new, at most once a minute. Raises StoreUnavailableError."""
        with self._lock:
            self._know_series()
            if self._looked_ns is not None and 0 <= now_ns - self._looked_ns < LOOK_EVERY_NS:
                return
            with reading(self._engine) as session:
                rows = rows_of(session, list(self._defs))
                replaced = replacements_of(session, list(self._defs))
            begun = self._begin([number for number in self._defs if number not in rows], now_ns)
            counts = [_count(row) for row in (rows | begun).values()]
            for group in _alike(counts):
                self._count_on(group, replaced, now_ns)
            self._looked_ns = now_ns

    def _know_series(self) -> None:
        if self._generation != self._catalog.generation:
            self._generation = self._catalog.generation
            self._defs = {
                info.id: self._all[info.kind, info.point]
                for info in self._catalog.all()
                if (info.kind, info.point) in self._all
            }

    def _begin(self, series: Sequence[int], now_ns: int) -> dict[int, CounterTotal]:
        """The count of a counter that is new here begins at its newest reading."""
        newest = self._store.latest(series) if series else Batch.empty()
        good = newest.take((newest.quality == GOOD) & (newest.value >= 0))
        columns = good.series.tolist(), good.at.tolist(), good.value.tolist()
        rows = [
            CounterTotal(
                series=number,
                total=value,
                began_ns=at,
                read_to_ns=at + 1,
                last_ns=at,
                last_value=value,
                updated_at=from_ns(now_ns),
            )
            for number, at, value in zip(*columns, strict=True)
        ]
        if rows:
            with transaction(self._engine) as session:
                _insert_new(session, rows)
        return {row.series: row for row in rows}

    def _count_on(
        self, counts: list["_Count"], replaced: Mapping[int, list[Replacement]], now_ns: int
    ) -> None:
        """Settles what is old enough, then adds what is newer for this look alone."""
        start = min(count.read_to_ns for count in counts)
        settled_ns = now_ns - int(SETTLE_S * 1e9)
        if settled_ns - start >= SETTLE_EVERY_NS:
            while start < settled_ns:
                stop = min(start + _READ_NS, settled_ns)
                counts = self._advanced(counts, replaced, start, stop)
                start = stop
            with transaction(self._engine) as session:
                _save(session, counts, from_ns(now_ns))
        for count in self._advanced(counts, replaced, start, now_ns + 1):
            self._totals[count.series] = count.total

    def _advanced(
        self,
        counts: list["_Count"],
        replaced: Mapping[int, list[Replacement]],
        start_ns: int,
        stop_ns: int,
    ) -> list["_Count"]:
        if start_ns >= stop_ns:
            return counts
        batch = self._store.read_many([count.series for count in counts], start_ns, stop_ns)
        own = dict(_by_series(batch))
        none = Batch.empty()
        return [
            count.advanced(
                own.get(count.series, none),
                self._defs[count.series],
                replaced.get(count.series, ()),
                stop_ns,
            )
            for count in counts
        ]


@dataclass(frozen=True, slots=True)
class _Count:
    """A row while it is counted on; `was_read_to_ns` is where the row stands in the database."""

    series: int
    total: float
    state: CounterState
    read_to_ns: int
    was_read_to_ns: int
    seen: tuple[int, int, int, int]  # rollovers, resets, jumps, glitches

    def advanced(
        self, batch: Batch, counter: CounterDef, replaced: Sequence[Replacement], stop_ns: int
    ) -> "_Count":
        state, steps = advance(self.state, batch, counter, replaced)
        seen = tuple(a + b for a, b in zip(self.seen, _seen(steps), strict=True))
        assert len(seen) == 4
        return _Count(
            self.series,
            self.total + steps.total,
            state,
            max(stop_ns, self.read_to_ns),
            self.was_read_to_ns,
            seen,
        )


def _seen(steps: Steps) -> tuple[int, int, int, int]:
    return (
        steps.count(ROLLOVER),
        steps.count(RESET),
        steps.count(JUMP),
        len(steps.glitches),
    )


def _count(row: CounterTotal) -> _Count:
    state = CounterState(
        Reading(row.last_ns, row.last_value),
        _reading(row.open_ns, row.open_value),
        _reading(row.fell_ns, row.fell_value),
    )
    seen = row.rollovers, row.resets, row.jumps, row.glitches
    return _Count(row.series, row.total, state, row.read_to_ns, row.read_to_ns, seen)


def _reading(at: int | None, value: float | None) -> Reading | None:
    return None if at is None or value is None else Reading(at, value)


def _insert_new(session: Session, rows: Sequence[CounterTotal]) -> None:
    """All in one statement; rows that another process has begun meanwhile stay as they are."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(CounterTotal).on_conflict_do_nothing()
    session.connection().execute(insert, [row.model_dump() for row in rows])


def _save(session: Session, counts: Sequence[_Count], now: datetime) -> None:
    """Moves the rows on; one that another process has moved meanwhile is left as it is."""
    table = CounterTotal
    statement = (
        update(CounterTotal)
        .where(
            col(table.series) == bindparam("of"),
            col(table.read_to_ns) == bindparam("was_read_to_ns"),
        )
        .execution_options(synchronize_session=False)
    )
    # In order, so that two engines which move them never wait for each other.
    ordered = sorted(counts, key=lambda count: count.series)
    session.connection().execute(statement, [_moved(count, now) for count in ordered])


def _moved(count: _Count, now: datetime) -> dict[str, object]:
    last = count.state.last
    assert last is not None
    open_ns, open_value = _columns(count.state.open)
    fell_ns, fell_value = _columns(count.state.fell)
    rollovers, resets, jumps, glitches = count.seen
    return {
        "of": count.series,
        "was_read_to_ns": count.was_read_to_ns,
        "total": count.total,
        "read_to_ns": count.read_to_ns,
        "updated_at": now,
        "last_ns": last.at,
        "last_value": last.value,
        "open_ns": open_ns,
        "open_value": open_value,
        "fell_ns": fell_ns,
        "fell_value": fell_value,
        "rollovers": rollovers,
        "resets": resets,
        "jumps": jumps,
        "glitches": glitches,
    }


def _columns(reading: Reading | None) -> tuple[int | None, float | None]:
    return (None, None) if reading is None else (reading.at, reading.value)


def _alike(counts: Sequence[_Count]) -> Iterator[list[_Count]]:
    """Counters that are counted up to the same hour, so that one that is silent does not hold up the rest."""
    by_hour: dict[int, list[_Count]] = {}
    for count in counts:
        by_hour.setdefault(count.read_to_ns // HOUR_NS, []).append(count)
    yield from by_hour.values()


def _by_series(batch: Batch) -> Iterator[tuple[int, Batch]]:
    ordered = batch.take(np.argsort(batch.series, kind="stable"))
    numbers, first = np.unique(ordered.series, return_index=True)
    edges = [*first.tolist(), len(ordered)]
    for i, number in enumerate(numbers.tolist()):
        yield number, ordered.take(np.arange(edges[i], edges[i + 1]))


def rows_of(
    session: Session, series: Sequence[int], *, lock: bool = False
) -> dict[int, CounterTotal]:
    """The rows of these series, by series."""
    found: dict[int, CounterTotal] = {}
    for start in range(0, len(series), _IDS):
        ids = col(CounterTotal.series).in_(series[start : start + _IDS])
        # In order, so that two engines which lock them never wait for each other.
        query = select(CounterTotal).where(ids).order_by(col(CounterTotal.series))  # fmt: skip
        if lock:
            query = query.with_for_update()
        found |= {row.series: row for row in session.exec(query)}
    return found


def replacements_of(session: Session, series: Sequence[int]) -> dict[int, list[Replacement]]:
    """The recorded replacements of these series, by series, in order of time."""
    found: dict[int, list[Replacement]] = {}
    for start in range(0, len(series), _IDS):
        query = (
            select(CounterReplacement)
            .where(col(CounterReplacement.series).in_(series[start : start + _IDS]))
            .order_by(col(CounterReplacement.at))
        )
        for row in session.exec(query):
            found.setdefault(row.series, []).append(_replacement(row))
    return found


def _replacement(row: CounterReplacement) -> Replacement:
    return Replacement(to_ns(row.at), row.old_reading, row.new_reading)
