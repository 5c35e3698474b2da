"""The ledger's tables on both databases."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import select

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.ledger import points
from pms_iot.telemetry.ledger.books import Books
from pms_iot.telemetry.ledger.days import first_heard, gateway_days, point_tallies, prune
from pms_iot.telemetry.ledger.outages import EnginePulse, between
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerOutage
from pms_iot.telemetry.wire import Header, WireMessage
from tests.register import register

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
S = 10**9


@pytest.fixture
def catalog(core: Engine) -> SeriesCatalog:
    return register(core, {"riverside": {"pump:PU-01": ["flow", "temp"]}})


def message(
    seq: int,
    series: Sequence[int],
    ages_s: Sequence[float],
    *,
    now: datetime = NOW,
    batches: int = 1,
) -> WireMessage:
    header = Header("gw-01", "9f3a1c2b", seq, len(series), 1, batches)
    at = to_ns(now) - (np.array(ages_s) * S).astype(np.int64)
    batch = Batch.of(series, at, np.ones(len(series)))
    return WireMessage("riverside", "gw-01", "data", header, batch, (), {"text": 1})


def accept(core: Engine, books: Books, told: WireMessage, now: datetime = NOW) -> None:
    with transaction(core) as session:
        books.accept(session, told, now, skipped=2, spoilt=False)
    books.committed()


def test_sums_add_up_and_ranges_widen(core: Engine, catalog: SeriesCatalog) -> None:
    flow, temp = catalog.of_asset("PU-01").values()
    books = Books(catalog)
    accept(core, books, message(7, [flow, temp, flow], [1, 1, 3600], batches=3))
    accept(core, books, message(8, [flow], [1]))
    with transaction(core) as session:
        books.repeat(session, message(2, [flow, flow], [1, 7200]), NOW)
    with transaction(core) as session:
        rows = session.exec(select(LedgerHour).order_by(LedgerHour.hour)).all()
        tallies = point_tallies(session, [flow, temp], "riverside", NOW - timedelta(1), NOW)
        heard = first_heard(session)
    two_ago, one_ago, now = rows
    assert (now.batches, now.samples, now.sent, now.skipped, now.text) == (4, 3, 4, 4, 2)
    assert (now.first_seq, now.last_seq) == (5, 8)
    assert (one_ago.samples, one_ago.late, one_ago.batches) == (1, 1, 0)
    assert (one_ago.first_seq, one_ago.last_seq) == (5, 7)
    assert (now.duplicate_batches, now.duplicate_samples, two_ago.duplicate_samples) == (1, 1, 1)
    assert two_ago.first_seq is None  # what comes again belongs to no range
    assert points.counts(one_ago.late_points) == {flow: 1}
    assert (tallies[flow].late, tallies[flow].duplicates, tallies[temp].late) == (1, 2, 0)
    assert heard == {flow: NOW - timedelta(hours=1), temp: NOW - timedelta(seconds=1)}


def test_a_transaction_that_fails_leaves_nothing_and_its_points_are_noted_by_the_repeat(
    core: Engine, catalog: SeriesCatalog
) -> None:
    flow, temp = catalog.of_asset("PU-01").values()
    books = Books(catalog)
    accept(core, books, message(1, [temp], [1]))
    with pytest.raises(ZeroDivisionError), transaction(core) as session:
        books.accept(session, message(2, [flow], [1]), NOW, skipped=0, spoilt=False)
        raise ZeroDivisionError
    with transaction(core) as session:
        assert first_heard(session).keys() == {temp}
        assert session.exec(select(LedgerHour)).one().batches == 1
    accept(core, books, message(2, [flow], [1]))
    with transaction(core) as session:
        assert first_heard(session).keys() == {flow, temp}


def test_a_point_is_known_since_its_earliest_sample_even_to_a_new_process(
    core: Engine, catalog: SeriesCatalog
) -> None:
    flow, _ = catalog.of_asset("PU-01").values()
    accept(core, Books(catalog), message(1, [flow, flow], [1, 500]))
    accept(core, Books(catalog), message(2, [flow], [0]))
    with transaction(core) as session:
        assert first_heard(session) == {flow: NOW - timedelta(seconds=500)}


def test_a_gateway_that_nobody_registered_is_shown_with_what_it_sent(
    core: Engine, catalog: SeriesCatalog
) -> None:
    flow, _ = catalog.of_asset("PU-01").values()
    accept(core, Books(catalog), message(1, [flow], [1]))
    with transaction(core) as session:
        start = NOW.replace(hour=0, minute=0)
        [day] = gateway_days(session, catalog, start, start + timedelta(days=1), NOW)
    assert (day.gateway, day.assets, day.expected, day.ratio) == ("gw-01", (), 0, None)
    assert (day.sums.values, day.sums.refused, day.hours[9].last_seq) == (1, 1, 1)


def test_old_hours_and_outages_are_pruned_but_none_that_goes_on(
    core: Engine, catalog: SeriesCatalog
) -> None:
    flow, _ = catalog.of_asset("PU-01").values()
    accept(core, Books(catalog), message(1, [flow], [1]))
    with transaction(core) as session:
        session.add(LedgerOutage(kind="gateway", name="gw-01", start=NOW, end=NOW))
        session.add(LedgerOutage(kind="gateway", name="gw-02", start=NOW))
    with transaction(core) as session:
        assert prune(session, NOW + timedelta(days=399)) == 0
        assert prune(session, NOW + timedelta(days=401)) == 1
        assert [row.name for row in session.exec(select(LedgerOutage))] == ["gw-02"]


def test_a_pulse_writes_an_outage_only_when_something_was_not_heard(core: Engine) -> None:
    pulse, start = EnginePulse(), NOW

    def beat(seconds: float, since: float | None, pulse: EnginePulse = pulse) -> None:
        with transaction(core) as session:
            hearing = None if since is None else start + timedelta(seconds=since)
            pulse.beat(session, start + timedelta(seconds=seconds), hearing, "broker")

    beat(0, -1)
    for second in range(1, 100):
        beat(second, -1)
    beat(100, None)
    beat(130, 125)
    beat(131, 125)
    beat(200, 199, EnginePulse())
    with transaction(core) as session:
        rows = between(session, "engine", "", "", NOW, NOW + timedelta(hours=1))
    spans = [((r.start - NOW).seconds, (r.end or NOW) - NOW, r.why) for r in rows]
    assert spans == [
        (90, timedelta(seconds=125), "broker"),
        (130, timedelta(seconds=199), "stopped"),
    ]
