"""The agent as a process with devices of all formats on a local broker; the guide's own examples."""

import json
import re
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pms_edge.config.check import check_file
from test_meokon import CAPTURED, GOLDEN

GUIDE = Path(__file__).parents[2] / "docs" / "mqtt-devices.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
PROFILES = [block for block in BLOCKS if block.startswith("profile:")]
PANEL = "rules/fire_panel/devices"
ANNOUNCED = {
    "stat_t": "z2m/room",
    "val_tpl": "{{ value_json.temperature }}",
    "dev_cla": "temperature",
    "unit_of_meas": "°C",
    "dev": {"ids": ["zigbee2mqtt_0x00158d0001"]},
}


@pytest.mark.parametrize("text", PROFILES, ids=lambda text: text.split()[1])
def test_the_profiles_of_the_guide_are_correct(text, tmp_path):
    (tmp_path / "guide.yaml").write_text(text, "utf-8")
    assert check_file(tmp_path / "guide.yaml", {}) == []


@pytest.fixture
def publisher(broker):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def with_guide(gateway: dict[str, Any], folder: Path, port: int) -> dict[str, Any]:
    for number, text in enumerate(PROFILES):
        (folder / f"guide{number}.yaml").write_text(text.replace("15m", "5s"), "utf-8")
    local = {"mqtt": f"127.0.0.1:{port}", "discovery": "homeassistant"}
    local["subscribe"] = ["GIOT-GW/UL/#"]
    room = {"id": "ROOM-1", "profile": "pump_room.v1", "ha_device": "zigbee2mqtt_0x00158d0001"}
    fan = {"id": "FAN-1", "profile": "tasmota_plug.v1", "topic": "fan-plug"}
    hydrant = {"id": "HYD-B3", "profile": "meokon_hydrant_end.v1", "topic": "SHRP25090120"}
    return {
        **gateway,
        "profiles": [".", str(GUIDE.parents[1] / PANEL)],
        "endpoints": {"local": local},
        "devices": [{**device, "endpoint": "local"} for device in (room, fan, hydrant)],
    }


def test_every_format_of_the_guide_reaches_the_engine(
    gateway, start_agent, engine, broker, publisher, tmp_path
):
    publisher.publish("homeassistant/sensor/x/t/config", json.dumps(ANNOUNCED), 1, retain=True)
    clock = {"PMS_CLOCK_FACTOR": "10"}  # health every second, expiry after half of one
    agent = start_agent(with_guide(gateway, tmp_path, broker.port), clock)
    engine.wait(lambda: any(h["endpoints"]["local"].get("adopted") for h in engine.healths))
    messages = {
        "z2m/room": '{"temperature": 21.5}',
        "stat/fan-plug/POWER": "ON",
        "tele/fan-plug/SENSOR": '{"ENERGY": {"Power": 453}}',
        "GIOT-GW/UL/SHRP25090120": CAPTURED,
        "GIOT-GW/UL/SHMK19060013": GOLDEN,
    }
    for topic, body in messages.items():
        publisher.publish(topic, body, 1)
    wanted = [
        "pump_room,site=riverside,asset=ROOM-1 temperature=21.5,q=192i",
        "fan,site=riverside,asset=FAN-1 running=1,q=192i",
        "fan,site=riverside,asset=FAN-1 power_kw=0.453,q=192i",
        "fire_panel,site=riverside,asset=HYD-B3 hydrant_end_p=0.605,end_p_low=0",
        'fan,site=riverside,asset=FAN-1 bad="power_kw",q=0i',
    ]
    engine.wait(lambda: all(any(x.startswith(w) for x in engine.lines()) for w in wanted))
    unknown = ["GIOT-GW/UL/SHMK19060013"]
    engine.wait(lambda: engine.healths[-1]["endpoints"]["local"]["unknown_topics"] == unknown)
    assert agent.stop() == 0
