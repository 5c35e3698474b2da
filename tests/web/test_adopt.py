"""Adopting what arrives unasked, from the system page."""

import numpy as np
import pytest
from sqlmodel import select

from pms_iot.assets.register import apply_site, load_site
from pms_iot.assets.tables import Adoption, Asset, Point
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.maintenance.tables import MaintenancePlan
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.parked import park
from pms_iot.telemetry.quarantine import record_unknown
from pms_iot.telemetry.tables import ParkedSamples, UnknownPoint
from tests.web.conftest import LogIn
from tests.web.plant import NOW, SITE, Plant

EL01 = {"site": "riverside", "asset": "EL-01", "field": "rope_tension"}
NEW = {"site": "riverside", "asset": "EL-09", "field": "motor_temp"}
NAMED = {"kind": "elevator", "name_zh": "九号梯", "name_en": "Lift 9"}


def arrive(plant: Plant, asset: str, field: str, *values: float) -> None:
    """An unknown field comes, a sample each second until now."""
    at = to_ns(NOW) - np.arange(len(values))[::-1] * 10**9
    one = Unresolved(asset, field, at, np.array(values), np.full(len(values), 192, np.uint8))
    with transaction(plant.deps.engine) as session:
        record_unknown(session, "riverside", [one], NOW)
        park(session, "riverside", [one])


def stored(plant: Plant, asset: str, point: str) -> list[float]:
    return plant.deps.store.read(plant.series(asset, point), 0, to_ns(NOW) + 1).value.tolist()


def test_a_field_of_a_known_asset_becomes_a_point_with_its_past(plant: Plant, log_in: LogIn):
    arrive(plant, "EL-01", "rope_tension", 3.0, 3.5, 4.0)
    client = log_in("manager")
    assert "rope_tension" in client.get("/admin").text
    words = {"label_zh": "钢丝绳张力", "label_en": "Rope tension", "unit": "kN"}
    answer = client.post("/admin/adopt", data=EL01 | words)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin#unknown")
    assert stored(plant, "EL-01", "rope_tension") == [3.0, 3.5, 4.0]
    info = plant.deps.catalog.info(plant.series("EL-01", "rope_tension"))
    assert (info.unit, info.label_zh, info.label_en) == ("kN", "钢丝绳张力", "Rope tension")
    assert "Rope tension" in client.get("/a/EL-01").text
    page = client.get("/admin").text
    assert "Every field that arrives is in the register." in page
    assert '<td data-label="By">manager</td>' in page


def test_an_unknown_asset_is_registered_with_the_points_and_plans_of_its_kind(
    plant: Plant, log_in: LogIn
):
    arrive(plant, "EL-09", "motor_temp", 40.0, 41.0)
    arrive(plant, "EL-09", "run", 1.0)
    client = log_in("manager")
    assert client.post("/admin/adopt", data=NEW | NAMED | {"unit": "K"}).status_code == 303
    assert stored(plant, "EL-09", "motor_temp") == [40.0, 41.0]
    assert stored(plant, "EL-09", "run") == [1.0], "the whole asset is known now"
    info = plant.deps.catalog.info(plant.series("EL-09", "motor_temp"))
    pack = plant.packs["elevator"].points["motor_temp"]
    assert (info.unit, info.label_zh) == (pack.unit, pack.label.zh), "the pack's, not the form's"
    with transaction(plant.deps.engine) as session:
        asset = session.exec(select(Asset).where(Asset.code == "EL-09")).one()
        assert (asset.kind, asset.name_zh, asset.name_en) == ("elevator", "九号梯", "Lift 9")
        plans = select(MaintenancePlan).where(MaintenancePlan.asset_id == asset.id)
        assert len(session.exec(plans).all()) == len(plant.packs["elevator"].plans)
        keys = session.exec(select(Point.key).where(Point.asset_id == asset.id)).all()
        assert set(keys) == set(plant.packs["elevator"].points)
        assert not session.exec(select(ParkedSamples)).all()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (NEW, "Choose what kind of equipment"),
        (
            NEW | {"kind": "gateway", "name_zh": "a", "name_en": "b"},
            "Choose what kind of equipment",
        ),
        (NEW | {"kind": "elevator", "name_zh": "九"}, "Name the asset in both languages."),
        (NEW | NAMED | {"asset": "EL 09"}, "code has letters"),
        (EL01 | {"field": "a\nb"}, "cannot be the key of a point"),
        (EL01 | {"field": "f" * 201}, "cannot be the key of a point"),
    ],
)
def test_what_cannot_be_adopted_is_refused_in_words(
    plant: Plant, log_in: LogIn, form: dict[str, str], said: str
):
    answer = log_in("manager").post("/admin/adopt", data=form)
    assert answer.status_code == 422
    assert said in answer.text
    with transaction(plant.deps.engine) as session:
        assert not session.exec(select(Adoption)).all()
        assert not session.exec(select(Asset).where(Asset.code == "EL-09")).all()


def test_adopting_twice_and_the_site_file_change_nothing(plant: Plant, log_in: LogIn):
    client = log_in("manager")
    client.post("/admin/adopt", data=EL01)
    client.post("/admin/adopt", data=NEW | NAMED | {"field": "own_field"})
    series = plant.series("EL-01", "rope_tension"), plant.series("EL-09", "own_field")
    client.post("/admin/adopt", data=EL01)
    with transaction(plant.deps.engine) as session:
        points = {kind: list(pack.points.values()) for kind, pack in plant.packs.items()}
        applied = apply_site(session, load_site(SITE, plant.packs), points, NOW)
        assert (applied.created, applied.updated) == (0, 0)
        assert len(session.exec(select(Adoption)).all()) == 2
    plant.deps.catalog.refresh()
    assert (plant.series("EL-01", "rope_tension"), plant.series("EL-09", "own_field")) == series


def test_the_page_says_how_much_is_parked_and_given_up(plant: Plant, log_in: LogIn):
    arrive(plant, "EL-01", "rope_tension", *map(float, range(7)))
    with transaction(plant.deps.engine) as session:
        row = session.exec(select(UnknownPoint)).one()
        row.evicted = 4711
        session.add(row)
    page = log_in("manager").get("/admin").text
    assert '<td class="n" data-label="Parked">7</td>' in page
    assert '<td class="n overdue" data-label="Given up">4711</td>' in page
