"""Outcomes of orders reach the detectors, and a budget holds alarms of statistics: on the main path."""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from sqlmodel import col, select

from pms_iot import recovery
from pms_iot.alerts import service as alerts
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.detection.spec import SCORES
from pms_iot.feedback.caps import Caps
from pms_iot.feedback.service import Limit
from pms_iot.feedback.tables import DetectorLimit, Feedback
from pms_iot.kernel.db import transaction
from pms_iot.pipeline import Pipeline
from pms_iot.rulepacks import RulePack
from pms_iot.telemetry.batch import Batch
from pms_iot.workorders import service as workorders
from pms_iot.workorders.tables import Technician
from tests.pipeline.rig import RULES, T0, Read, Rig, ns, prepare

MAKER = next(name for name, made in SCORES.items() if any(s.suffix == "anomaly" for s in made))
STATISTICS = f"  - {{detector: {MAKER}, points: [temp], warmup: 3650d}}\n"
UNUSUAL = """
  unusual:
    label: {zh: 异常, en: Unusual}
    point: temp.anomaly
    above: 6
    severity: P4
    cause: *cause
    consequence: *consequence
    response: *response
"""
DAY = 86_400.0
Spell = tuple[str, float]  # asset, days after T0


class Limited:
    """A detector that finds heat unusual: a tenth of the temperature is the score, and verdicts move its limit.

    All that it was told is part of its snapshot, as a detector's own state would be.
    """

    def __init__(self, _packs: Mapping[str, RulePack], catalog: SeriesCatalog) -> None:
        self.config_hash = "heat"
        self._score = {
            catalog.of_asset(info.asset)["temp"]: info.id
            for info in catalog.all()
            if info.point == "temp.anomaly"
        }
        self.level = dict.fromkeys(self._score.values(), 8.0)
        self.heard: list[list[object]] = []

    def update(self, batch: Batch) -> Batch:
        mine = batch.take(np.isin(batch.series, list(self._score)))
        return Batch.of([self._score[s] for s in mine.series.tolist()], mine.at, mine.value / 10)

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        self._hear(series, outcome, at_ns, 1.25 if outcome == "false_alarm" else 1.0)

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        self._hear(series, f"not {outcome}", at_ns, 0.8 if outcome == "false_alarm" else 1.0)

    def accept(self, series: int, at_ns: int) -> None:
        self._hear(series, "accepted", at_ns, 1.0)

    def _hear(self, series: int, what: str, at_ns: int, factor: float) -> None:
        self.heard.append([series, what, at_ns])
        self.level[series] *= factor

    def limits(self) -> Mapping[int, Limit]:
        return {series: Limit(level, 1.0) for series, level in self.level.items()}

    def snapshot(self) -> bytes:
        return orjson.dumps([list(self.level.items()), self.heard])

    def restore(self, state: bytes) -> None:
        level, self.heard = orjson.loads(state)
        self.level = dict(level)

    def parts(self) -> Iterator[tuple[str, bytes]]:
        yield "limited", self.snapshot()

    def restore_part(self, name: str, state: bytes) -> None:
        assert name == "limited"
        self.restore(state)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pack with a score and a rule on it."""
    folder = tmp_path_factory.mktemp("statistics") / "rules"
    shutil.copytree(RULES, folder)
    for name, more in (("detectors.yaml", STATISTICS), ("alerts.yaml", UNUSUAL)):
        file = folder / "pump" / name
        file.write_text(file.read_text() + more)
    return folder


@pytest.fixture(scope="module")
def empty(rules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("statistics_template")
    prepare(directory, rules)
    return directory


@pytest.fixture
def rig(empty: Path, rules: Path, tmp_path: Path) -> Generator[Rig]:
    rig = Rig(empty, tmp_path / "engine", rules)
    rig.detectors_of = Limited
    rig.clock.advance(-3600)
    yield rig
    rig.close()


def set_clock(rig: Rig, at: datetime) -> None:
    rig.clock.at = at


def reads(*hot: Spell) -> list[Read]:
    """The pumps are unusually hot for ten seconds at each of these times; in time order."""
    found: list[Read] = []
    for asset, day in hot:
        found += [(asset, day * DAY + s, {"temp": temp}) for s, temp in ((0, 70.0), (10, 20.0))]
    return sorted(found, key=lambda read: read[1])


def fire(rig: Rig, path: Pipeline, asset: str, day: float) -> tuple[int, int | None]:
    """(alert, order) of a pump that becomes unusually hot and stays so."""
    set_clock(rig, T0 + timedelta(days=day, seconds=1))
    rig.send(path, [(asset, day * DAY, {"temp": 70.0})])
    ((alert, order),) = rig.rows(
        "select id, work_order_id from alert where state = 'firing' order by opened_at desc limit 1"
    )
    return alert, order


def fall(rig: Rig, path: Pipeline, asset: str, day: float) -> None:
    set_clock(rig, max(rig.clock.at, T0 + timedelta(days=day)))
    rig.send(path, [(asset, day * DAY, {"temp": 20.0})])


def finish(rig: Rig, order: int | None, outcome: str) -> None:
    """As another process does it, with nothing of the engine."""
    assert order is not None
    with transaction(rig.core) as session:
        person = session.exec(select(Technician)).first()
        if person is None:
            person = Technician(name="zhang")
            session.add(person)
            session.flush()
        now = rig.clock.now()
        workorders.take(session, order, "zhang", now, technician_id=person.id or 0)
        workorders.start(session, order, "zhang", now)
        workorders.finish(session, order, "zhang", now, outcome=outcome)


def heard(path: Pipeline) -> list[str]:
    assert isinstance(path.detectors, Limited)
    return [str(what) for _, what, _ in path.detectors.heard]


def held(rig: Rig) -> list[tuple[Any, ...]]:
    return rig.rows(
        "select a.code, l.opened_at, l.suppressed_by from alert l join asset a on a.id = l.asset_id"
        " where l.suppressed_by is not null order by l.opened_at, a.code"
    )


def test_an_outcome_moves_the_limit_and_the_alarm_says_so(rig: Rig) -> None:
    path = rig.start()
    alert, order = fire(rig, path, "PU-01", 0)
    finish(rig, order, "false_alarm")
    path.tick(None)
    assert heard(path) == [], "it holds for the samples that follow"
    rig.send(path, [("PU-02", 5.0, {"temp": 20.0})])
    assert heard(path) == [], "of its own asset"
    fall(rig, path, "PU-01", 5 / DAY)
    assert heard(path) == ["false_alarm"]
    path.tick(None)
    with transaction(rig.core) as session:
        row = session.exec(select(Feedback)).one()
    assert (row.alert_id, row.number, row.heard) == (alert, 1, True)
    assert (row.limit_before, row.limit_after) == (8.0, 10.0)
    assert path.counters["verdicts_false_alarm"] == 1
    rig.clock.advance(61)
    path.tick(None)
    with transaction(rig.core) as session:
        limits = session.exec(select(DetectorLimit).order_by(col(DetectorLimit.limit))).all()
    assert [row.limit for row in limits] == [8.0, 10.0]


def test_an_alarm_of_a_measured_value_teaches_nothing(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, [("PU-01", 0.0, {"smoke": 1.0})])
    finish(rig, rig.rows("select id from work_order")[0][0], "false_alarm")
    path.tick(None)
    set_clock(rig, T0 + timedelta(hours=2))
    rig.send(path, [("PU-01", 7100.0, {"temp": 20.0})])
    assert heard(path) == [] and rig.rows("select * from feedback") == []


def test_what_is_taken_for_normal_is_heard_too(rig: Rig) -> None:
    path = rig.start()
    alert, _ = fire(rig, path, "PU-01", 0)
    with transaction(rig.core) as session:
        alerts.accept(session, alert, "boss", "new motor", rig.clock.now())
    path.tick(None)
    fall(rig, path, "PU-01", 30 / DAY)
    assert heard(path) == ["accepted"]
    assert rig.alerts() == [("pump.unusual", "PU-01", "resolved")], "by its own score"
    events = rig.rows("select kind, actor from alert_event where kind = 'accepted'")
    assert events == [("accepted", "boss")]


def _finished(rig: Rig) -> tuple[Pipeline, int]:
    """A false alarm whose order is finished, and nobody has heard of it yet."""
    path = rig.start()
    alert, order = fire(rig, path, "PU-01", 0)
    recovery.save(path)
    finish(rig, order, "false_alarm")
    return path, alert


def _nothing(rig: Rig, path: Pipeline) -> None: ...


def _taken(rig: Rig, path: Pipeline) -> None:
    path.tick(None)


def _taken_and_saved(rig: Rig, path: Pipeline) -> None:
    path.tick(None)
    rig.clock.advance(1)
    recovery.save(path)


def _heard(rig: Rig, path: Pipeline) -> None:
    path.tick(None)
    fall(rig, path, "PU-01", 5 / DAY)


def _heard_and_saved(rig: Rig, path: Pipeline) -> None:
    _heard(rig, path)
    rig.clock.advance(1)
    recovery.save(path)


def _recorded(rig: Rig, path: Pipeline) -> None:
    _heard_and_saved(rig, path)
    path.tick(None)


@pytest.mark.parametrize(
    "before", [_nothing, _taken, _taken_and_saved, _heard, _heard_and_saved, _recorded]
)
def test_a_kill_neither_loses_nor_repeats_a_verdict(rig: Rig, before: Any) -> None:
    path, _ = _finished(rig)
    before(rig, path)
    path = rig.start()  # the old one is gone as it was
    path.tick(None)
    rig.send(path, [("PU-01", 30.0, {"temp": 20.0})])
    rig.clock.advance(1)
    path.tick(None)
    path = rig.start()
    rig.send(path, [("PU-01", 40.0, {"temp": 20.0})])
    path.tick(None)
    assert heard(path) == ["false_alarm"]
    assert rig.rows("select number, heard, limit_before, limit_after from feedback") == [
        (1, 1, 8.0, 10.0)
    ]


def test_a_commit_of_which_the_answer_was_lost_is_heard_all_the_same(rig: Rig) -> None:
    path, _ = _finished(rig)
    with transaction(rig.core) as session:
        row = session.exec(select(Feedback)).one()
        row.number, row.after_ns = 1, ns(1)  # as the tick did before it failed
        session.add(row)
    path.tick(None)
    fall(rig, path, "PU-01", 5 / DAY)
    assert heard(path) == ["false_alarm"]


def test_detectors_without_a_past_hear_what_was_said_within_a_month(rig: Rig) -> None:
    path, _ = _finished(rig)
    path.tick(None)
    set_clock(rig, T0 + timedelta(days=29))
    _, order = fire(rig, path, "PU-02", 29)
    finish(rig, order, "true_fault")
    path.tick(None)
    with rig.core.begin() as connection:
        connection.exec_driver_sql("delete from state_snapshot")
    set_clock(rig, T0 + timedelta(days=31))
    path = rig.start()
    rig.send(path, [(pump, 31 * DAY, {"temp": 20.0}) for pump in ("PU-01", "PU-02")])
    assert heard(path) == ["true_fault"], "the other one is older"


def test_the_budget_of_an_asset_holds_what_exceeds_it(rig: Rig) -> None:
    path = rig.start()
    set_clock(rig, T0 + timedelta(days=9))
    rig.send(path, reads(*(("PU-01", day) for day in range(4)), ("PU-02", 5)))
    assert [reason for _, _, reason in held(rig)] == ["budget:asset"] * 2
    assert rig.alerts() == [("pump.unusual", "PU-01", "resolved")] * 4 + [
        ("pump.unusual", "PU-02", "resolved")
    ]
    assert path.counters["alerts_held_by_budget"] == 2
    assert len(rig.rows("select * from order_alert")) == 3
    assert len(rig.rows("select * from outbox_message")) == 2, "one for each order"
    said = rig.rows("select distinct kind, detail from alert_event where kind = 'suppressed'")
    assert said == [("suppressed", '{"by": "budget:asset"}')]


def test_a_site_has_a_budget_too_and_measured_alarms_have_none(rig: Rig) -> None:
    rig.caps = Caps(asset_month=2, site_month=1)
    path = rig.start()
    set_clock(rig, T0 + timedelta(days=9))
    smoke = [
        ("PU-02", day * DAY, {"smoke": value}) for day, value in ((2, 1.0), (3, 0.0), (4, 1.0))
    ]
    rig.send(path, [*reads(("PU-01", 0), ("PU-02", 1)), *smoke])
    assert [(asset, reason) for asset, _, reason in held(rig)] == [("PU-02", "budget:site")]
    assert len(rig.rows("select * from order_alert where rule = 'pump.smoke'")) == 2


def test_a_held_alarm_becomes_work_when_there_is_room(rig: Rig) -> None:
    rig.caps = Caps(asset_month=1, site_month=10)
    path = rig.start()
    _, order = fire(rig, path, "PU-01", 0)
    fall(rig, path, "PU-01", 0.1)
    alert, none = fire(rig, path, "PU-01", 1)
    assert none is None
    path.tick(None)
    assert rig.rows("select count(*) from order_alert") == [(1,)], "no room yet"
    set_clock(rig, T0 + timedelta(days=1.5))
    finish(rig, order, "true_fault")
    path.tick(None)  # hears it, which makes room from then on
    rig.clock.advance(11)
    path.tick(None)
    assert held(rig) == []
    assert rig.rows(f"select rule from order_alert where alert_id = {alert}") == [("pump.unusual",)]
    events = rig.rows(f"select kind from alert_event where alert_id = {alert} order by id")
    assert [kind for (kind,) in events] == ["fired", "suppressed", "released", "work_order"]


def test_a_held_alarm_that_ends_stays_on_record(rig: Rig) -> None:
    rig.caps = Caps(asset_month=0, site_month=10)
    path = rig.start()
    fire(rig, path, "PU-01", 0)
    fall(rig, path, "PU-01", 0.1)
    set_clock(rig, T0 + timedelta(days=60))
    path.tick(None)
    assert [reason for _, _, reason in held(rig)] == ["budget:asset"]
    assert rig.rows("select * from work_order") == []


def test_a_replay_after_a_kill_gives_the_same_history(
    rig: Rig, empty: Path, rules: Path, tmp_path: Path
) -> None:
    """What was stored and not yet concluded from is read asset by asset: the site's budget is spent alike."""
    spells = [("PU-02", 0.0), ("PU-01", 1.0), ("PU-02", 2.0), ("PU-01", 3.0), ("PU-01", 4.0)]
    killed = Rig(empty, tmp_path / "killed", rules)
    for one in (rig, killed):
        one.detectors_of, one.caps = Limited, Caps(asset_month=2, site_month=3)
        set_clock(one, T0 + timedelta(days=9))
        one.start()
    rig.send(rig.build(), reads(*spells))
    killed.samples.write(stored(killed, reads(*spells)))
    killed.start()
    assert held(killed) == held(rig) != []
    for what in ("alerts", "alert events", "orders", "order alerts"):
        assert killed.outcome()[what] == rig.outcome()[what], what
    killed.close()


def stored(rig: Rig, reads: Sequence[Read]) -> Batch:
    """Reads that the dying process still got into the sample store."""
    catalog = SeriesCatalog(rig.core)
    numbers = [catalog.of_asset(asset)["temp"] for asset, _, _ in reads]
    return Batch.of(numbers, [ns(at) for _, at, _ in reads], [v["temp"] for _, _, v in reads])
