"""The private servers are what they say they are."""

import subprocess
import sys
from pathlib import Path

import httpx2
import psycopg
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from pms_iot.settings import InfluxSettings
from tests import servers


def test_broker_listens_again_after_stop_and_start(broker: servers.Server) -> None:
    broker.stop()
    assert not servers.listens(broker.port)
    broker.start()
    assert servers.listens(broker.port)


def test_each_postgres_database_starts_empty(postgres: servers.Postgres) -> None:
    for _ in range(2):
        with (
            postgres.database() as url,
            psycopg.connect(url.replace("+psycopg", "")) as connection,
        ):
            connection.execute("CREATE TABLE only_mine (id int)")


def test_the_real_client_writes_through_the_shim(influx: InfluxSettings) -> None:
    assert influx.url is not None
    with InfluxDBClient(influx.url, token=influx.token.get_secret_value(), org="pms") as client:
        client.write_api(SYNCHRONOUS).write(influx.bucket, record="pump,asset=P-1 flow=1.5 1000")
    headers = {"Authorization": f"Token {influx.token.get_secret_value()}"}
    asked = {"db": influx.bucket, "q": "SELECT flow FROM pump", "epoch": "ns"}
    answer = httpx2.get(f"{influx.url}/query", params=asked, headers=headers).json()
    assert answer["results"][0]["series"][0]["values"] == [[1000, 1.5]]


def test_server_dies_with_a_killed_test_process(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from tests import servers\n"
        "with servers.mosquitto(pathlib.Path(sys.argv[1])) as s: print(s.process.pid, flush=True); input()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert _alive(pid)
        owner.kill()
    servers.wait_for(lambda: not _alive(pid), f"end of process {pid}")


def _alive(pid: int) -> bool:
    """A process that ended but that nobody has collected yet is not alive."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
