"""Every injected fault is in the ground truth once, when it has begun."""

import json
import time

import pytest
from pms_simulators.clock import clock_from

SCENARIO = """
site: s
truth: truth/faults.jsonl
assets:
  - {id: EL-01, kind: elevator, modbus: {port: 0}}
  - {id: FA-01, kind: fire_panel, modbus: {port: 0}}
faults:
  - {asset: EL-01, fault: door_wear, onset: 1m, duration: 1h, severity: 0.5}
  - {asset: FA-01, fault: mains_fail, onset: 2m}
  - {asset: FA-01, fault: fire_alarm, onset: 1d}
"""


def test_begun_faults_are_recorded_once_over_restarts(start_sim, tmp_path, wait, still_clock):
    path, truth = tmp_path / "s.yaml", tmp_path / "truth" / "faults.jsonl"
    path.write_text(SCENARIO)
    environment = still_clock(600)
    for _ in range(2):
        sim = start_sim("run", path, **environment)
        wait(truth.exists, "a truth file")
        assert sim.stop() == 0
    wear, mains = (json.loads(line) for line in truth.read_text().splitlines())
    assert wear == {
        "asset": "EL-01",
        "kind": "elevator",
        "fault": "door_wear",
        "onset": "2026-06-02T01:01:00+00:00",
        "end": "2026-06-02T02:01:00+00:00",
        "severity": 0.5,
    }
    assert (mains["asset"], mains["fault"], mains["end"]) == ("FA-01", "mains_fail", None)


def test_the_clock_is_affine_in_real_time():
    clock = clock_from(
        {
            "PMS_CLOCK_ANCHOR_NS": "0",
            "PMS_CLOCK_START_NS": str(10**18),
            "PMS_CLOCK_FACTOR": "30",
        },
        real_ns=5,
    )
    assert clock.instant(1.5).isoformat() == "2001-09-09T01:46:41.500000+00:00"
    assert clock.now_ns() - 10**18 == pytest.approx(30 * time.time_ns(), rel=1e-6)
    assert clock_from({}, real_ns=5).start_ns == 5
