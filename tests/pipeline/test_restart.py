"""What a new process makes of what the last one left."""

from dataclasses import replace

import numpy as np
import pytest

from pms_iot import recovery
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.pipeline.rig import Read, Rig, ns, payload

HOT: list[Read] = [("PU-01", 10.0 * i, {"temp": 90.0}) for i in range(4)]


class FullStore(EmbeddedStore):
    """A store that takes measured samples and then no more."""

    writes_left = 1

    def write(self, batch: Batch) -> None:
        if len(batch) and not self.writes_left:
            raise StoreUnavailableError("full")
        super().write(batch)
        self.writes_left -= 1


def test_no_snapshot_is_taken_of_what_is_not_committed(rig: Rig) -> None:
    path = rig.start()
    before = rig.rows("select name, at, state from state_snapshot")
    assert {name for name, _, _ in before} == {"derived", "detectors", "rules", "silence"}
    with rig.core.begin() as connection:
        connection.exec_driver_sql("alter table watermark rename to mislaid")
    with pytest.raises(Exception, match="no such table"):
        path.process(rig.received(payload(1, HOT)))
    recovery.save(path)
    assert rig.rows("select name, at, state from state_snapshot") == before
    with rig.core.begin() as connection:
        connection.exec_driver_sql("alter table mislaid rename to watermark")
    path.process(rig.received(payload(1, HOT)))
    assert rig.alerts() == [("pump.hot", "PU-01", "firing")]
    rig.clock.advance(1)
    recovery.save(path)
    assert rig.rows("select name, at, state from state_snapshot") != before


def test_no_snapshot_is_taken_of_scores_that_are_not_stored(rig: Rig) -> None:
    path = rig.start()
    before = rig.rows("select name, state from state_snapshot")
    path.store = FullStore(rig.directory / "samples.db", synchronous="NORMAL")
    levels: list[Read] = [("PU-01", 10.0 * i, {"level": 0.5 * i}) for i in range(8)]
    with pytest.raises(StoreUnavailableError):
        path.process(rig.received(payload(1, levels)))
    recovery.save(path)
    assert rig.rows("select name, state from state_snapshot") == before
    path.store.close()
    path.store = rig.samples
    path.process(rig.received(payload(1, levels)))
    assert ("PU-01", "level.rate", 70.0, 0.05) in rig.stored()
    assert rig.alerts() == [("pump.rising", "PU-01", "firing")]


def test_an_asset_first_heard_after_the_snapshot_keeps_its_on_delay(rig: Rig) -> None:
    rig.send(rig.start(), HOT[:2])
    rig.send(rig.start(), HOT[2:3])
    assert rig.rows("select key, since from alert") == [
        ("pump.hot|PU-01|temp", "2026-11-23 08:00:00.000000")
    ]


def test_an_alert_whose_rule_is_gone_ends_and_so_does_its_part_of_the_order(rig: Rig) -> None:
    rig.send(rig.start(), HOT)
    pump = rig.packs["pump"]
    without = [rule for rule in pump.rules if rule.id != "pump.hot"]
    rig.start(packs={**rig.packs, "pump": replace(pump, rules=tuple(without))})
    assert rig.alerts() == [("pump.hot", "PU-01", "resolved")]
    assert rig.rows("select recovered_at is not null from order_alert") == [(1,)]


def test_an_alert_lives_on_when_its_rule_changes_and_ends_with_its_condition(rig: Rig) -> None:
    rig.send(rig.start(), HOT)
    pump = rig.packs["pump"]
    slower = [replace(r, for_s=r.for_s + 5) for r in pump.rules]
    path = rig.start(packs={**rig.packs, "pump": replace(pump, rules=tuple(slower))})
    assert rig.alerts() == [("pump.hot", "PU-01", "firing")]
    rig.send(path, [("PU-01", 40.0 + 10 * i, {"temp": 60.0}) for i in range(4)])
    assert rig.alerts() == [("pump.hot", "PU-01", "resolved")]
    assert len(rig.rows("select * from work_order")) == 1


def test_detectors_without_a_snapshot_learn_from_the_store_and_open_nothing(rig: Rig) -> None:
    head = rig.build().catalog.lookup("PU-01", "head")
    assert head is not None
    at = [ns(10 * i) for i in range(300)]  # 50 min without any change
    rig.samples.write(Batch.of(np.full(300, head), at, np.full(300, 20.0)))
    path = rig.start()
    assert rig.alerts() == [] and rig.rows("select * from outbox_message") == []
    rig.send(path, [("PU-01", 3000.0, {"head": 20.0})])
    assert ("PU-01", "head.stuck", 3000.0, 3000.0) in rig.stored()
    assert rig.alerts() == [("pump.head_stuck", "PU-01", "firing")]


def test_a_series_that_ended_long_ago_does_not_make_the_start_read_everything(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, [("PU-01", -1_000_000.0, {"level": 1.0})])
    rig.send(path, [("PU-01", 10.0 * i, {"temp": 50.0}) for i in range(50)])
    recovery.save(path)
    asked: list[int] = []

    class Watched(EmbeddedStore):
        def read_many(self, series: object, start_ns: int, end_ns: int) -> Batch:
            found = super().read_many(series, start_ns, end_ns)  # type: ignore[arg-type]  # as given
            asked.append(len(found))
            return found

    store = Watched(rig.directory / "samples.db", synchronous="NORMAL")
    rig.start(store=store)
    assert sum(asked) == 0
    store.close()


def test_derived_points_are_stored_and_go_on_after_a_kill(rig: Rig) -> None:
    """The state lives through a kill, what was not saved is worked out again, nothing is said twice."""
    path = rig.start()
    rig.send(path, [("PU-01", 10.0 * i, {"run": float(i > 2)}) for i in range(4)])
    assert states(rig) == [(0.0, 1.0), (30.0, 2.0)]
    path = rig.start()  # without an orderly end: the snapshot is older than the samples
    rig.send(path, [("PU-01", 10.0 * i, {"run": 1.0}) for i in range(4, 6)])
    assert states(rig) == [(0.0, 1.0), (30.0, 2.0), (50.0, 3.0)]
    recovery.save(path)
    rig.send(rig.start(), [("PU-01", 60.0, {"run": 1.0})])
    assert states(rig)[3:] == [(60.0, 3.0)], "the first of its minute"
    assert rig.alerts() == [("pump.runs", "PU-01", "firing")]


def states(rig: Rig) -> list[tuple[float, float]]:
    return [(at, value) for _, point, at, value in rig.stored() if point == "state"]
