import json
import math

import paho.mqtt.client as mqtt
import pytest
from edge_rig import PROFILE
from paho.mqtt.enums import CallbackAPIVersion
from pms_edge.batch import Batcher
from pms_edge.clock import NS
from pms_edge.config.load import Device
from pms_edge.config.located import Document
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.mqtt_in.envelope import EnvelopeDevice
from pms_edge.mqtt_in.messages import Message
from pms_edge.profiles.profile import load_profile


class Rig:
    def __init__(self, values: tuple[str, ...] = ("v",)) -> None:
        self.lines, self.counters = [], Counters()
        self.batcher = Batcher(lambda b: self.lines.extend(b.body.decode().splitlines()))
        profile = load_profile(Document(PROFILE))
        assert profile
        device = Device("EL 02", "s", profile, "local", 1, "a/b", values, 30.0)
        self.feed = DeviceFeed(device, self.batcher)
        self.json = EnvelopeDevice(self.feed, counters=self.counters, elapsed_ns=lambda: 0)

    def take(self, message: object) -> list[str]:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.json.take(Message("a/b", body, False, 7 * NS))
        self.batcher.flush()
        lines, self.lines[:] = list(self.lines), []
        return [line.rsplit(" ", 1)[0] for line in lines]


HEAD = "elevator,site=s,asset=EL\\ 02 "


def test_values_in_engineering_units_become_a_line():
    message = {"ts": 1, "q": 192, "v": {"speed": 1.25, "run": True, "mode": 1}}
    assert Rig().take(message) == [f"{HEAD}speed=1.25,run=1,mode=1,q=192i"]


def test_flat_json_is_taken_too():
    assert Rig(()).take({"ts": 1, "speed": 1.25}) == [f"{HEAD}speed=1.25,q=192i"]


def test_the_sample_is_stamped_at_arrival_not_by_the_device():
    rig = Rig()
    rig.json.take(Message("a/b", b'{"ts": 0, "v": {"speed": 1}}', False, 7 * NS))
    rig.batcher.flush()
    assert int(rig.lines[0].rsplit(" ", 1)[1]) == 7 * NS


def test_each_value_has_its_own_quality():
    message = {"v": {"speed": 9, "run": "on", "door": 1, "mode": 77}}
    assert Rig().take(message) == [
        f"{HEAD}door=1,q=192i",
        f"{HEAD}speed=9,mode=77,q=64i",
        f'{HEAD}bad="run",q=0i',
    ]


def test_the_devices_own_verdict_caps_the_quality():
    assert Rig().take({"q": 64, "v": {"speed": 1}}) == [f"{HEAD}speed=1,q=64i"]
    assert Rig().take({"q": 0, "v": {"speed": 1}}) == [f'{HEAD}bad="speed",q=0i']


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"v": {"speed": 1}', "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"v": {"speed": ' + b"1" * 5000 + b"}}", "malformed_json"),
        (b"[1, 2]", "not_an_object"),
        (b"{}", "no_values"),
        (b'{"v": [1]}', "no_values"),
        (b'{"v": null}', "no_values"),
        (b'{"q": "fine", "v": {"speed": 1}}', "unknown_quality"),
        (b'{"q": [], "v": {"speed": 1}}', "unknown_quality"),
        (b'{"v": {"sped": 1}}', "unknown_keys"),
        (b'{"v": {"speed": NaN}}', "not_a_number"),
        (b'{"v": {"speed": -Infinity}}', "not_a_number"),
        (b'{"v": {"speed": 1e999}}', "not_a_number"),
        (b'{"v": {"speed": "1"}}', "not_a_number"),
        (b'{"v": {"speed": null}}', "not_a_number"),
        (b'{"v": {"speed": {}}}', "not_a_number"),
    ],
)
def test_bad_input_is_counted_and_the_next_message_is_taken(body, kind):
    rig = Rig()
    lines = rig.take(body)
    assert rig.counters.all() == {f"mqtt_{kind}": 1}
    assert lines == ([f'{HEAD}bad="speed",q=0i'] if kind == "not_a_number" else [])
    assert rig.take({"v": {"speed": 1}}) == [f"{HEAD}speed=1,q=192i"]


def test_a_device_not_heard_for_stale_after_shows_in_health():
    rig = Rig()
    assert not rig.feed.health.report(7 * NS, 30)["ok"]
    rig.take({"v": {"speed": 1}})
    heard = rig.feed.health.report(8 * NS, 30)
    assert heard["ok"] and not math.isnan(heard["last_good_ns"])
    assert not rig.feed.health.report(600 * NS, 30)["ok"]


def test_devices_of_a_real_broker_reach_the_engine(gateway, start_agent, engine, broker):
    publisher = mqtt.Client(CallbackAPIVersion.VERSION2)
    publisher.connect("127.0.0.1", broker.port)
    publisher.loop_start()
    publisher.publish("local/EL-02/t", '{"v": {"speed": 0.5}}', 1, retain=True).wait_for_publish(5)
    device = {"id": "EL-02", "profile": "test_lift.v1", "endpoint": "local", "values": "v"}
    agent = start_agent(
        {
            **gateway,
            "endpoints": {"local": {"mqtt": f"127.0.0.1:{broker.port}"}},
            "devices": [{**device, "topic": "local/EL-02/t"}],
        }
    )
    engine.wait(lambda: engine.healths)
    for body in ("{", '{"v": {"speed": 1.5}}'):
        publisher.publish("local/EL-02/t", body, 1)
    engine.wait(lambda: any("speed=1.5,q=192i" in line for line in engine.lines()))
    assert not any("speed=0.5" in line for line in engine.lines()), "retained: of unknown age"
    publisher.disconnect()
    publisher.loop_stop()
    assert agent.stop() == 0
    assert agent.log.read_text().count("kind=mqtt_malformed_json place=local/EL-02/t") == 1
