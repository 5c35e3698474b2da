"""A sample store that goes away in the middle: waited for, told, and nothing is lost or stored twice."""

import json
import time
from collections import Counter
from pathlib import Path

import httpx2

from pms_iot.settings import InfluxSettings
from tests import servers
from tests.pipeline.serving import Engine, Gateway, temp
from tests.servers import wait_for


def test_influxdb_goes_away_and_comes_back(
    tmp_path: Path, broker: servers.Server, influx_server: servers.Influx, influx: InfluxSettings
) -> None:
    shim = influx_server.server
    if shim is None:
        servers.missing("the InfluxDB given by the environment cannot be stopped")
    env = {
        "PMS_MQTT__PORT": broker.port,
        "PMS_INFLUX__URL": influx.url,
        "PMS_INFLUX__ORG": influx.org,
        "PMS_INFLUX__BUCKET": influx.bucket,
        "PMS_INFLUX__TOKEN": influx.token.get_secret_value(),
    }
    with Engine(tmp_path / "engine", env) as engine:
        gateway = Gateway(broker.port)
        start_ns = time.time_ns() - 60 * 10**9

        def send(count: int) -> int:
            for _ in range(count):
                gateway.send(temp(90, start_ns + gateway.seq * 10**9))
            return gateway.seq

        gateway.wait_acked(send(10))
        assert engine.not_ready() == {}
        shim.stop()
        last = send(20)
        wait_for(lambda: set(engine.not_ready()) == {"pipeline", "store"}, "the outage", 30, 0.05)
        assert gateway.acked["data"] == 10
        shim.start()
        gateway.wait_acked(last, 60)
        wait_for(lambda: engine.not_ready() == {}, "the engine to be ready", 30, 0.05)
        gateway.wait_acked(send(10))

        assert stored(influx) == [start_ns + i * 10**9 for i in range(40)]
        assert engine.rows("select seq, batches, samples, skipped from watermark") == [
            (40, 40, 40, 0)
        ]
        assert engine.rows("select key, state from alert") == [("pump.hot|PU-01|temp", "firing")]
        assert len(engine.rows("select * from work_order")) == 1
        assert engine.log.count("store away, waiting for it") == 1
        gateway.close()
    log = [json.loads(line) for line in (engine.directory / "log").read_text().splitlines()]
    said = Counter((line["event"], line.get("job")) for line in log if line["event"] != "alert")
    assert said["store is back", None] == 1
    assert {event: n for event, n in said.items() if n > 1} == {}, "an outage is logged once"


def stored(influx: InfluxSettings) -> list[int]:
    """The times of all samples, asked of the server itself."""
    query = {"db": influx.bucket, "q": 'SELECT "temp" FROM "pump"', "epoch": "ns"}
    token = influx.token.get_secret_value()
    headers = {"Authorization": f"Token {token}"}
    answer = httpx2.get(f"{influx.url}/query", params=query, headers=headers).json()
    return [row[0] for row in answer["results"][0]["series"][0]["values"]]
