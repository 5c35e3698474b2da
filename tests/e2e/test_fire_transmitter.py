"""A fire panel behind a transmission device (GB/T 26875.3): from the frame to one work order."""

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.plant import Machine, Phone, Plant
from tests.servers import Server, free_port, listens, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("e2e")]

# Published frames (edge/tests/golden/gb26875.yaml): a smoke detector of zone 10, point 2 reports fire.
FIRE = bytes.fromhex(
    "404001000101203A091A090C790300000000385B0100000030000202010101280A0002000200"
    + "20" * 30
    + "00023A091A090C462323"
)
CONFIRM = 3


@pytest.fixture
def plant(tmp_path: Path, broker: Server) -> Generator[Plant]:
    with Phone() as phone:
        machines = [Machine("FA-01", "fire_panel")]
        plant = Plant(tmp_path / "plant", broker.port, machines, {}, 1.0, phone)
        plant.start_engine()
        yield plant
        plant.__exit__()


def restored(fire: bytes) -> bytes:
    """The same component at rest again, with the next serial."""
    body = bytearray(fire[2:-3])
    body[0], body[34] = 2, 1  # serial; low byte of the state word
    return b"@@" + bytes(body) + bytes([sum(body) % 256]) + b"##"


def test_a_fire_report_opens_one_order_and_its_end_resolves_the_alert(plant: Plant) -> None:
    port = free_port()
    plant.start_gateway(
        endpoints={"fire": {"gb26875": f"127.0.0.1:{port}"}},
        devices=[
            {
                "id": "FA-01",
                "profile": "fire_panel.gb26875.v1",
                "endpoint": "fire",
                "address": "000000000379",
            }
        ],
    )
    wait_for(lambda: listens(port), "the gateway to listen", timeout_s=60)
    with socket.create_connection(("127.0.0.1", port), 30) as device:
        device.sendall(FIRE)
        assert device.recv(4096)[26] == CONFIRM
        wait_for(lambda: plant.alerts() and plant.orders(), "the fire alarm", timeout_s=60)
        device.sendall(FIRE)  # as a device repeats it when the confirmation got lost
        device.sendall(restored(FIRE))
        wait_for(lambda: plant.alerts()[0]["state"] == "resolved", "its end", timeout_s=60)
    [alert] = plant.alerts()
    assert (alert["rule"], alert["asset"]) == ("fire_panel.fire", "FA-01")
    assert [order["asset"] for order in plant.orders()] == ["FA-01"]
