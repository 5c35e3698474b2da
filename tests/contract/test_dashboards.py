"""Dashboards, alerting rules and metrics fit together: every name that is asked for is really there."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from ruamel.yaml import YAML

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.influx import InfluxStore
from tests.pipeline.serving import Engine, Gateway, temp
from tests.servers import mosquitto, wait_for

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BOARDS = {
    path.stem: json.loads(path.read_text()) for path in DEPLOY.glob("grafana/dashboards/*.json")
}
METRIC = re.compile(r"(?<!\")\b((?:pms|process)_[a-z0-9_]+)")


def load(file: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / file).read_text())


def targets(board: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for panel in BOARDS[board]["panels"]:
        for target in panel["targets"]:
            yield panel, target


def asked_by_dashboards() -> Iterator[str]:
    for _, target in targets("engine"):
        yield target["expr"]
    for variable in BOARDS["engine"]["templating"]["list"]:
        yield variable["query"]["query"]


def asked_by_rules() -> Iterator[str]:
    for group in load("prometheus-alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def names_in(expressions: Iterable[str]) -> set[str]:
    return {name for expression in expressions for name in METRIC.findall(expression)}


def sampled(text: str) -> set[str]:
    """The names of all samples of a scrape."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines}


def test_uids_and_panel_numbers_are_unique_and_sources_are_provisioned():
    assert len(BOARDS) == 2
    assert sorted(board["uid"] for board in BOARDS.values()) == ["pms-asset", "pms-engine"]
    known = {item["uid"]: item["type"] for item in load("grafana/provisioning/datasources/pms.yaml")["datasources"]}  # fmt: skip
    for name, board in BOARDS.items():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(numbers) == len(set(numbers))
        sources = [target["datasource"] for _, target in targets(name)]
        sources += [variable["datasource"] for variable in board["templating"]["list"]]
        assert all(known[source["uid"]] == source["type"] for source in sources)


def test_panels_do_not_cover_each_other():
    for board in BOARDS.values():
        taken = set[tuple[int, int]]()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
            assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
            taken |= cells


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an engine that runs, with a gateway that has sent samples and said how it is."""
    folder = tmp_path_factory.mktemp("scrape")
    env = {"PMS_METRICS_TOKEN": "s3cret", "PMS_LOG_FORMAT": "json"}
    with (
        mosquitto(folder / "broker") as broker,
        Engine(folder / "engine", {"PMS_MQTT__PORT": broker.port, **env}) as engine,
    ):
        gateway = Gateway(broker.port)
        gateway.wait_acked(gateway.send(temp(20)))
        now_ns = time.time_ns()
        spool = {"rows": 3, "bytes": 4096, "oldest_ns": now_ns - 5 * 10**9, "hours_left": 1.5}
        gateway.publish(json.dumps({"at_ns": now_ns, "spool": spool}).encode(), "health")
        assert httpx2.get(f"{engine.url}/metrics").status_code == 401
        found: list[str] = []

        def seen() -> bool:
            headers = {"Authorization": "Bearer s3cret"}
            found[:] = [httpx2.get(f"{engine.url}/metrics", headers=headers).text]
            return "pms_gateway_spool_rows{" in found[0]

        wait_for(seen, "the gateway's health", 30, 0.05)
        gateway.close()
    log = (folder / "engine" / "log").read_text().splitlines()
    assert all(json.loads(line)["event"] for line in log), "every line of the log is JSON"
    return found[0]


def test_every_metric_of_dashboards_and_rules_is_in_a_real_scrape(scrape: str):
    wanted = names_in(asked_by_dashboards()) | names_in(asked_by_rules())
    assert len(wanted) > 25
    assert wanted - sampled(scrape) == set()


def test_a_misspelt_metric_would_be_found(scrape: str):
    assert names_in(["rate(pms_sampels_total[5m])"]) - sampled(scrape) == {"pms_sampels_total"}


def test_the_documentation_explains_every_metric_and_no_other(scrape: str):
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in sampled(scrape)}
    ours = {name for name in ours if name.startswith("pms_")}
    told = set(re.findall(r"`(pms_\w+)`", (ROOT / "docs/operations.md").read_text()))
    assert ours - told == set()
    later = {"pms_disk_left_seconds", "pms_gateway_ledger_completeness_ratio"}
    assert told - ours == later, "while the disk fills up; after the first hour"


def test_the_scrape_says_what_happened(scrape: str):
    labels = '{gateway="gw-01",site="riverside"}'
    assert f"pms_gateway_spool_rows{labels} 3.0" in scrape
    assert f"pms_gateway_spool_left_seconds{labels} 5400.0" in scrape
    assert "\npms_samples_total 1.0" in scrape
    assert 'pms_gateway_watermark_seq{gateway="gw-01",lane="data",site="riverside"} 1.0' in scrape
    assert "manager" not in scrape, "no people"


# -- the asset's dashboard on a real server ------------------------------------------------


def ask(influx: InfluxSettings, query: str) -> list[dict[str, Any]]:
    """The series of an answer; fails on an error of the server."""
    headers = {"Authorization": f"Token {influx.token.get_secret_value()}"}
    answer = httpx2.get(f"{influx.url}/query", params={"db": influx.bucket, "q": query}, headers=headers)  # fmt: skip
    result = answer.raise_for_status().json()["results"][0]
    assert "error" not in result, (query, result)
    return result.get("series", [])


def filled_in(query: str, **values: str) -> str:
    """As Grafana does: several values are a group in a regular expression."""
    for name, value in {"timeFilter": "time >= now() - 1h", "__interval": "1m", **values}.items():
        query = query.replace(f"${name}", value)
    assert "$" not in re.sub(r"\$/", "/", query), query
    return query


class Register:
    """A lift with two points."""

    points = ("motor_temp", "floor")

    def info(self, series: int) -> SeriesInfo:
        point = self.points[series - 1]
        return SeriesInfo(
            series, 1, "EL-01", "riverside", "elevator", point, "number", "", "", "",
            None, None, None, derived=False,
        )  # fmt: skip


@pytest.fixture
def stored(influx: InfluxSettings) -> Iterator[InfluxSettings]:
    """Ten minutes of a lift, some of it uncertain."""
    store = InfluxStore(influx, Register())
    at = time.time_ns() - np.arange(60, 0, -1) * 10 * 10**9
    for number in (1, 2):
        quality = np.where(np.arange(60) < 3, 64, 192)
        series = np.full(60, number)
        store.write(Batch.of(series, at, np.arange(60.0), quality))
    yield influx
    store.close()


def test_the_queries_of_the_asset_dashboard_run(stored: InfluxSettings):
    chosen = dict[str, str]()
    for variable in BOARDS["asset"]["templating"]["list"]:
        series = ask(stored, filled_in(variable["query"], **chosen))
        values = [row[-1] if variable["name"] != "point" else row[0] for row in series[0]["values"]]
        if pattern := variable.get("regex"):
            values = [value for value in values if re.search(pattern.strip("/"), value)]
        if variable["name"] == "point":
            assert sorted(values) == ["floor", "motor_temp"], "no quality fields"
        chosen[variable["name"]] = values[0]
    assert chosen["kind"] == "elevator" and chosen["asset"] == "EL-01"
    for panel, target in targets("asset"):
        points = "motor_temp" if panel.get("repeat") else "(motor_temp|floor)"
        series = ask(stored, filled_in(target["query"], **chosen | {"point": points}))
        counted = [value for row in series[0]["values"] for value in row[1:] if value is not None]
        assert counted, target["query"]
        if panel["title"].startswith("Samples"):
            assert sum(counted) == 120
