import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_rig import NOW, Rig
from pms_edge.clock import NS
from pms_edge.mqtt_in.messages import Message

ROOM = """\
  - format: homeassistant
    points:
      - {name: temperature, unit: "°C", range: [-40, 80], discovered: {device_class: temperature}}
      - {name: door, type: bool, discovered: {object_id: contact, component: binary_sensor}}
      - {name: power, scale: 0.001, unit: kW, discovered: {unique_id: plug_power, unit_of_measurement: W}}
"""
DEVICE = {"identifiers": ["zigbee2mqtt_0x01"], "name": "Pump room"}
TEMPERATURE = {
    "state_topic": "zigbee2mqtt/room",
    "value_template": "{{ value_json.temperature }}",
    "device_class": "temperature",
    "unit_of_measurement": "°C",
    "unique_id": "0x01_temperature",
    "device": DEVICE,
}
# Zigbee2MQTT sends booleans, and false when the contact is open.
CONTACT = {
    "stat_t": "zigbee2mqtt/room",
    "val_tpl": "{{ value_json.contact }}",
    "pl_on": False,
    "pl_off": True,
    "dev_cla": "door",
    "dev": {"ids": "zigbee2mqtt_0x01"},
}
TEMPERATURE_AT = "homeassistant/sensor/0x01/temperature/config"
CONTACT_AT = "homeassistant/binary_sensor/0x01/contact/config"


@pytest.fixture
def rig():
    return Rig(ROOM, ha="zigbee2mqtt_0x01")


def announce(rig: Rig, config: dict, at: str = TEMPERATURE_AT) -> list[str]:
    return rig.take(config, at, retained=True)


def test_announced_entities_become_the_declared_points(rig):
    announce(rig, TEMPERATURE)
    announce(rig, CONTACT, CONTACT_AT)
    assert rig.changes[-1] >= {"zigbee2mqtt/room"}
    lines = rig.take({"temperature": 21.5, "contact": False}, "zigbee2mqtt/room")
    assert lines == ["temperature=21.5,q=192i", "door=1,q=192i"]
    assert rig.take({"contact": True, "battery": 80}, "zigbee2mqtt/room") == ["door=0,q=192i"]
    assert rig.counters.all() == {}


def test_a_state_that_is_neither_on_nor_off_is_bad(rig):
    announce(rig, {**CONTACT, "pl_on": "open", "pl_off": "shut"}, CONTACT_AT)
    assert rig.take({"contact": "ajar"}, "zigbee2mqtt/room") == ['bad="door",q=0i']
    assert rig.take({"contact": "OPEN"}, "zigbee2mqtt/room") == ["door=1,q=192i"]


def test_the_base_topic_stands_in_for_a_tilde_and_scales_apply(rig):
    config = {
        "~": "tele/plug",
        "stat_t": "~/power",
        "avty_t": "~/LWT",
        "unit_of_meas": "W",
        "uniq_id": "plug_power",
        "dev": {"cns": [["mac", "zigbee2mqtt_0x01"]]},
    }
    announce(rig, config, "homeassistant/sensor/plug/config")
    assert rig.take(b"453", "tele/plug/power") == ["power=0.453,q=192i"]


def test_one_message_may_announce_a_device_with_its_entities(rig):
    config = {
        "dev": {"ids": ["zigbee2mqtt_0x01"]},
        "o": {"name": "x"},
        "~": "base",
        "cmps": {
            "t": {"p": "sensor", "dev_cla": "temperature", "val_tpl": "{{ value_json.t }}"},
            "contact": {"p": "binary_sensor", "stat_t": "~/door"},
            "relay": {"p": "switch", "cmd_t": "~/set"},
        },
        "stat_t": "~/state",
    }
    announce(rig, config, "homeassistant/device/0x01/config")
    assert rig.take({"t": 20}, "base/state") == ["temperature=20,q=192i"]
    assert rig.take(b"ON", "base/door") == ["door=1,q=192i"]
    del config["cmps"]["contact"]
    lines = announce(rig, config, "homeassistant/device/0x01/config")
    assert lines == ['bad="door",q=0i'], "taken back"


def test_a_withdrawn_entity_is_bad_and_not_listened_to(rig):
    announce(rig, TEMPERATURE)
    assert rig.take(b"", TEMPERATURE_AT) == ['bad="temperature",q=0i']
    assert "zigbee2mqtt/room" not in rig.changes[-1]
    assert rig.take({"temperature": 1}, "zigbee2mqtt/room") == []


def test_the_same_announcement_again_changes_nothing(rig):
    announce(rig, {**TEMPERATURE, "avty_t": "z/state"})
    rig.take(b"offline", "z/state")
    changes = len(rig.changes)
    assert announce(rig, {**TEMPERATURE, "avty_t": "z/state"}) == []
    assert len(rig.changes) == changes
    assert rig.take(b"offline", "z/state") == [], "it was offline already"


def test_entities_that_nobody_declared_are_listed_with_topic_and_unit(rig):
    announce(rig, {**TEMPERATURE, "device": {"ids": ["another"]}})
    [unused] = rig.adoption.report()["discovered_unused"]
    assert (unused["topic"], unused["unit"]) == ("zigbee2mqtt/room", "°C")
    assert unused["device"] == "another"
    announce(rig, {**TEMPERATURE, "device_class": "humidity"})
    assert len(rig.adoption.report()["discovered_unused"]) == 1, "changed, not added"


def test_the_lists_in_health_are_bounded(rig):
    for n in range(2100):
        config = {**TEMPERATURE, "device": {"ids": [str(n)]}}
        announce(rig, config, f"homeassistant/sensor/{n}/config")
    report = rig.adoption.report()
    assert len(report["discovered_unused"]) == 50
    assert rig.counters.get("mqtt_discovered_too_many") == 100


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"value_template": "{{ value_json.t | float(0) }}"}, "template"),
        ({"unit_of_measurement": "°F"}, "discovery_unit"),
        ({"state_topic": None}, "discovery_topic"),
        ({"state_topic": "a/#"}, "discovery_topic"),
        ({"off_delay": 30}, "discovery_off_delay"),
        ({"unit_of_measurement": ["°C"]}, "discovery_shape"),
        ({"device": "x"}, "discovery_not_an_object"),
    ],
)
def test_an_entity_that_could_be_misread_is_refused_and_named(rig, change, why):
    announce(rig, {**TEMPERATURE, **change})
    [refused] = rig.adoption.report()["discovery_refused"]
    assert (refused["topic"], refused["why"]) == (TEMPERATURE_AT, why)
    if why == "template":
        assert refused["text"] == "{{ value_json.t | float(0) }}"
    assert sum(rig.counters.all().values()) == 1
    announce(rig, TEMPERATURE)
    assert rig.adoption.report()["discovery_refused"] == [], "mended"
    assert rig.take({"temperature": 1}, "zigbee2mqtt/room") == ["temperature=1,q=192i"]


def test_a_second_entity_for_the_same_point_is_refused(rig):
    announce(rig, TEMPERATURE)
    announce(rig, {**TEMPERATURE, "state_topic": "other"}, "homeassistant/sensor/0x01/t2/config")
    [refused] = rig.adoption.report()["discovery_refused"]
    assert refused["why"] == "discovery_twice"
    assert rig.take({"temperature": 9}, "other") == []


def test_offline_marks_bad_at_once_and_a_value_makes_good_again(rig):
    announce(rig, {**TEMPERATURE, "availability_topic": "z/state"})
    rig.take({"temperature": 21}, "zigbee2mqtt/room")
    assert rig.take(b"offline", "z/state", retained=True) == ['bad="temperature",q=0i']
    assert rig.take(b"offline", "z/state") == []
    assert rig.take({"temperature": 22}, "zigbee2mqtt/room") == ["temperature=22,q=192i"]


@pytest.mark.parametrize(("mode", "bad"), [("all", True), ("any", False), ("latest", True)])
def test_availability_modes(rig, mode, bad):
    topics = [{"topic": "z/bridge", "value_template": "{{ value_json.state }}"}, {"t": "z/dev"}]
    announce(rig, {**TEMPERATURE, "avty": topics, "avty_mode": mode})
    rig.take(b"online", "z/dev")
    lines = rig.take({"state": "offline"}, "z/bridge")
    assert lines == (['bad="temperature",q=0i'] if bad else [])


def test_who_is_announced_after_its_bridge_went_offline_is_offline(rig):
    announce(rig, {**CONTACT, "avty_t": "z/state"}, CONTACT_AT)
    rig.take(b"offline", "z/state")
    lines = announce(rig, {**TEMPERATURE, "avty_t": "z/state"})
    assert lines == ['bad="temperature",q=0i']


def test_expire_after_of_the_entity_counts_where_the_profile_says_nothing(rig):
    announce(rig, {**TEMPERATURE, "expire_after": 30})
    rig.take({"temperature": 21}, "zigbee2mqtt/room")
    assert rig.expire(29) == []
    assert rig.expire(2) == ['bad="temperature",q=0i']


def test_retained_states_count_only_with_a_time_of_their_own():
    rig = Rig(ROOM, ha="zigbee2mqtt_0x01")
    announce(rig, TEMPERATURE)
    body = {"temperature": 20, "last_seen": "2023-11-14T22:13:10Z"}
    assert rig.take(body, "zigbee2mqtt/room", retained=True) == []
    timed = Rig(
        ROOM.replace("points:", "time: {path: last_seen, unit: iso}\n    points:", 1),
        ha="zigbee2mqtt_0x01",
    )
    announce(timed, TEMPERATURE)
    lines = timed.take(body, "zigbee2mqtt/room", retained=True)
    assert lines == [f"temperature=20,q=192i @{NOW - 10 * NS}"]


@pytest.mark.parametrize(
    "topic", ["homeassistant/switch/x/config", "homeassistant/sensor/x/state", "zigbee2mqtt/bridge"]
)
def test_other_topics_are_none_of_its_business(rig, topic):
    rig.take(TEMPERATURE, topic)
    assert rig.known == [False, False]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = [*TEMPERATURE, *CONTACT, "~", "avty", "avty_t", "cmps", "exp_aft", "avty_mode"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.binary(max_size=60))
def test_no_announcement_upsets_the_others(config, state):
    rig = Rig(ROOM, ha="zigbee2mqtt_0x01")
    announce(rig, TEMPERATURE)
    for topic in (CONTACT_AT, "homeassistant/device/x/config"):
        body = json.dumps({**CONTACT, **config}).encode()
        rig.adoption.take(Message(topic, body, True, NOW))
        rig.adoption.take(Message(topic, state, True, NOW))
        rig.adoption.take(Message("zigbee2mqtt/room", state, False, NOW))
    # The door may have been moved to this topic, and then cannot read the message.
    assert "temperature=1,q=192i" in rig.take({"temperature": 1}, "zigbee2mqtt/room")
