"""How far the detectors are trusted: the page, its JSON, and what a manager may say to a detector."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from pms_iot.alerts import budget
from pms_iot.alerts.tables import Alert, AlertEvent
from pms_iot.feedback.caps import Caps
from pms_iot.feedback.tables import Feedback
from pms_iot.kernel.db import transaction
from tests.web.conftest import LogIn
from tests.web.plant import NOW, Plant

UNUSUAL = "elevator.motor_temp_unusual"
TRUST = "/api/v1/detection/trust"


def fire_unusual(plant: Plant, hours_ago: float = 1) -> int:
    return plant.fire("EL-01", UNUSUAL, NOW - timedelta(hours=hours_ago), limit=6.0, value=8.0)


def repair(plant: Plant, log_in: LogIn, alert_id: int, outcome: str) -> int:
    """A technician finishes the alert's order; returns it."""
    order = order_of(plant, alert_id)
    technician = log_in("wang")
    technician.post(f"/wo/{order}/take")
    technician.post(f"/wo/{order}/start")
    finished = technician.post(f"/wo/{order}/finish", data={"outcome": outcome})
    assert finished.status_code == 303
    return order


def order_of(plant: Plant, alert_id: int) -> int:
    with transaction(plant.deps.engine) as session:
        found = session.get_one(Alert, alert_id).work_order_id
    assert found is not None
    return found


def of_point(log_in: LogIn, asset: str) -> dict[str, Any]:
    (found,) = [p for p in log_in("manager").get(TRUST).json()["points"] if p["asset"] == asset]
    return found


def said(plant: Plant, alert_id: int) -> list[tuple[str, str, str]]:
    with transaction(plant.deps.engine) as session:
        rows = session.exec(
            select(Feedback).where(Feedback.alert_id == alert_id).order_by(col(Feedback.id))
        )
        return [(row.kind, row.outcome, row.actor) for row in rows]


def test_alarms_and_outcomes_are_counted_by_point_asset_and_site(log_in: LogIn) -> None:
    found = log_in("manager").get(TRUST).json()
    pump = of_point(log_in, "BP-01")
    assert (pump["alarms"], pump["held"], pump["unconfirmed"]) == (2, 1, 1)
    assert pump["verdicts"] == {
        "true_fault": 1,
        "sensor_fault": 0,
        "false_alarm": 1,
        "no_fault_found": 0,
    }
    assert (pump["precision"], pump["limit"], pump["target"]) == (0.5, 6.9, 0.5)
    assert [(a["asset"], a["unconfirmed"], a["cap"]) for a in found["assets"]] == [("BP-01", 1, 2)]
    assert [(s["site"], s["held"], s["cap"]) for s in found["sites"]] == [("riverside", 1, 10)]
    assert found["silent"] > 5


def test_the_outcome_of_an_order_reaches_the_page_and_a_measured_alarm_does_not(
    plant: Plant, log_in: LogIn
) -> None:
    alert = fire_unusual(plant)
    assert of_point(log_in, "EL-01")["precision"] is None
    order = repair(plant, log_in, alert, "no_fault_found")
    lift = of_point(log_in, "EL-01")
    assert (lift["alarms"], lift["precision"]) == (1, 0.0)
    with transaction(plant.deps.engine) as session:
        others = session.exec(
            select(Feedback)
            .join(Alert, col(Alert.id) == col(Feedback.alert_id))
            .where(Alert.work_order_id == order, Alert.id != alert)
        ).all()
        joined = session.exec(select(Alert).where(Alert.work_order_id == order)).all()
    assert len(joined) > 1, "the order is about measured alarms too"
    assert others == []


def test_points_are_sorted_as_wished(plant: Plant, log_in: LogIn) -> None:
    for n in range(3):
        fire = fire_unusual(plant, hours_ago=10 + n)
        plant.clear(fire, "EL-01", UNUSUAL, NOW - timedelta(hours=9.5 + n))
    manager = log_in("manager")

    def first(sort: str) -> str:
        return manager.get(f"{TRUST}?sort={sort}").json()["points"][0]["asset"]

    assert first("worst") == first("alarms") == "EL-01"
    assert first("held") == first("precision") == first("asset") == "BP-01"
    assert manager.get(f"{TRUST}?sort=luck").status_code == 422


def test_a_manager_corrects_an_outcome_and_the_verdict_follows(plant: Plant, log_in: LogIn) -> None:
    alert = fire_unusual(plant)
    order = repair(plant, log_in, alert, "false_alarm")
    manager = log_in("manager")
    assert manager.post(f"/wo/{order}/outcome", data={"outcome": "true_fault"}).status_code == 422
    form = {"outcome": "true_fault", "note": "the bearing was dry"}
    assert manager.post(f"/wo/{order}/outcome", data=form).status_code == 303
    assert said(plant, alert) == [
        ("judged", "false_alarm", "wang"),
        ("withdrawn", "false_alarm", "manager"),
        ("judged", "true_fault", "manager"),
    ]
    assert of_point(log_in, "EL-01")["precision"] == 1.0
    assert "Outcome corrected" in manager.get(f"/wo/{order}").text


def test_a_manager_takes_the_level_for_normal(plant: Plant, log_in: LogIn) -> None:
    alert = fire_unusual(plant)
    assert "Take it for normal" not in log_in("wang").get(f"/alerts/{alert}").text
    manager = log_in("manager")
    assert "Take it for normal" in manager.get(f"/alerts/{alert}").text
    assert manager.post(f"/alerts/{alert}/accept").status_code == 422, "without a reason"
    taken = manager.post(f"/alerts/{alert}/accept", data={"reason": "new motor"})
    assert taken.status_code == 303
    page = manager.get(f"/alerts/{alert}").text
    assert "The detector hears it with the next sample." in page
    assert said(plant, alert) == [("accepted", "", "manager")]
    with transaction(plant.deps.engine) as session:
        event = session.exec(select(AlertEvent).where(AlertEvent.kind == "accepted")).one()
    assert (event.actor, event.detail) == ("manager", {"reason": "new motor"})


@pytest.mark.parametrize("alert", [3, 4])  # of a measured value; of safety
def test_a_measured_alarm_is_never_taken_for_normal(
    plant: Plant, log_in: LogIn, alert: int
) -> None:
    manager = log_in("manager")
    assert "Take it for normal" not in manager.get(f"/alerts/{alert}").text
    refused = manager.post(f"/alerts/{alert}/accept", data={"reason": "quiet please"})
    assert refused.status_code == 422
    assert said(plant, alert) == []


def test_an_alarm_says_what_its_outcome_did(log_in: LogIn) -> None:
    manager = log_in("manager")
    page = manager.get("/alerts/7").text
    assert "False alarm" in page and "Its limit was raised by 15 %." in page
    assert "Its limit stays as it is." in manager.get("/alerts/6").text
    assert "What it teaches the detector" not in manager.get("/alerts/3").text


def test_a_held_alarm_has_a_list_of_its_own_and_colours_nothing(
    plant: Plant, log_in: LogIn
) -> None:
    viewer = log_in("viewer")
    held = viewer.get("/alerts?state=held").text
    assert "/alerts/8" in held and "Held by the budget" in held
    assert "/alerts/8" not in viewer.get("/alerts").text
    assert "Nobody was told: this asset" in viewer.get("/alerts/8").text
    assert "/alerts/8" not in viewer.get("/a/BP-01").text
    with transaction(plant.deps.engine) as session:
        assert budget.release(session, 8, NOW, Caps()) is not None
    assert "/alerts/8" in viewer.get("/alerts").text
