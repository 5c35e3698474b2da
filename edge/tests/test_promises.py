"""What the engine may expect of each point."""

from pathlib import Path

from edge_rig import PROFILE
from pms_edge.config.load import load_config
from pms_edge.promises import promises

PUMP = """\
profile: my_pump.v1
version: 1
measurement: water_pump
defaults: {class: normal}
points:
  - {name: flow, at: 0, type: i16}
  - {name: pressure, at: 1, type: i16, deadband: 5, heartbeat: 45s}
  - {name: level, at: 2, type: i16, deadband: 5}
  - {name: hours, at: 3, type: i16, class: slow, deadband: 5}
  - {name: model, at: 10, type: string, length: 8}
"""
ROOM = """\
profile: my_room.v1
version: 1
measurement: room
mqtt:
  - {topic: "{topic}/t", format: plain, points: [{name: temperature, unit: "°C"}]}
"""
GATEWAY = """\
gateway: {id: gw-01, site: riverside}
uplink: {host: broker}
profiles: [%s, %s]
classes: {fast: 500ms, normal: 10s, slow: 60s}
endpoints: {plc: {tcp: 127.0.0.1:502}, local: {mqtt: 127.0.0.1:1884}}
devices:
  - {id: EL-01, profile: test_lift.v1, endpoint: plc, unit: 1}
  - {id: EL-02, profile: test_lift.v1, endpoint: plc, unit: 2}
  - {id: PU-01, profile: my_pump.v1, endpoint: plc, unit: 3}
  - {id: RM-01, profile: my_room.v1, endpoint: local, topic: room/1}
"""


def test_each_point_is_promised_at_its_class_or_its_heartbeat(tmp_path: Path) -> None:
    devices = tmp_path / "mine" / "devices"
    devices.mkdir(parents=True)
    (devices / "my_pump.v1.yaml").write_text(PUMP)
    (devices / "my_room.v1.yaml").write_text(ROOM)
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY % (PROFILE.parents[1], tmp_path / "mine"))
    assert promises(load_config(file, {})) == {
        "test_lift.v1": {"speed": 0.5, "run": 0.5, "door": 0.5, "mode": 0.5, "trips": 60.0},
        "my_pump.v1": {"flow": 10.0, "pressure": 45.0, "level": 30.0, "hours": 60.0},
        "my_room.v1": {},  # it publishes when it likes
    }
