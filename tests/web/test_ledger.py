"""The ledger on its pages and in JSON, and the completeness beside what is computed from telemetry."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import numpy as np
import pytest
from starlette.testclient import TestClient

from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.maintenance.service import tick
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.ledger.books import Books
from pms_iot.telemetry.store import SampleStore
from pms_iot.web import create_app
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant

DAY_MS = 86_400_000
NOW_MS = to_ns(NOW) // 1_000_000


def test_a_day_of_a_gateway_is_told_hour_by_hour(log_in: LogIn):
    answer = log_in("viewer").get("/api/v1/ledger/gateways", params={"day": "2026-11-23"}).json()
    assert (answer["day"], answer["zone"]) == ("2026-11-23", "Asia/Shanghai")
    [gateway] = answer["gateways"]
    hours = gateway["hours"]
    assert len(hours) == 24
    assert hours[0]["at"] == (NOW - timedelta(hours=14, minutes=30)).timestamp()  # midnight there
    by_age = {n: next(h for h in hours if h["at"] == to_ns(NOW - timedelta(hours=n, minutes=30)) / 1e9) for n in range(6)}  # fmt: skip
    assert (by_age[3]["expected"], by_age[3]["values"], by_age[3]["completeness"]) == (720, 0, 0)
    assert (by_age[4]["late"], by_age[4]["completeness"]) == (700, 1)
    assert by_age[5]["completeness"] == pytest.approx(520 / 720)
    assert (by_age[2]["skipped"], by_age[2]["duplicate_samples"]) == (78, 36)
    assert hours[20]["expected"] == 0 and hours[20]["completeness"] is None  # not yet
    assert gateway["late"] == 700 and gateway["unknown"] == 4
    assert 0.9 < gateway["completeness"] < 1


def test_an_asset_has_its_points_and_its_gaps_with_their_causes(log_in: LogIn):
    query = {"start": NOW_MS - DAY_MS, "end": NOW_MS}
    answer = log_in("viewer").get("/api/v1/ledger/assets/EL-01", params=query).json()
    points = {point["point"]: point for point in answer["points"]}
    motor = points["motor_temp"]
    assert (
        motor["period_s"] == 5 and motor["stored"] == 8388 - 7
    )  # what is younger than 65 s may still come
    assert motor["completeness"] == pytest.approx(8388 / 17_280, abs=0.01)
    assert points["car_vib"]["completeness"] is None  # never heard of by the books
    assert answer["gaps_of"] == "motor_temp"
    [gap] = answer[
        "gaps"
    ]  # 0.7 h, 15 hours ago, while the broker said that the gateway was offline
    assert gap["end"] - gap["start"] == pytest.approx(0.7 * 3600, abs=20)
    assert gap["causes"] == ["gateway"]
    assert gap["why"] == ["gateway: offline"]


def test_a_bad_question_is_refused(log_in: LogIn):
    client = log_in("viewer")
    url = "/api/v1/ledger/assets/EL-01"
    assert client.get(url, params={"start": 5, "end": 5}).status_code == 422
    assert client.get(url, params={"start": 0, "end": NOW_MS}).status_code == 422
    query = {"start": NOW_MS - 1000, "end": NOW_MS}
    assert client.get("/api/v1/ledger/assets/NO-99", params=query).status_code == 404
    assert client.get(url, params={**query, "point": "nonsense"}).status_code == 404
    assert client.get("/api/v1/ledger/gateways", params={"day": "soon"}).status_code == 422
    assert client.get("/ledger/NO-99").status_code == 404
    for odd in ("soon", "9999-12-31", "0001-01-01"):
        assert "2026-11-23" in client.get("/ledger", params={"day": odd}).text


def test_the_page_of_a_day_says_each_hour_in_words(log_in: LogIn):
    client = log_in("manager")
    page = re.sub(r"\s+", " ", client.get("/ledger").text)
    assert 'href="/ledger" aria-current="page"' in page
    hours = re.findall(r'<li class="h-(\w+)".*?</li>', page)
    assert len(hours) == 24 and hours[11] == "none" and hours[20] == "idle"
    assert "nothing came: 0 of 720 samples" in page
    assert "complete: 720 of 720 samples, late: 700" in page
    assert "batches lost: 78" in page
    assert "offline, says the broker" in page and "goes on" in page
    yesterday = client.get("/ledger", params={"day": "2026-11-20"}).text
    assert "Nobody was away on this day." not in page and "Nobody was away" in yesterday
    assert "/ledger?day=2026-11-19" in yesterday
    assert 'href="/ledger"' not in log_in("viewer").get("/").text


def test_the_page_of_an_asset_leads_from_points_to_gaps(log_in: LogIn):
    client = log_in("manager")
    page = client.get("/ledger/EL-01", params={"day": "2026-11-22"}).text
    assert "Gateway down or out of reach" in client.get("/ledger/EL-01?day=2026-11-22").text
    assert "/ledger/EL-01?day=2026-11-22&amp;point=motor_temp" in page.replace(
        "&point", "&amp;point"
    )
    assert "No point of this equipment has ever spoken." in client.get("/ledger/EL-02").text


def test_the_chart_says_how_complete_its_window_is(plant: Plant, log_in: LogIn):
    page = log_in("viewer").get("/a/EL-01", params={"point": "motor_temp", "span": "1h"}).text
    assert re.search(r"Completeness of this window</a> 5\d(\.\d)? %", page)
    assert "Completeness of this window" not in log_in("viewer").get("/a/EL-01?point=mode").text


def test_maintenance_due_by_a_meter_says_how_complete_its_readings_are(plant: Plant, log_in: LogIn):
    templates = [plan for pack in plant.packs.values() for plan in pack.plans]
    metered = next(p for p in templates if p.kind == "booster_set" and p.meter)
    assert metered.meter is not None
    at = to_ns(NOW) - np.arange(7 * 24 * 60, 0, -2) * 60 * 10**9  # every other of its 60 s
    number = plant.series("BP-01", metered.meter.points[0])
    batch = Batch.of(np.full(len(at), number), at, np.ones(len(at)))
    plant.deps.store.write(batch)
    with transaction(plant.deps.engine) as session:
        Books(plant.deps.catalog).meet(session, batch)
    for reading in (0.0, 1e9):
        tick(
            plant.deps.engine, templates, NOW, lambda places, at=reading: dict.fromkeys(places, at)
        )
    client = log_in("viewer")
    assert "readings of 7 days: 50 %" in client.get("/pm", params={"asset": "BP-01"}).text
    away = create_app(replace(plant.deps, store=AwayStore(plant.deps.store)))
    session_cookie = client.cookies["pms_session"]
    deaf = TestClient(away, cookies={"pms_session": session_cookie})
    answer = deaf.get("/pm", params={"asset": "BP-01"})  # the calendar does not wait for it
    assert answer.status_code == 200 and "readings of 7 days" not in answer.text
    assert deaf.get("/ledger").status_code == 200
    assert deaf.get("/ledger/BP-01").status_code == 503


class AwayStore:
    """A store that answers nothing."""

    def __init__(self, real: SampleStore) -> None:
        self.write, self.read, self.read_many = self._away, self._away, self._away
        self.downsample, self.latest, self.close = self._away, self._away, real.close

    def _away(self, *_: object) -> NoReturn:
        raise StoreUnavailableError("away")
