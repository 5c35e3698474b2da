"""What the pages say."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import transaction
from pms_iot.web.formats import duration, number
from pms_iot.web.status import worst
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant, build, fill, open_plant, password_of


def _card(page: str, code: str) -> str:
    return next(card for card in page.split("<article")[1:] if f'href="/a/{code}"' in card)


def test_the_overview_tells_the_worst_state_and_each_assets_own(log_in: LogIn):
    page = log_in("viewer").get("/").text
    site = page[page.index("<tbody>") : page.index("</tbody>")]
    assert "Riverside Gardens" in site and "Critical" in site
    assert "Critical" in _card(page, "EL-01") and "86.4" in _card(page, "EL-01")
    assert "Major" in _card(page, "EL-02") and "5 h ago" in _card(page, "EL-02")
    assert "Normal" in _card(page, "BP-01") and "0.421" in _card(page, "BP-01")
    assert "Not monitored" in _card(page, "WT-01")
    assert "s-unknown" in _card(page, "gw-01"), "what was never heard is grey, not normal"


def test_an_asset_out_of_service_is_calm(plant: Plant, log_in: LogIn):
    with transaction(plant.deps.engine) as session:
        asset = session.exec(select(Asset).where(Asset.code == "BP-01")).one()
        asset.in_service = False
        session.add(asset)
    assert "Out of service" in _card(log_in("viewer").get("/").text, "BP-01")


def test_values_that_stop_coming_turn_stale(plant: Plant, log_in: LogIn):
    client = log_in("viewer")
    assert "s-normal" in _card(client.get("/").text, "BP-01")
    plant.deps.clock.advance(3600)  # the plant's clock is a ManualClock
    card = _card(client.get("/").text, "BP-01")
    assert "s-stale" in card and "value stale" in card


def test_the_worst_of_known_and_unknown_is_not_normal():
    assert worst(["normal", "unknown"]) == "unknown"
    assert worst(["normal", "stale", "P3"]) == "P3"
    assert worst([]) == "unknown"


def test_an_asset_shows_its_life_cycle_and_warns_before_the_inspection(log_in: LogIn):
    client = log_in("viewer")
    page = client.get("/a/EL-01").text
    for fact in ("Harbour Lifts", "HL-2019-00417", "梯11沪A01234", "2019-04-02", "(expired)"):
        assert fact in page
    assert "2026-12-10 within 30 days" in page
    assert "2026-11-01 overdue" in client.get("/a/EL-02").text
    link = re.findall(r'href="(/documents/\d+)"', page)[0]
    answer = client.get(link)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert client.get("/a/NO-99").status_code == 404


def test_the_point_and_window_of_the_chart_stand_in_the_address(log_in: LogIn):
    client = log_in("viewer")
    page = client.get("/a/EL-01?point=load&span=1h").text
    figure = page[page.index("<figure") : page.index("</figure>")]
    assert "/api/v1/series/EL-01/load" in figure
    start, end = (int(re.findall(rf'data-{edge}="(\d+)"', figure)[0]) for edge in ("start", "end"))
    assert end - start == 3_600_000
    assert "/api/v1/series/EL-01/motor_temp" in client.get("/a/EL-01").text
    assert client.get("/a/EL-01?span=9y").status_code == 422


def test_an_alarm_says_why_in_words(log_in: LogIn):
    client = log_in("viewer")
    assert (
        "Motor temperature was 84.6 °C, above the limit of 80 °C." in client.get("/alerts/3").text
    )
    assert "Door zone: No." in client.get("/alerts/4").text
    silent = client.get("/alerts/5").text
    assert "No data since 2026-11-23 09:30:00; at most 3 min without data is permitted." in silent
    client.cookies.set("pms_language", "zh")
    assert "电机温度为 84.6 °C，高于限值 80 °C。" in client.get("/alerts/3").text


def test_a_score_is_explained_by_what_was_measured_and_expected(plant: Plant, log_in: LogIn):
    rule = next(
        rule
        for rule in plant.packs["elevator"].rules
        if rule.points and rule.points[0].endswith(".excess")
    )
    point = rule.points[0]
    alert = plant.fire("EL-01", rule.id, NOW, limit=4.0, point=point, value=6.25, seen=71.0, expected=[40.0, 48.5])  # fmt: skip
    page = log_in("viewer").get(f"/alerts/{alert}").text
    assert "6.25; alarm above 4" in page
    assert " was 71 °C, expected 40 to 48.5 °C." in page
    figure = page[page.index("<figure") : page.index("</figure>")]
    assert f"/api/v1/series/EL-01/{point.removesuffix('.excess')}" in figure
    assert "data-limit-line" not in figure, "the limit is of the score, not of the point shown"


def test_alarms_are_grouped_filtered_and_counted(log_in: LogIn):
    client = log_in("viewer")
    open_now = client.get("/alerts").text
    assert open_now.count("<article") == 2
    assert client.get("/alerts?asset=EL-02").text.count("<article") == 1
    cleared = client.get("/alerts?state=cleared").text
    assert "2 times" in cleared and cleared.count("<article") == 2
    assert "No alarm matches the filter." in client.get("/alerts?severity=P4").text
    assert "Nothing is shelved." in client.get("/alerts?state=shelved").text
    assert client.get("/alerts?state=nonsense").status_code == 422


def test_acknowledging_and_shelving(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    answer = client.post("/alerts/3/acknowledge", data={"next": "/alerts"})
    assert answer.headers["location"] == "/alerts"
    assert "Acknowledged by wang" in client.get("/alerts").text
    late = client.post("/alerts/3/shelve", data={"hours": 9, "reason": "waiting for the fan"})
    assert late.status_code == 422 and "at most 8 hours" in late.text
    mute = client.post("/alerts/3/shelve", data={"hours": 2, "reason": " "})
    assert mute.status_code == 422 and "Say why" in mute.text
    client.post("/alerts/3/shelve", data={"hours": 2, "reason": "waiting for the fan"})
    assert "Shelved until 2026-11-23 16:30" in client.get("/alerts/3").text
    assert "Motor overheating" in client.get("/alerts?state=shelved").text
    safety = client.post("/alerts/4/shelve", data={"hours": 1, "reason": "no"})
    assert safety.status_code == 422 and "never shelved" in safety.text
    with transaction(plant.deps.engine) as session:
        assert session.get_one(Alert, 4).shelved_until is None


def test_similar_alarms_and_how_they_ended(log_in: LogIn):
    page = log_in("viewer").get("/alerts/3").text
    similar = page[page.index('id="similar"') :]
    assert similar.count("lasted 60 min") == 2


def test_the_calendar_shows_due_and_planned_dates(log_in: LogIn):
    client = log_in("viewer")
    page = client.get("/pm?month=2026-11").text
    assert page.count('class="day') == 42
    assert "overdue by 7 d" in page and "o-forecast" in page
    assert 'datetime="2027-02-01"' in client.get("/pm?month=2027-02").text
    assert 'datetime="2026-11-23"' in client.get("/pm?month=gibberish").text


def test_nothing_is_lost_silently(log_in: LogIn):
    page = log_in("manager").get("/admin").text
    for sign in ("rope_tension", "line 1: no seq", "connection refused", "given up", "1 of 2 answer",
                 "expired 2026-06-30", "614400", "79123", "Spool over its cap"):  # fmt: skip
        assert sign in page, sign


def test_every_page_works_on_postgresql(postgres_url: str, tmp_path: Path):
    build(tmp_path, postgres_url)
    plant = open_plant(tmp_path, url=postgres_url)
    fill(plant)
    client = TestClient(plant.app, headers={"accept-language": "en"})
    form = {"username": "wang", "password": password_of("wang")}
    assert "My work" in client.post("/login", data=form).text
    for step in ("take", "start", "note"):
        data = {"note": "fan replaced", "seen": 1} if step == "note" else None
        assert client.post(f"/wo/1/{step}", data=data).status_code == 200
    assert client.post("/alerts/3/acknowledge").status_code == 200
    client.cookies.delete("pms_session")
    client.post("/login", data={"username": "manager", "password": password_of("manager")})
    for path in ("/", "/alerts", "/alerts?state=shelved", "/alerts/3", "/a/EL-01", "/wo", "/wo/1",
                 "/m", "/pm", "/admin", "/readyz"):  # fmt: skip
        assert client.get(path).status_code == 200, path
    plant.deps.store.close()
    plant.deps.engine.dispose()


def test_an_empty_plant_says_what_to_do(tmp_path: Path):
    build(tmp_path)
    plant = open_plant(tmp_path)
    with transaction(plant.deps.engine) as session:
        for asset in session.exec(select(Asset)):
            asset.retired_on = NOW.date()
            session.add(asset)
    client = TestClient(plant.app, headers={"accept-language": "en"})
    form = {"username": "viewer", "password": password_of("viewer")}
    assert "No equipment is registered yet." in client.post("/login", data=form).text
    assert "No open alarms." in client.get("/alerts").text
    assert "No work orders." in client.get("/wo").text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0, "0"), (86.4, "86.4"), (0.42137, "0.4214"), (-3.0, "-3"),
     (1234.567, "1235"), (1e-9, "0"), (123456789.0, "123456789")],
)  # fmt: skip
def test_numbers_keep_four_digits(value: float | None, text: str):
    assert number(value) == text


def test_durations_name_one_unit():
    assert duration(timedelta(seconds=-5), "en") == "0 s"
    assert duration(119, "en") == "119 s"
    assert duration(120, "en") == "2 min"
    assert duration(timedelta(days=3), "zh") == "3 天"


def test_what_detectors_make_is_folded_away_and_states_stand_beside_the_name(log_in: LogIn):
    page = log_in("viewer").get("/a/EL-01").text
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "Motor temperature, anomaly score" in folded
    assert "Energy per trip" not in folded
    live = page[page.index('id="live-values"') : page.index("<details>")]
    assert "Energy per trip" in live and "anomaly score" not in live
    head = page[page.index("<h1>") : page.index('class="split"')]
    assert "Operating state" in head
