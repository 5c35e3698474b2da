"""The whole agent as a process, between a Modbus device, a broker and an acking engine."""

from register_device import ModbusDevice

LIFT = {0: [1500, 0b1_0001, 1], 10: [1, 2]}


def lift(port: int, **more) -> dict:
    return {
        "endpoints": {"plc": {"tcp": f"127.0.0.1:{port}", "timeout": "500ms"}},
        "devices": [{"id": "EL-01", "profile": "test_lift.v1", "endpoint": "plc", "unit": 1}],
        **more,
    }


def test_a_modbus_value_reaches_the_engine_and_frees_the_spool(gateway, start_agent, engine):
    device = ModbusDevice({1: LIFT})
    agent = start_agent({**gateway, **lift(device.port)})
    engine.wait(lambda: any("trips=65538" in line for line in engine.lines()))
    head = "elevator,site=riverside,asset=EL-01 speed=1.5,run=1,door=1,mode=1,q=192i "
    assert any(line.startswith(head) for line in engine.lines())
    assert "online" in engine.state
    assert engine.births[0]["devices"][0]["profile"] == "test_lift.v1"
    assert agent.stop() == 0
    engine.wait(lambda: engine.state[-1] == "offline")
    device.close()
