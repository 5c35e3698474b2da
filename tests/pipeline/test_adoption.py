"""An unknown device is adopted while the engine runs: its past is kept, and rules watch it at once."""

import time
from pathlib import Path

import pytest

from pms_iot.adoption import AdoptionRefusedError, Wish, adopt
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Site
from pms_iot.kernel.clock import from_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.kernel.text import Text
from pms_iot.telemetry import parked
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.pipeline.rig import Rig
from tests.pipeline.serving import Engine, Gateway, command, temp
from tests.servers import mosquitto, wait_for

S = 10**9
NEW = Wish("riverside", "PU-77", "temp", "pump", Text("七十七号泵", "Pump 77"))


def test_a_device_adopted_at_the_terminal_is_taken_up_by_the_running_engine(
    tmp_path: Path,
) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        Engine(tmp_path / "engine", {"PMS_MQTT__PORT": broker.port}) as engine,
    ):
        gateway = Gateway(broker.port)
        before = time.time_ns() - 600 * S
        past = "\n".join(temp(20 + i, before + i * S, "PU-77") for i in range(5))
        gateway.wait_acked(gateway.send(past, n=5))
        assert engine.rows("select asset, field, samples from parked_samples") == [
            ("PU-77", "temp", 5)
        ]
        words = [
            "adopt",
            "riverside",
            "PU-77",
            "temp",
            "--kind",
            "pump",
            "--name-zh",
            "泵",
            "--name-en",
            "Pump",
        ]
        said = command(engine.directory, *words)
        assert said.returncode == 0, said.stderr
        wait_for(lambda: engine.rows("select * from unknown_point") == [], "the engine's next look")
        hot = "\n".join(temp(95, before + (300 + 10 * i) * S, "PU-77") for i in range(4))
        gateway.wait_acked(gateway.send(hot, n=4))
        assert engine.rows("select rule, state from alert where rule = 'pump.hot'") == [
            ("pump.hot", "firing")
        ]
        gateway.close()
    catalog = SeriesCatalog(open_engine(f"sqlite:///{engine.directory / 'core.db'}"))
    store = EmbeddedStore(engine.directory / "samples.db")
    found = store.read(catalog.of_asset("PU-77")["temp"], 0, time.time_ns())
    store.close()
    assert found.value.tolist() == [20.0, 21.0, 22.0, 23.0, 24.0, 95.0, 95.0, 95.0, 95.0]


def test_a_kill_between_adoption_and_move_is_healed_by_the_next_start(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, [("PU-77", i, {"temp": float(i), "own": 1.0}) for i in range(3)])
    with transaction(rig.core) as session:
        adopt(session, rig.packs, NEW, "manager", from_ns(rig.clock.now_ns()))
    catalog = SeriesCatalog(rig.core)  # a new process
    assert parked.release(rig.core, rig.samples, catalog.series_at) == 3
    assert rig.stored() == [("PU-77", "temp", float(i), float(i)) for i in range(3)]
    assert rig.rows("select field, count from unknown_point") == [("own", 3)]


def test_a_duplicate_message_parks_nothing_twice(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, [("PU-77", 0, {"temp": 1.0})])
    rig.seq = 0
    rig.send(path, [("PU-77", 0, {"temp": 1.0})])
    assert rig.rows("select samples from parked_samples") == [(1,)]


def test_an_asset_of_another_site_and_an_unknown_site_are_refused(rig: Rig) -> None:
    at = from_ns(rig.clock.now_ns())
    with transaction(rig.core) as session:
        session.add(Site(code="hill", name_zh="山", name_en="Hill"))
    with pytest.raises(AdoptionRefusedError, match="asset_elsewhere"), transaction(rig.core) as s:
        adopt(s, rig.packs, Wish("hill", "PU-01", "own"), "manager", at)
    with pytest.raises(NotFoundError, match="nowhere"), transaction(rig.core) as s:
        adopt(s, rig.packs, Wish("nowhere", "PU-01", "own"), "manager", at)
