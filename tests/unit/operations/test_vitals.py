"""What vital signs mean."""

from dataclasses import replace
from typing import Any

import pytest

from pms_iot.operations.vitals import Vitals, warnings, why_dead, why_not_ready
from pms_iot.telemetry.disk import DiskStatus
from pms_iot.telemetry.meters import Distribution

NOTHING = Distribution((), (0,), 0.0)
WELL = Vitals(True, False, True, 0.0, 0, 0.0, NOTHING, NOTHING, {}, None)


def disk(state: Any) -> DiskStatus:
    return DiskStatus(state, 1, 10, 5, None)


@pytest.mark.parametrize(
    ("signs", "parts"),
    [
        ({}, set()),
        ({"disk": disk("ok")}, set()),
        ({"disk": disk("low")}, set()),
        ({"disk": disk("full")}, {"disk"}),
        ({"connected": False}, {"broker"}),
        ({"waiting": True, "oldest_wait_s": 90.0}, {"pipeline"}),
        ({"oldest_wait_s": 59.0}, set()),
        ({"oldest_wait_s": 61.0}, {"consumer"}),
        ({"busy_s": 121.0}, {"pipeline"}),
        ({"alive": False, "connected": False}, {"pipeline", "broker"}),
    ],
)
def test_each_reason_not_to_be_ready_names_its_part(signs: Any, parts: set[str]):
    assert why_not_ready(replace(WELL, **signs)).keys() == parts


def test_a_store_that_is_away_needs_no_restart():
    assert why_dead(replace(WELL, waiting=True, busy_s=10_000.0)) == {}


def test_a_disk_that_fills_up_is_a_warning():
    assert warnings(replace(WELL, disk=disk("low"))) == {"disk": "nearly full"}
    assert warnings(WELL) == {} == warnings(replace(WELL, disk=disk("ok")))
