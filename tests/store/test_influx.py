"""What only InfluxDB does: refusals, outages, what others see in the bucket."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import numpy as np
import pytest

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.influx import InfluxStore, SamplesRejectedError
from pms_iot.telemetry.store import Buckets
from tests import servers
from tests.register import small_register

S = 10**9
T0 = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    return small_register(tmp_path_factory.mktemp("register"))


def rows(influx: InfluxSettings, query: str) -> list[list[object]]:
    asked = {"db": influx.bucket, "q": query, "epoch": "ns"}
    headers = {"Authorization": f"Token {influx.token.get_secret_value()}"}
    answer = httpx2.get(f"{influx.url}/query", params=asked, headers=headers).json()
    return answer["results"][0]["series"][0]["values"]


def test_points_of_an_asset_share_lines_and_quality_is_written_only_when_not_good(
    influx: InfluxSettings, catalog: SeriesCatalog
) -> None:
    lift = catalog.of_asset("EL-01")
    store = InfluxStore(influx, catalog)
    series = [lift["p0"], lift["p1"], lift["p0"], lift["p1"]]
    at = [T0, T0, T0 + 1, T0 + 1]
    store.write(Batch.of(series, at, [1.0, 2.0, 3.0, np.nan], [GOOD, GOOD, UNCERTAIN, BAD]))
    store.close()
    query = "SELECT p0, p0_q, p1, p1_q FROM elevator WHERE site = 'riverside' AND asset = 'EL-01'"
    assert rows(influx, query) == [[T0, 1, None, 2, None], [T0 + 1, 3, 64, None, -1]]


def test_a_refused_write_is_named_and_not_taken_for_an_outage(
    influx: InfluxSettings, catalog: SeriesCatalog
) -> None:
    store = InfluxStore(influx, catalog, gzip=False)
    store._send(f'elevator,site=riverside,asset=EL-01 p0="text" {T0}', influx.bucket)  # pyright: ignore[reportPrivateUsage]  # as another writer would
    with pytest.raises(SamplesRejectedError, match="type"):
        store.write(Batch.of([catalog.of_asset("EL-01")["p0"]], [T0], [1.0]))
    store.close()


def test_an_unknown_bucket_is_an_outage(influx: InfluxSettings, catalog: SeriesCatalog) -> None:
    store = InfluxStore(influx.model_copy(update={"bucket": "nowhere"}), catalog)
    with pytest.raises(StoreUnavailableError):
        store.write(Batch.of([catalog.of_asset("EL-01")["p0"]], [T0], [1.0]))
    store.close()


def test_outages_are_named_and_end(tmp_path: Path, catalog: SeriesCatalog) -> None:
    with servers.influx(tmp_path) as server, server.bucket() as bucket:
        if server.server is None or server.backend is None:
            pytest.skip("a server of others is not stopped")
        series = catalog.of_asset("EL-01")["p0"]
        store = InfluxStore(server.settings(bucket), catalog)
        store.write(Batch.of([series], [T0], [1.0]))
        for away in (server.backend, server.server):  # 502 from the proxy, then no connection
            away.kill()
            for call in (
                lambda: store.write(Batch.of([series], [T0 + 1], [2.0])),
                lambda: store.read(series, 0, 2**62),
                lambda: store.latest([series]),
            ):
                with pytest.raises(StoreUnavailableError):
                    call()
            away.start()
        store.write(Batch.of([series], [T0 + 1], [2.0]))
        assert store.read(series, 0, 2**62).value.tolist() == [1.0, 2.0]
        store.close()


@pytest.mark.parametrize("answer", [b"", b'{"results":[{"statem', b"{}"])
def test_an_answer_that_is_cut_off_is_an_outage(answer: bytes, catalog: SeriesCatalog) -> None:
    """A server killed while it answers, behind a proxy: status 200 and not the whole of the rest."""

    class Cut(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    with HTTPServer(("127.0.0.1", 0), Cut) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        store = InfluxStore(InfluxSettings(url=f"http://127.0.0.1:{proxy.server_port}"), catalog)
        with pytest.raises(StoreUnavailableError, match="no answer but"):
            store.read(catalog.of_asset("EL-01")["p0"], 0, 2**62)
        store.close()
        proxy.shutdown()


def test_a_bucket_for_roll_ups_is_made_in_the_organisation_of_that_name(
    catalog: SeriesCatalog,
) -> None:
    """Requests and answers as in the API reference of InfluxDB 2: POST /write, GET /orgs, POST /buckets."""
    asked: list[tuple[str, dict[str, object]]] = []

    class V2(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, {}))
            self._answer(200, b'{"orgs": [{"id": "0123456789abcdef", "name": "pms"}]}')

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/api/v2/buckets"):
                asked.append((self.path, json.loads(body)))
                self._answer(201, b"{}")
            else:
                self._answer(204 if len(asked) == 2 else 404, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), V2) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        store = InfluxStore(InfluxSettings(url=url, bucket="raw", org="pms"), catalog)
        one = np.array([1.0])
        summary = Buckets(np.array([T0]), one, one, one, np.array([1]), np.array([GOOD]), 60 * S)
        rows = [(catalog.of_asset("EL-01")["p0"], summary)]
        store.write_buckets(rows, 60 * S)
        store.close()
        server.shutdown()
    wanted = {"orgID": "0123456789abcdef", "name": "raw_1m", "retentionRules": []}
    assert asked == [("/api/v2/orgs?org=pms", {}), ("/api/v2/buckets", wanted)]
