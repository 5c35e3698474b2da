"""A gateway's own figures, by its health and by its event lane."""

import json

from pms_iot.kernel.db import open_engine
from pms_iot.telemetry.gateways import decode_report, gateway_samples
from pms_iot.telemetry.wire import decode
from tests.register import register

NOW = 1_800_000_000 * 10**9


def test_clock_trouble_is_one_series_whichever_way_it_comes(tmp_path):
    catalog = register(
        open_engine(f"sqlite:///{tmp_path}/core.db"),
        {"riverside": {"gateway:gw-01": ["clock_step_s", "clock_uncertain"]}},
    )
    step, unsure = (catalog.lookup("gw-01", p) for p in ("clock_step_s", "clock_uncertain"))
    health = {"at_ns": NOW, "clock": {"uncertain": True, "synchronised": None, "steps": 0}}
    said = decode_report("pms/v1/riverside/gw-01/health", json.dumps(health).encode())
    batch = gateway_samples(said, catalog, NOW)
    assert list(zip(batch.series, batch.value, strict=True)) == [(unsure, 1.0)]
    line = f"gateway,site=riverside,asset=gw-01 clock_step_s=3600.0,clock_uncertain=0,q=192i {NOW}"
    payload = f"#pms1 gw=gw-01 epoch=9f3a1c2b seq=1 n=2 base=1\n{line}\n".encode()
    event = decode("pms/v1/riverside/gw-01/event", payload, catalog, NOW).batch
    assert dict(zip(event.series, event.value, strict=True)) == {step: 3600.0, unsure: 0.0}
