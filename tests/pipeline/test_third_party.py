"""Third parties over a real broker: mapped, stored, watched by rules; poison is set aside once."""

import gzip
import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.db import open_engine
from pms_iot.telemetry.consumer import Received
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.sources import PointMap, Source, Topic
from tests.pipeline.rig import Rig, ns
from tests.pipeline.serving import Engine, Gateway, refused, temp
from tests.servers import mosquitto

S = 10**9
SOURCES = """
sources:
  - {topic: telegraf/#, site: riverside, format: line, asset: "{tag:host}"}
  - topic: shellies/{asset}/data          # ends as a gateway's topic does
    site: riverside
    points: [{name: temp, path: t, scale: 0.1}]
    time: {path: ms, unit: ms}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    directory: Path = tmp_path_factory.mktemp("third-party")
    (directory / "ingest.yaml").write_text(SOURCES)
    with mosquitto(directory / "broker") as broker:
        env = {"PMS_MQTT__PORT": broker.port, "PMS_INGEST_FILE": directory / "ingest.yaml"}
        with Engine(directory / "engine", env) as engine:
            yield engine


def test_telegraf_and_json_devices_are_stored_watched_and_offered(engine: Engine) -> None:
    gateway = Gateway(int(str(engine.env["PMS_MQTT__PORT"])))
    start = time.time_ns() - 60 * S
    gateway.wait_acked(gateway.send(temp(20, start - S)))  # the engine listens
    lines = "\n".join(f"pump,host=PU-01 temp=9{i} {start + i * 10 * S}" for i in range(4))
    gateway.publish(gzip.compress(lines.encode()), topic="telegraf/pump/room")
    for i in range(5):
        said = {"t": 500 + i, "ms": (start + i * S) // 10**6}
        gateway.publish(json.dumps(said).encode(), topic="shellies/PU-02/data")
        gateway.publish(json.dumps(said).encode(), topic="shellies/PLUG-9/data")
    gateway.publish(b"{", topic="shellies/PU-02/data")
    gateway.wait_acked(gateway.send(temp(21)))  # what came before it is done

    assert engine.rows("select rule, state from alert") == [("pump.hot", "firing")]
    parked = "select asset, field, samples from parked_samples"
    assert engine.rows(parked) == [("PLUG-9", "temp", 5)]
    bad = "select topic, reason from quarantined_message"
    assert engine.rows(bad) == [("shellies/PU-02/data", "not_json")]
    catalog = SeriesCatalog(open_engine(f"sqlite:///{engine.directory / 'core.db'}"))
    store = EmbeddedStore(engine.directory / "samples.db")
    stored = store.read(catalog.of_asset("PU-02")["temp"], 0, time.time_ns())
    store.close()
    assert stored.value.tolist() == pytest.approx([50.0, 50.1, 50.2, 50.3, 50.4])
    assert stored.at.tolist() == [(start + i * S) // 10**6 * 10**6 for i in range(5)]

    gateway.publish(b'{"t": 1}', topic="shellies/PU-02/other")
    engine.stop()
    engine.start()
    gateway.wait_acked(gateway.send(temp(22)))
    assert len(engine.rows(bad)) == 1, "poison is not sent again"
    gateway.close()


def test_a_mistake_in_the_file_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ingest.yaml"
    file.write_text("sources:\n  - {topic: 'a/b', site: s, sset: x}\n")
    said = refused(tmp_path, monkeypatch, capsys, "serve", PMS_INGEST_FILE=file)
    assert said[-2:] == [
        f"{file}: 1 problem(s)",
        "ingest.yaml:2: sources.0.sset: unknown key; did you mean 'asset'?",
    ]


def by_value(rig: Rig, topic: str, body: bytes, at: float) -> Received:
    return Received(topic, body, False, lambda: rig.mqtt_acked.append(topic), ns(at))


def test_a_run_of_messages_is_taken_in_at_once_and_each_is_acknowledged_after(rig: Rig) -> None:
    rig.sources = [
        Source(Topic("x/{asset}"), "riverside", "plain", "{asset}", points=(PointMap("temp"),)),
        Source(Topic("y/{asset}"), "riverside", "json", "{asset}"),
    ]
    path = rig.start()
    messages = [by_value(rig, "x/PU-01", b"%d" % i, i) for i in range(3)]
    messages.insert(1, by_value(rig, "y/PU-02", b"[", 1))
    path.process_all([*messages, by_value(rig, "z/gone", b"1", 9)])
    assert rig.stored() == [("PU-01", "temp", float(i), float(i)) for i in range(3)]
    assert sorted(rig.mqtt_acked) == ["x/PU-01"] * 3 + ["y/PU-02", "z/gone"]
    assert rig.rows("select reason from quarantined_message") == [("not_json",)]
    assert path.counters["foreign_unmapped"] == 1
    path.process_all(messages[:1])  # once more, as after a crash before the acknowledgement
    assert rig.stored() == [("PU-01", "temp", float(i), float(i)) for i in range(3)]
