"""Maps as gateways use them: a whole agent on a device, and the shipped fire panels."""

import struct

import pytest
from pms_edge.config.check import check_file
from pms_edge.config.located import Document
from pms_edge.decode.decoder import Decoder
from pms_edge.polling.planner import plan
from pms_edge.profiles.profile import load_profile, shipped_profiles
from register_device import ModbusDevice

PUMP = """\
profile: my_pump.v1
version: 1
measurement: water_pump
defaults: {class: fast, max_words: 40}
points:
  - {name: flow, at: 0, type: f32, order: CDAB, range: [0, 900], deadband: 1%, heartbeat: 1h}
  - {name: run_h, at: 2, type: bcd32}
  - {name: model, at: 10, type: string, length: 3, encoding: gb18030}
  - {name: faults, at: [20, 119], type: count, equals: [2]}
"""


def test_text_names_the_device_in_its_birth_and_values_go_by_exception(
    gateway, start_agent, engine, tmp_path
):
    (tmp_path / "pump.yaml").write_text(PUMP)
    name = struct.unpack(">3H", "循环泵".encode("gb18030"))
    run = [0x6666, 0x4366, 0x0001, 0x2345, *[0] * 6, *name, *[0] * 107]
    run[25] = run[110] = 2
    device = ModbusDevice({1: {0: run}})
    content = {
        **gateway,
        "profiles": ["."],
        "endpoints": {"plc": {"tcp": f"127.0.0.1:{device.port}"}},
        "devices": [{"id": "P-01", "profile": "my_pump.v1", "endpoint": "plc", "unit": 1}],
    }
    start_agent(content)
    engine.wait(
        lambda: any(b["devices"][0]["nameplate"] == {"model": "循环泵"} for b in engine.births)
    )
    engine.wait(lambda: sum("faults=2,q=192i" in line for line in engine.lines()) > 2)
    lines = engine.lines()
    assert sum("flow=" in line for line in lines) == 1
    assert any(" flow=230.4,run_h=12345,q=192i " in line for line in lines)
    assert sum("run_h=12345" in line for line in lines) > 1
    device.close()


@pytest.mark.parametrize(("file", "blocks"), [("gst200.v1.yaml", 3), ("gst5000.v1.yaml", 49)])
def test_a_panel_is_read_within_its_limit(file, blocks):
    path = shipped_profiles() / "fire_panel" / "devices" / file
    assert check_file(path, {}) == []
    profile = load_profile(Document(path))
    planned = plan(profile.points, profile.limits)
    assert len(planned) == blocks
    assert max(block.count for block in planned) <= 100
    matched: dict[str, int] = {}
    for block in planned:  # every point reports fire
        decoded = Decoder(block.points, start=block.start).decode(b"\0\1" * block.count)
        for part in decoded.extra.parts if decoded.extra else ():
            matched[part.point.name] = matched.get(part.point.name, 0) + part.matched
    count = next(p for p in profile.points if p.name == "fire_n")
    assert matched["fire_n"] == count.end - count.address
    assert matched["fault_n"] == 0
