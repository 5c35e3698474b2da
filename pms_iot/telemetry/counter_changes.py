"""Recording that a counter was replaced, also after its total has been counted past that."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from pms_iot.assets.points import CounterDef
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import insert_new
from pms_iot.kernel.errors import NotFoundError, PmsError
from pms_iot.telemetry.counter_points import (
    CounterState,
    Replacement,
    advance,
)
from pms_iot.telemetry.counter_totals import replacements_of, rows_of
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.tables import CounterReplacement

AROUND_NS = 2 * 86_400 * 10**9  # the readings before and after are looked for this far away


class ReplacementRefusedError(PmsError):
    """`reason` is twice | no_readings: another at that instant, or no samples left on either side of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def replacements(session: Session, series: int) -> Sequence[CounterReplacement]:
    """What was recorded of a counter, in order of time."""
    query = select(CounterReplacement).where(CounterReplacement.series == series)
    return session.exec(query.order_by(col(CounterReplacement.at))).all()


def record(
    session: Session, store: SampleStore, counter: CounterDef, change: CounterReplacement
) -> int:
    """Stores the replacement and puts the running total right; returns its id.

    Raises ReplacementRefusedError.
    """
    number = insert_new(session, change)
    if number is None:
        raise ReplacementRefusedError("twice")
    _correct(session, store, counter, change, sign=1)
    return number


def withdraw(
    session: Session, store: SampleStore, counter: CounterDef, series: int, number: int
) -> None:
    """Takes a recorded replacement back. Raises NotFoundError and ReplacementRefusedError."""
    change = session.get(CounterReplacement, number)
    if change is None or change.series != series:
        raise NotFoundError("replacement", number)
    _correct(session, store, counter, change, sign=-1)
    session.delete(change)


def _correct(
    session: Session,
    store: SampleStore,
    counter: CounterDef,
    change: CounterReplacement,
    *,
    sign: int,
) -> None:
    """Adds what the replacement makes of the step around it, if that has been counted already."""
    row = rows_of(session, [change.series], lock=True).get(change.series)
    at_ns = to_ns(change.at)
    if row is None or not row.began_ns < at_ns <= row.last_ns:
        return  # it is minded when the count comes to it, or was before the count began
    known = replacements_of(session, [change.series])[change.series]
    others = [it for it in known if it.at != at_ns]
    batch = store.read(change.series, at_ns - AROUND_NS, min(at_ns + AROUND_NS, row.read_to_ns))
    now, without = (
        advance(CounterState(), batch, counter, changes)[1]
        for changes in ([*others, _of(change)], others)
    )
    if not (now.at < at_ns).any() or not (now.at >= at_ns).any():
        raise ReplacementRefusedError("no_readings")
    row.total += sign * (now.total - without.total)
    row.updated_at = max(row.updated_at, change.noted_at)
    session.add(row)


def _of(change: CounterReplacement) -> Replacement:
    return Replacement(to_ns(change.at), change.old_reading, change.new_reading)
