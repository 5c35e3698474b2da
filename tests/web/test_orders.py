"""Orders through plain forms, as a phone without scripts sends them."""

import io
import re

from PIL import Image
from sqlmodel import col, select
from starlette.testclient import TestClient

from pms_iot.kernel.db import transaction
from pms_iot.workorders.tables import ChecklistItem, Photo, Technician, WorkOrder, WorkOrderEvent
from tests.web.conftest import LogIn
from tests.web.plant import Plant

FAULT = 1  # motor overheating of EL-01


def _order(plant: Plant, order_id: int) -> WorkOrder:
    with transaction(plant.deps.engine) as session:
        return session.get_one(WorkOrder, order_id)


def _preventive(plant: Plant, title: str) -> int:
    with transaction(plant.deps.engine) as session:
        found = session.exec(select(WorkOrder).where(WorkOrder.title_en == title)).first()
    assert found is not None and found.id is not None
    return found.id


def _items(plant: Plant, order_id: int) -> list[ChecklistItem]:
    query = select(ChecklistItem).where(ChecklistItem.work_order_id == order_id)
    with transaction(plant.deps.engine) as session:
        return list(session.exec(query.order_by(col(ChecklistItem.position))))


def _events(plant: Plant, order_id: int, kind: str) -> list[WorkOrderEvent]:
    query = select(WorkOrderEvent).where(
        WorkOrderEvent.work_order_id == order_id, WorkOrderEvent.kind == kind
    )
    with transaction(plant.deps.engine) as session:
        return list(session.exec(query))


def _jpeg(side: int = 2000) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", (side, side // 2), "teal").save(kept, "JPEG")
    return kept.getvalue()


def _form(client: TestClient, order_id: int) -> dict[str, str]:
    """The checklist's fields as the page shows them."""
    page = client.get(f"/wo/{order_id}").text
    hidden = dict(re.findall(r'name="(was-\d+)" value="([^"]*)"', page))
    chosen = dict(re.findall(r'name="(result-\d+)" value="(\w+)" checked', page))
    readings = dict(re.findall(r'name="(reading-\d+)" value="([^"]*)"', page))
    return {**hidden, **chosen, **readings}


def test_a_technician_repairs_a_fault(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    mine = client.get("/m").text
    assert "Motor overheating" in mine and f"/wo/{FAULT}/take" in mine
    for step, status in (("take", "assigned"), ("start", "in_progress")):
        assert client.post(f"/wo/{FAULT}/{step}").headers["location"] == f"/wo/{FAULT}"
        assert _order(plant, FAULT).status == status
    waited = client.post(f"/wo/{FAULT}/wait", data={"reason": "parts", "note": "fan ordered"})
    assert waited.status_code == 303
    assert _order(plant, FAULT).status == "waiting_parts"
    client.post(f"/wo/{FAULT}/resume")
    assert "Choose the outcome." in client.post(f"/wo/{FAULT}/finish").text
    form = {"outcome": "true_fault", "note": "fan replaced"}
    assert client.post(f"/wo/{FAULT}/finish", data=form).status_code == 303
    assert _order(plant, FAULT).status == "done"
    page = client.get(f"/wo/{FAULT}").text
    assert "fan ordered" in page and "fan replaced" in page
    assert "closes by itself once the telemetry shows" in page


def test_a_move_that_came_too_late_is_explained(log_in: LogIn):
    log_in("wang").post(f"/wo/{FAULT}/take")
    late = log_in("li").post(f"/wo/{FAULT}/take")
    assert late.status_code == 422
    assert "not possible in state “Assigned”" in late.text


def test_waiting_needs_a_reason(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    client.post(f"/wo/{FAULT}/take")
    client.post(f"/wo/{FAULT}/start")
    answer = client.post(f"/wo/{FAULT}/wait", data={"reason": "access"})
    assert answer.status_code == 422 and "Give a reason." in answer.text
    assert _order(plant, FAULT).status == "in_progress"


def test_finishing_names_the_items_that_are_missing(plant: Plant, log_in: LogIn):
    order_id = _preventive(plant, "Half-month service")
    client = log_in("wang")
    client.post(f"/wo/{order_id}/take")
    client.post(f"/wo/{order_id}/start")
    items = _items(plant, order_id)
    form = _form(client, order_id) | {f"result-{item.id}": "pass" for item in items[1:]}
    form |= {f"reading-{item.id}": "1.5" for item in items if item.evidence == "reading"}
    assert client.post(f"/wo/{order_id}/checklist", data=form).status_code == 303
    refused = client.post(f"/wo/{order_id}/finish", data={"outcome": "done"})
    assert refused.status_code == 422
    problem = refused.text[refused.text.index('class="problem"') :].split("</p>")[0]
    assert "not decided yet" in problem and items[0].text_en[:30] in problem
    assert items[1].text_en[:30] not in problem


def test_a_photo_is_kept_once_and_made_smaller(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    client.post(f"/wo/{FAULT}/take")
    for _ in range(2):
        files = {"photo": ("photo.jpg", _jpeg(), "image/jpeg")}
        assert client.post(f"/wo/{FAULT}/photo", files=files).status_code == 303
    with transaction(plant.deps.engine) as session:
        (photo,) = session.exec(select(Photo)).all()
    answer = client.get(f"/photos/{photo.id}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 1600
    assert f"/photos/{photo.id}" in client.get(f"/wo/{FAULT}").text
    refused = client.post(f"/wo/{FAULT}/photo", files={"photo": ("x.jpg", b"not a picture")})
    assert refused.status_code == 422 and "not a picture" in refused.text


def test_the_same_note_form_sent_twice_is_one_note(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    page = client.get(f"/wo/{FAULT}").text
    form = {"seen": re.findall(r'name="seen" value="(\d+)"', page)[0], "note": "bearing noisy"}
    for _ in range(2):
        assert client.post(f"/wo/{FAULT}/note", data=form).status_code == 303
    assert len(_events(plant, FAULT, "note")) == 1
    later = re.findall(r'name="seen" value="(\d+)"', client.get(f"/wo/{FAULT}").text)[0]
    client.post(f"/wo/{FAULT}/note", data={**form, "seen": later})  # said again on purpose
    assert len(_events(plant, FAULT, "note")) == 2


def test_two_people_tick_the_same_list_without_undoing_each_other(plant: Plant, log_in: LogIn):
    order_id = _preventive(plant, "Half-month service")
    client, manager = log_in("wang"), log_in("manager")
    client.post(f"/wo/{order_id}/take")
    first, second = _items(plant, order_id)[:2]
    shown_to_both = _form(client, order_id)
    one, other = {f"result-{first.id}": "pass"}, {f"result-{second.id}": "not_applicable"}
    client.post(f"/wo/{order_id}/checklist", data=shown_to_both | one)
    manager.post(f"/wo/{order_id}/checklist", data=shown_to_both | other)
    assert [item.result for item in _items(plant, order_id)[:2]] == ["pass", "not_applicable"]
    client.post(f"/wo/{order_id}/checklist", data=shown_to_both | one)  # sent twice
    assert len(_events(plant, order_id, "check")) == 2


def test_a_manager_assigns_and_cancels_with_a_reason(plant: Plant, log_in: LogIn):
    client = log_in("manager")
    with transaction(plant.deps.engine) as session:
        li = session.exec(select(Technician).where(Technician.name == "李敏")).one()
    client.post(f"/wo/{FAULT}/assign", data={"technician_id": li.id})
    assert _order(plant, FAULT).technician_id == li.id
    assert client.post(f"/wo/{FAULT}/cancel").status_code == 422
    assert client.post(f"/wo/{FAULT}/cancel", data={"reason": "test run"}).status_code == 303
    assert _order(plant, FAULT).status == "cancelled"


def test_the_board_filters_by_what_the_address_says(log_in: LogIn):
    client = log_in("viewer")
    board = client.get("/wo").text
    assert "Motor overheating" in board and "Half-month service" in board
    assert "Half-month service" not in client.get("/wo?kind=corrective").text
    only = client.get("/wo?asset=EL-02&view=list").text
    assert "No data from the lift" in only and "Motor overheating" not in only
    assert "overdue by" in client.get("/wo?overdue=1").text
    assert "No work order matches the filter." in client.get("/wo?priority=P1&asset=WT-01").text


def test_a_due_maintenance_is_skipped_only_with_a_reason(plant: Plant, log_in: LogIn):
    client = log_in("manager")
    occurrence = re.findall(r"/pm/(\d+)/skip", client.get("/pm").text)[0]
    assert client.post(f"/pm/{occurrence}/skip").status_code == 422
    done = client.post(f"/pm/{occurrence}/skip", data={"reason": "lift out of use"})
    assert done.status_code == 303
    assert "lift out of use" in client.get("/pm").text
    again = client.post(f"/pm/{occurrence}/skip", data={"reason": "again"})
    assert again.status_code == 409 and "already in work or has ended" in again.text
