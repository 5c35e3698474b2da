"""When what wears will reach its limit, as pages say it."""

from datetime import UTC, datetime, timedelta

from starlette.testclient import TestClient

from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant

MADE = NOW - timedelta(hours=2)  # 12:30 at the site
ABOUT = "about 2026-12-12, between 2026-12-05 and 2026-12-24"
SAID = f"Brake slip will reach its limit of 10 mm {ABOUT}."


def foresee(
    plant: Plant,
    days: float,
    low: float,
    high: float,
    at: datetime = MADE,
    point: str = "brake_slip",
) -> None:
    values = {"days_left": days, "days_lo": low, "days_hi": high}
    plant.arrive("EL-01", {f"{point}.{key}": value for key, value in values.items()}, at)


def speaking(client: TestClient, language: str) -> TestClient:
    client.cookies.set("pms_language", language)
    return client


def test_the_asset_and_the_calendar_say_the_date_and_the_interval(plant: Plant, log_in: LogIn):
    client = speaking(log_in("viewer"), "en")
    assert "Predicted work" not in client.get("/a/EL-01").text
    foresee(plant, 19.2, 12.3, 31.1)
    for path in ("/a/EL-01", "/pm", "/pm?asset=EL-01"):
        page = client.get(path).text
        assert "Predicted work" in page, path
        assert SAID in page, path
    for path in ("/a/EL-02", "/pm?asset=EL-02"):
        assert "Predicted work" not in client.get(path).text, path
    day = client.get("/pm?month=2026-12").text.split('datetime="2026-12-12"')[1].split("</div>")[0]
    assert "EL-01 Brake slip" in day and "Predicted" in day
    chinese = speaking(client, "zh").get("/pm").text
    assert (
        "制停滑移预计 2026-12-12 前后（2026-12-05 至 2026-12-24 之间）达到限值 10 mm。" in chinese
    )


def test_days_are_those_of_the_site(plant: Plant, log_in: LogIn):
    """16:00 UTC is midnight in Shanghai."""
    for minutes, day in ((-1, "2026-11-24"), (1, "2026-11-25")):
        left = datetime(2026, 11, 24, 16, tzinfo=UTC) + timedelta(minutes=minutes) - MADE
        days = left.total_seconds() / 86_400
        foresee(plant, days, days, days, at=MADE + timedelta(seconds=minutes))
        page = speaking(log_in("viewer"), "en").get("/a/EL-01").text
        # The forecast is made a little later each time, by less than what lies to midnight.
        assert f"about {day}" in page


def test_the_nearest_comes_first(plant: Plant, log_in: LogIn):
    foresee(plant, 30, 20, 50)
    foresee(plant, 8, 5, 12, point="car_vib")
    page = speaking(log_in("viewer"), "en").get("/pm").text
    assert page.index("Car vibration will reach") < page.index("Brake slip will reach")


def test_what_is_there_already_is_said_so(plant: Plant, log_in: LogIn):
    foresee(plant, 0, 0, 0)
    page = speaking(log_in("viewer"), "en").get("/a/EL-01").text
    assert "Brake slip has reached its limit of 10 mm." in page


def test_a_trend_that_has_ended_or_is_old_is_not_shown(plant: Plant, log_in: LogIn):
    client = speaking(log_in("viewer"), "en")
    foresee(plant, 19.2, 12.3, 31.1, at=NOW - timedelta(hours=19))
    assert "Predicted work" not in client.get("/a/EL-01").text
    foresee(plant, 19.2, 12.3, 31.1)
    assert "Predicted work" in client.get("/a/EL-01").text
    foresee(plant, 90, 90, 90, at=NOW)  # the detector's word for "not within the horizon"
    assert "Predicted work" not in client.get("/a/EL-01").text


def test_the_alert_says_what_was_forecast_when_it_fired_and_what_is_now(
    plant: Plant, log_in: LogIn
):
    client = speaking(log_in("viewer"), "en")
    foresee(plant, 19.2, 12.3, 31.1, at=MADE)
    rule = "elevator.brake_wear_forecast"
    alert = plant.fire("EL-01", rule, MADE, limit=14.0, template="below", value=19.2, unit="d")
    assert SAID in client.get(f"/alerts/{alert}").text
    foresee(plant, 5, 4, 6, at=NOW)
    assert "about 2026-11-28" in client.get(f"/alerts/{alert}").text
    plant.clear(alert, "EL-01", rule, NOW)
    assert SAID in client.get(f"/alerts/{alert}").text
