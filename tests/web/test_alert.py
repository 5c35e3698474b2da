"""The page of one alarm and its API: the rule engine's own explanation in words, and what came before it."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from pms_iot.alerts.tables import Alert
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.web.reader import Reader
from pms_iot.web.why import explanation, why
from pms_iot.workorders import service as workorders
from pms_iot.workorders.tables import WorkOrder
from tests.web.conftest import LogIn
from tests.web.explained import HF_UNUSUAL, HYDRAULICS, LOW_PRESSURE, explain, with_models
from tests.web.plant import NOW, Plant, password_of

OVERHEAT = "elevator.motor_overheat"


@pytest.fixture
def modelled(plant: Plant) -> Plant:
    return with_models(plant)


@pytest.fixture
def found(modelled: Plant) -> dict[str, int]:
    return explain(modelled, NOW)


def _client(plant: Plant, name: str, language: str = "en") -> TestClient:
    client = TestClient(plant.app, follow_redirects=False, headers={"accept-language": language})
    assert client.post("/login", data={"username": name, "password": password_of(name)}).status_code == 303  # fmt: skip
    return client


def _section(page: str, name: str) -> str:
    start = page.index(f'id="{name}"')
    return page[start : page.index("</section>", start)]


def _alert(plant: Plant, alert_id: int) -> Alert:
    with transaction(plant.deps.engine) as session:
        return session.get_one(Alert, alert_id)


def test_a_score_is_told_by_what_it_judges(modelled: Plant, found: Mapping[str, int]):
    page = _client(modelled, "viewer").get(f"/alerts/{found[HF_UNUSUAL]}").text
    said = _section(page, "why")
    assert "expected 0.17 to 0.26 g; pattern: drift; Pump 1 state: running." in said
    assert "Pump 1 running: Yes for at least 2 min" in said
    assert "<dt>Held before the alarm</dt><dd>5 min</dd>" in said
    assert "the grey area with dashed edges" in said
    assert said.count("<figure") == 1 and "/api/v1/series/BP-01/p1_hf_g" in said
    chinese = _client(modelled, "viewer", "zh").get(f"/alerts/{found[HF_UNUSUAL]}").text
    assert "预期 0.17 至 0.26 g；特征：漂移；1号泵状态：运行。" in _section(chinese, "why")


def test_a_limit_is_told_with_what_a_model_expected(modelled: Plant, found: Mapping[str, int]):
    page = _client(modelled, "viewer").get(f"/alerts/{found[LOW_PRESSURE]}").text
    assert "below the limit of 0.44 MPa; expected 0.45 MPa." in page
    assert "(below 60 m³/h)" in _section(page, "why")


def test_an_asset_model_is_told_by_its_parts(modelled: Plant, found: Mapping[str, int]):
    page = _client(modelled, "viewer").get(f"/alerts/{found[HYDRAULICS]}").text
    said = _section(page, "why")
    order = [said.index(text) for text in ("<strong>61 %</strong>", "<strong>27 %</strong>", "<strong>12 %</strong>")]  # fmt: skip
    assert order == sorted(order)
    assert '<rect width="61" height="8"/>' in said
    assert said.count("<figure") == 2 and said.count("the dashed line is what was expected") == 1
    assert said.index("series/BP-01/flow") < said.index("series/BP-01/hydraulics.excess")
    assert 'data-limit-line="1.0"' in said[said.index("hydraulics.excess") :]


def test_what_else_was_checked_is_named_with_value_and_limit(
    modelled: Plant, found: Mapping[str, int]
):
    page = _client(modelled, "viewer").get(f"/alerts/{found[HF_UNUSUAL]}").text
    checked = _section(page, "checked")
    assert checked.count("its delay was not over") == 2
    assert checked.index("Low outlet pressure") < checked.index("Bearing hot")
    assert "above 75 °C" in checked and "farther from firing" in checked
    assert "Drive hot" in checked and "105 min old" in checked
    late = _section(_client(modelled, "viewer").get(f"/alerts/{found[HYDRAULICS]}").text, "checked")
    assert "Low outlet pressure" in late[late.index("Firing at the same time") :]


def test_lists_and_orders_have_one_sentence(modelled: Plant, found: Mapping[str, int]):
    client = _client(modelled, "viewer")
    order = _alert(modelled, found[HF_UNUSUAL]).work_order_id
    for path in ("/alerts", f"/wo/{order}"):
        assert "g, expected 0.17 to 0.26 g; pattern: drift; Pump 1 state: running." in client.get(path).text  # fmt: skip


def test_a_model_expects_one_value_where_a_band_would_be(modelled: Plant, found: Mapping[str, int]):
    window = {"start": to_ns(NOW - timedelta(hours=1)) // 10**6, "end": to_ns(NOW) // 10**6, "buckets": 60}  # fmt: skip
    client = _client(modelled, "viewer")
    flow = client.get("/api/v1/series/BP-01/flow", params=window).json()
    assert flow["lo"] == flow["hi"] and any(value is not None for value in flow["lo"])
    vibration = client.get("/api/v1/series/BP-01/p1_hf_g", params=window).json()
    assert {0.17} == {round(value, 3) for value in vibration["lo"] if value is not None}
    assert {0.26} == {round(value, 3) for value in vibration["hi"] if value is not None}


def test_the_api_gives_values_and_words_on_request(modelled: Plant, found: Mapping[str, int]):
    client = _client(modelled, "viewer")
    plain = client.get(f"/api/v1/alerts/{found[HYDRAULICS]}").json()
    assert plain["asset"] == "BP-01" and plain["held_s"] == 300 and "words" not in plain
    assert plain["why"]["parts"][0]["point"] == "flow" and plain["why"]["parts"][0]["share"] == 0.61
    assert [also["rule"] for also in plain["why"]["also"]] == [LOW_PRESSURE, HF_UNUSUAL]
    words = client.get(f"/api/v1/alerts/{found[HYDRAULICS]}?lang=zh").json()["words"]
    assert words["title"] == "水力工况异常" and words["parts"][0]["percent"] == 61
    assert words["sentence"].endswith("。") and "预期" in words["parts"][0]["text"]
    assert client.get(f"/api/v1/alerts/{found[HYDRAULICS]}?lang=fr").status_code == 422
    assert client.get(f"/api/v1/alerts/{found[HYDRAULICS]}?language=en").status_code == 422
    assert client.get("/api/v1/alerts/9999").status_code == 404


def test_alerts_of_older_versions_and_of_rules_that_are_gone_are_still_told(plant: Plant):
    old = {"template": "above", "point": "gone.anomaly", "value": 9.0, "limit": 6.0, "for_s": 60, "unit": "",
           "seen": 90.0, "expected": [None, None]}  # fmt: skip
    made = Alert(
        key="k", rule="elevator.gone", asset_id=1, severity="P3", state="firing", opened_at=NOW,
        since=NOW, value=9.0, limit=6.0, why=old,
    )  # fmt: skip
    for language in ("zh", "en"):
        told = explanation(Reader(plant.packs, language), made, "UTC")
        assert "gone" in told.sentence and told.checked == [] and told.parts == []
    made.why = {}
    assert why(Reader({}, "en"), made, "UTC") == ": 9."


def _repeat(plant: Plant, asset: str, days: int, outcome: str | None, note: str = "") -> int:
    """An overheating that many days ago, repaired with that outcome."""
    at = NOW - timedelta(days=days)
    alert = plant.fire(asset, OVERHEAT, at, limit=80, value=83.1)
    plant.clear(alert, asset, OVERHEAT, at + timedelta(minutes=30))
    order = _alert(plant, alert).work_order_id
    assert order is not None
    with transaction(plant.deps.engine) as session:
        _repair(session, order, outcome, note, days)
    return alert


def _repair(session: Session, order: int, outcome: str | None, note: str, days: int) -> None:
    at = NOW - timedelta(days=days) + timedelta(hours=1)
    if outcome is None:
        workorders.cancel(session, order, "manager", at, reason="no access")
        return
    workorders.take(session, order, "wang", at, technician_id=1)
    workorders.start(session, order, "wang", at)
    workorders.finish(session, order, "wang", at, outcome=outcome, note=note)
    if session.get_one(WorkOrder, order).status != "closed":
        workorders.close(session, order, "manager", at, note="checked")


@pytest.fixture
def repeated(plant: Plant) -> int:
    """An overheating of EL-02 that had some before; EL-01 has three."""
    _repeat(plant, "EL-02", 400, "true_fault", "too long ago")
    _repeat(plant, "EL-02", 200, "true_fault", "fan replaced")
    _repeat(plant, "EL-02", 90, "false_alarm", "nothing found")
    _repeat(plant, "EL-02", 40, "true_fault", "filter cleaned")
    _repeat(plant, "EL-02", 10, None)
    return plant.fire("EL-02", OVERHEAT, NOW, limit=80, value=84.0)


def test_what_came_before_and_how_it_ended(repeated: int, log_in: LogIn):
    similar = _section(log_in("wang").get(f"/alerts/{repeated}").text, "similar")
    here, elsewhere = similar.split("On others of this kind at the site")
    assert "4 within a year: Fault found and repaired 2, False alarm 1" in here
    assert here.count("<li>") == 3 and here.count("lasted 30 min") == 3
    assert here.index("Cancelled") < here.index("filter cleaned") < here.index("nothing found")
    assert "fan replaced" not in here and "too long ago" not in here
    assert "3 within a year" in elsewhere and elsewhere.count("EL-01") == 3


def test_notes_are_for_those_who_work_on_orders(repeated: int, log_in: LogIn):
    for path in (f"/alerts/{repeated}", f"/api/v1/alerts/{repeated}"):
        assert "filter cleaned" in log_in("wang").get(path).text
        assert "filter cleaned" not in log_in("viewer").get(path).text


def test_the_api_counts_what_came_before(repeated: int, log_in: LogIn):
    similar = log_in("manager").get(f"/api/v1/alerts/{repeated}").json()["similar"]
    assert similar["asset"]["count"] == 4
    assert similar["asset"]["outcomes"] == {"true_fault": 2, "false_alarm": 1}
    assert [past["note"] for past in similar["asset"]["newest"]] == ["", "filter cleaned", "nothing found"]  # fmt: skip
    assert [past["status"] for past in similar["asset"]["newest"]] == ["cancelled", "closed", "closed"]  # fmt: skip
    assert {past["asset"] for past in similar["others_at_site"]["newest"]} == {"EL-01"}


def test_only_what_came_before_is_similar(repeated: int, plant: Plant, log_in: LogIn):
    first = log_in("viewer").get(f"/api/v1/alerts/{repeated - 4}").json()  # that of 200 days ago
    assert first["similar"]["asset"]["count"] == 1
    assert first["similar"]["others_at_site"]["count"] == 0
