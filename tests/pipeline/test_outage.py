"""An InfluxDB that goes away in the middle holds up nothing, is told of, and misses nothing in the end."""

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
    env = {"PMS_MQTT__PORT": broker.port, **servers.environment_of(influx)}
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
        gateway.wait_acked(send(20))
        assert engine.rows("select key, state from alert") == [("pump.hot|PU-01|temp", "firing")]
        wait_for(lambda: "store" in engine.warnings(), "the outage", 30, 0.05)
        assert engine.not_ready() == {}, "nobody waits for it"
        engine.kill()
        engine.start()  # needs no server
        gateway.wait_acked(send(5))
        shim.start()
        gateway.wait_acked(send(5))
        wait_for(
            lambda: stored(influx) == [start_ns + i * 10**9 for i in range(40)], "the copy", 60, 0.1
        )
        wait_for(lambda: engine.warnings() == {}, "the end", 30, 0.05)
        assert engine.rows("select seq, batches, samples, skipped from watermark") == [
            (40, 40, 40, 0)
        ]
        assert engine.rows("select key, state from alert") == [("pump.hot|PU-01|temp", "firing")]
        assert len(engine.rows("select * from work_order")) == 1
        gateway.close()
    log = [json.loads(line) for line in (engine.directory / "log").read_text().splitlines()]
    said = Counter(line["event"] for line in log)
    assert said["InfluxDB away, samples wait in the spool"] == 2, "once in each run"
    assert said["InfluxDB is back"] == 1


def stored(influx: InfluxSettings) -> list[int]:
    """The times of all samples, asked of the server itself."""
    query = {"db": influx.bucket, "q": 'SELECT "temp" FROM "pump"', "epoch": "ns"}
    token = influx.token.get_secret_value()
    headers = {"Authorization": f"Token {token}"}
    answer = httpx2.get(f"{influx.url}/query", params=query, headers=headers).json()
    return [row[0] for row in answer["results"][0]["series"][0]["values"]]
