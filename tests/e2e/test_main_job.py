"""The main job: faults of known onset in, exactly one work order for each out."""

from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pms_iot.rulepacks import load_packs, rules_root
from pms_iot.settings import InfluxSettings
from tests import servers
from tests.e2e.plant import Machine, Phone, Plant
from tests.servers import wait_for

# One after the other on one worker: together they would fight for the cores and for simulated time.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420), pytest.mark.xdist_group("e2e")]

FACTOR = 20.0
ONSET_S = 300
RUN_S = 1200  # simulated; as long as the recorded runs
SKAB = Path(__file__).parents[3] / "shared" / "data" / "SKAB"
# Of rules that open no order. A model that has learned for minutes may speak of a healthy pump.
ADVISORY = {
    rule.id
    for pack in load_packs(rules_root()).values()
    for rule in pack.rules
    if not rule.work_order
}


def fault(name: str, **progression: str) -> Mapping[str, Any]:
    return {
        "fault": name,
        "onset": f"{ONSET_S}s",
        "duration": "6h",
        "severity": 1.0,
        "progression": progression or "step",
    }


SIMULATED = [
    Machine("EL-F", "elevator", fault("brake_wear", ramp="3m")),
    Machine("BP-F", "booster_set", fault("bearing", ramp="3m")),
    Machine("FP-F", "fire_pump", fault("suction_valve_closed")),
    Machine("DP-F", "drainage_pump", fault("seal_leak", ramp="3m"), over_mqtt=True),
    Machine("FA-F", "fire_panel", fault("ground_fault")),
    Machine("EL-H", "elevator", maintained_days_ago=15),
    Machine("BP-H", "booster_set"),
    Machine("FP-H", "fire_pump"),
    Machine("DP-H", "drainage_pump", over_mqtt=True),
    Machine("FA-H", "fire_panel"),
]


def recorded(id: str, run: str) -> Machine:
    return Machine(id, "replay", replay={"file": str(SKAB / f"{run}.csv"), "rows": RUN_S})


RECORDED = [  # a real pump: a valve closed, another fault, and no fault at all
    recorded("WP1-F", "valve1/12"),
    recorded("WP2-F", "other/6"),
    recorded("WP-H", "anomaly-free/anomaly-free"),
]


def machines() -> list[Machine]:
    return SIMULATED + (RECORDED if SKAB.is_dir() else [])


@pytest.fixture(params=["embedded", "servers"])
def engine_env(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the engine stores: SQLite and the embedded store, or PostgreSQL and InfluxDB."""
    if request.param == "embedded":
        return {}
    influx: InfluxSettings = request.getfixturevalue("influx")
    database = {"PMS_DATABASE_URL": request.getfixturevalue("postgres_url")}
    return database | servers.environment_of(influx)


@pytest.fixture
def plant(tmp_path: Path, broker: servers.Server, engine_env: dict[str, str]) -> Generator[Plant]:
    with (
        Phone() as phone,
        Plant(tmp_path / "plant", broker.port, machines(), engine_env, FACTOR, phone) as running,
    ):
        yield running


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "engine killed"])
def test_each_fault_opens_exactly_one_work_order_and_health_opens_none(
    plant: Plant, killed: bool
) -> None:
    if killed:
        wait_for(lambda: plant.elapsed_s() > ONSET_S + 60, "the first fault signs", 120, 0.2)
        plant.kill("engine")
        plant.start_engine()
    faulty = {m.id for m in plant.machines if m.id.endswith("-F")}
    wait_for(
        lambda: (
            {order["asset"] for order in plant.orders()} >= faulty and plant.elapsed_s() > RUN_S
        ),
        f"an order for each of {sorted(faulty)}",
        150,
        every_s=0.5,
    )

    orders = plant.orders()
    assert sorted(order["asset"] for order in orders) == sorted(faulty), plant.alerts()
    assert [order["asset"] for order in plant.orders("preventive")] == ["EL-H"]
    assert_alerts_name_the_asset(plant, orders)
    assert_no_alert_before_its_fault(plant)
    assert_each_order_was_told_once(plant)
    assert_every_sample_is_stored_once(plant)


def assert_alerts_name_the_asset(plant: Plant, orders: list[dict[str, Any]]) -> None:
    order_of = {order["id"]: order["asset"] for order in orders}
    alerts = plant.alerts()
    assert alerts
    for alert in alerts:
        expected = None if alert["rule"] in ADVISORY else alert["asset"]
        assert order_of.get(alert["work_order_id"]) == expected, alert


def assert_no_alert_before_its_fault(plant: Plant) -> None:
    onset = {line["asset"]: datetime.fromisoformat(line["onset"]) for line in plant.truth()}
    for alert in plant.alerts():
        if alert["rule"] in ADVISORY:
            continue
        opened = alert["opened_at"]
        opened = datetime.fromisoformat(opened) if isinstance(opened, str) else opened
        opened = opened if opened.tzinfo else opened.replace(tzinfo=UTC)
        assert opened >= onset[alert["asset"]], alert


def assert_each_order_was_told_once(plant: Plant) -> None:
    orders = sorted(
        order["id"] for kind in ("corrective", "preventive") for order in plant.orders(kind)
    )
    wait_for(lambda: len(plant.phone.opened()) >= len(orders), "all messages", 20, 0.2)
    assert plant.phone.opened() == orders


def assert_every_sample_is_stored_once(plant: Plant) -> None:
    """What the gateway sent, what was committed and what can be read back is the same number."""
    plant.stop("edge")
    last = {"seq": 0}

    def at_rest() -> bool:
        (data,) = plant.rows("select * from watermark where lane = 'data'")
        still, last["seq"] = data["seq"] == last["seq"], data["seq"]
        return still

    wait_for(at_rest, "the engine to have nothing left to do", 20, every_s=1.5)
    (data,) = plant.rows("select * from watermark where lane = 'data'")
    assert data["seq"] == data["batches"] > 30
    assert data["skipped"] == 0
    assert plant.rows("select * from quarantined_message") == []
    assert plant.rows("select * from unknown_point") == []
    # A server behind the engine may still be catching up.
    wait_for(lambda: plant.samples_stored() == data["samples"], "all samples to be there", 60, 1.0)
