"""One scrape, of a core store with what it may hold."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from sqlmodel import Session, select

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Asset, Gateway, Point, Site
from pms_iot.kernel.clock import ManualClock, to_ns
from pms_iot.kernel.db import open_engine, reading, transaction
from pms_iot.kernel.migrations import upgrade
from pms_iot.notify.tables import OutboxMessage
from pms_iot.operations.ledger_metrics import LedgerMetrics
from pms_iot.operations.metrics import EngineCollector, exposition
from pms_iot.operations.vitals import Vitals
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.disk import DiskStatus
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerPoint
from pms_iot.telemetry.meters import Distribution
from pms_iot.telemetry.tables import Watermark

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
WRITES = Distribution((0.1, 1.0), (3, 2, 1), 7.5)
VITALS = Vitals(
    alive=True, waiting=False, connected=True, busy_s=0.5, queued=2, oldest_wait_s=1.5,
    write_s=WRITES, write_samples=WRITES,
    newest_ns={("s", "gw"): to_ns(NOW) - 12 * 10**9, ("s", "made-up"): 0},
    disk=DiskStatus("low", 100, 1000, 50, 2.0),
)  # fmt: skip
Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Stats:
    """A store with a spool."""

    def stats(self) -> Mapping[str, float]:
        return {"spool_rows": 7.0, "wal_bytes": 9.0}


@pytest.fixture
def engine(core_url: str) -> Iterator[Engine]:
    engine = open_engine(core_url)
    upgrade(engine)
    yield engine
    engine.dispose()


def scraped(
    engine: Engine, counters: Counters | None = None, store: object = None, vitals: Vitals = VITALS
) -> Samples:
    ledger = LedgerMetrics(engine, SeriesCatalog(engine))
    collector = EngineCollector(
        engine, ManualClock(NOW), counters or Counters(), lambda: vitals, store, "embedded", ledger
    )
    families = list(text_string_to_metric_families(exposition(collector)().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each family once"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def gateway(session: Session, code: str, health: Any, seen: datetime | None = NOW) -> None:
    asset = Asset(code=code, site_id=1, kind="gateway", name_zh="g", name_en="g")
    session.add(asset)
    session.flush()
    session.add(Gateway(code=code, site_id=1, asset_id=asset.id or 0, state="online", last_seen_at=seen, health=health))  # fmt: skip


def a_site(session: Session) -> None:
    session.add(Site(id=1, code="s", name_zh="s", name_en="s"))
    session.flush()


def test_a_gateway_is_told_with_what_it_said(engine: Engine):
    now_ns = to_ns(NOW)
    spool = {"rows": 3, "bytes": 4096, "oldest_ns": now_ns - 9 * 10**9, "hours_left": 2}
    with transaction(engine) as session:
        a_site(session)
        gateway(session, "gw", {"at_ns": now_ns, "spool": spool})
    seen = scraped(engine)
    label = (("gateway", "gw"), ("site", "s"))
    assert seen["pms_gateway_spool_rows", label] == 3
    assert seen["pms_gateway_spool_oldest_age_seconds", label] == pytest.approx(9)
    assert seen["pms_gateway_spool_left_seconds", label] == 7200
    assert seen["pms_gateway_ingest_lag_seconds", label] == pytest.approx(12)
    assert seen["pms_gateway_last_seen_timestamp_seconds", label] == NOW.timestamp()


@pytest.mark.parametrize(
    "health",
    [None, {}, {"spool": None}, {"spool": []}, {"spool": {"rows": "3", "bytes": True, "hours_left": None, "oldest_ns": "x"}}],
)  # fmt: skip
def test_what_a_gateway_says_wrongly_is_left_out(engine: Engine, health: Any):
    with transaction(engine) as session:
        a_site(session)
        gateway(session, "gw", health, seen=None)
    seen = scraped(engine)
    names = {name for name, labels in seen if ("gateway", "gw") in labels}
    told = {name for name in names if "_ledger_" not in name}  # zeros, of a gateway that is silent
    assert told == {"pms_gateway_online", "pms_gateway_ingest_lag_seconds"}


def test_only_gateways_of_the_register_become_labels(engine: Engine):
    with transaction(engine) as session:
        a_site(session)
        for name in ("gw-a", "gw-b"):
            session.add(Watermark(site="s", gateway=name, lane="data", epoch="1", seq=5, updated_at=NOW))  # fmt: skip
        gateway(session, "gw-a", None)
    told = {value for _, labels in scraped(engine) for key, value in labels if key == "gateway"}
    assert told == {"gw-a"}


def test_a_lane_is_told_by_its_newest_epoch_and_counts_over_all(engine: Engine):
    with transaction(engine) as session:
        a_site(session)
        gateway(session, "gw", None)
        for epoch, seq, age in (("old", 900, 60), ("new", 4, 5)):
            session.add(Watermark(site="s", gateway="gw", lane="data", epoch=epoch, seq=seq, samples=10, batches=2, duplicates=1, skipped=3, updated_at=NOW - timedelta(seconds=age)))  # fmt: skip
    seen = scraped(engine)
    label = (("gateway", "gw"), ("lane", "data"), ("site", "s"))
    assert seen["pms_gateway_watermark_seq", label] == 4
    assert seen["pms_gateway_ack_lag_seconds", label] == 5
    totals = [seen[f"pms_gateway_{n}_total", label] for n in ("samples", "batches", "duplicates", "lost")]  # fmt: skip
    assert totals == [20, 4, 2, 6]


def test_messages_that_wait_and_those_given_up_are_told_apart(engine: Engine):
    with transaction(engine) as session:
        for key, more in (("a", {"next_try_at": NOW}), ("b", {"given_up_at": NOW}), ("c", {"sent_at": NOW}), ("d", {"next_try_at": NOW})):  # fmt: skip
            session.add(OutboxMessage(key=key, channel="c", event="e", created_at=NOW, **more))
    seen = scraped(engine)
    assert seen["pms_outbox_undelivered", (("state", "waiting"),)] == 2
    assert seen["pms_outbox_undelivered", (("state", "given_up"),)] == 1


def test_counters_are_told_known_or_not_and_from_zero_on(engine: Engine):
    counters = Counters()
    counters.add_all({"samples": 5, "refused_text": 2, "some-thing.new": 1})
    counters.add_all({"verdicts_false_alarm": 3, "alerts_held_by_budget": 4})
    seen = scraped(engine, counters)
    assert seen["pms_samples_total", ()] == 5
    assert seen["pms_messages_failed_total", ()] == 0
    assert seen["pms_some_thing_new_total", ()] == 1
    assert seen["pms_samples_refused_total", (("reason", "text"),)] == 2
    assert seen["pms_samples_refused_total", (("reason", "too_old"),)] == 0
    assert seen["pms_detector_verdicts_total", (("outcome", "false_alarm"),)] == 3
    assert seen["pms_detector_verdicts_total", (("outcome", "true_fault"),)] == 0
    assert seen["pms_alerts_held_by_budget_total", ()] == 4


def test_writes_are_a_histogram(engine: Engine):
    seen = scraped(engine)
    below = [seen["pms_store_write_seconds_bucket", (("le", le),)] for le in ("0.1", "1", "+Inf")]
    assert below == [3, 5, 6]
    assert seen["pms_store_write_seconds_count", ()] == 6
    assert seen["pms_store_write_seconds_sum", ()] == 7.5


def test_a_store_adds_figures_of_its_own(engine: Engine):
    assert scraped(engine)["pms_store_spool_rows", ()] == 0
    seen = scraped(engine, store=Stats())
    assert (seen["pms_store_spool_rows", ()], seen["pms_store_wal_bytes", ()]) == (7, 9)


def test_the_disk_is_in_one_state(engine: Engine):
    seen = scraped(engine)
    states = {labels[0][1]: value for (name, labels), value in seen.items() if name == "pms_disk_state"}  # fmt: skip
    assert states == {"ok": 0, "low": 1, "full": 0}
    assert seen["pms_disk_left_seconds", ()] == 7200


def test_without_the_core_store_the_rest_is_told(engine: Engine):
    with engine.begin() as connection:
        connection.execute(text("alter table watermark rename to away"))
    seen = scraped(engine)
    assert seen["pms_core_store_up", ()] == 0 and seen["pms_broker_connected", ()] == 1
    assert not [name for name, _ in seen if re.match("pms_(gateway|alerts_live|outbox)", name)]


def test_a_reader_neither_waits_for_a_writer_nor_holds_one_up(engine: Engine):
    count = text("select count(*) from site")
    with transaction(engine) as writer:
        a_site(writer)
        with reading(engine) as reader:
            assert reader.connection().execute(count).scalar() == 0, "not committed"
    with reading(engine) as reader:
        assert reader.connection().execute(count).scalar() == 1
        with transaction(engine) as writer:  # in SQLite a second BEGIN IMMEDIATE would wait 30 s
            writer.connection().execute(text("update site set code = 'other'"))


def test_the_ledger_of_the_last_24_hours_that_are_over(engine: Engine) -> None:
    """A point of 60 s that was heard for hours, with ten samples missing and two late in one of them."""
    hour = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    with transaction(engine) as session:
        a_site(session)
        gateway(session, "gw", None)
        lift = Asset(code="EL-1", site_id=1, kind="elevator", name_zh="g", name_en="g")
        lift.supply_id = session.exec(select(Gateway)).one().asset_id
        session.add(lift)
        session.flush()
        point = Point(asset_id=lift.id or 0, key="p", label_zh="p", label_en="p", period_s=60)
        session.add(point)
        session.flush()
        session.add(LedgerPoint(series=point.id or 0, first_at=hour))
        row = {"site": "s", "gateway": "gw", "lane": "data", "epoch": "9f3a1c2b"}
        session.add(LedgerHour(**row, hour=hour, samples=50, late=2))
        session.add(LedgerHour(**row, hour=hour + timedelta(hours=1), samples=70, missing=5))
    found = scraped(engine)
    key = (("gateway", "gw"), ("site", "s"))
    figures = {
        name.removeprefix("pms_gateway_ledger_"): value
        for (name, labels), value in found.items()
        if name.startswith("pms_gateway_ledger_") and labels == key
    }
    assert figures == {
        "expected": 118,  # what may have arrived: to 60 s and a period ago
        "values": 115,
        "missing": 5,
        "late": 2,
        "duplicate_samples": 0,
        "refused": 0,
        "completeness_ratio": (50 + 58) / 118,  # an hour's surplus makes up for nothing in another
    }
