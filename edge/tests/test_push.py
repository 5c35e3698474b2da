"""Configuration pushed from the engine, to an agent as a process over a real broker."""

import io
import json
import time
from typing import Any

import pytest
from edge_rig import PROFILE, free_port
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.remote.push import Desired, mistakes_of
from pms_edge.remote.signed import MAX_BYTES, RefusedMessageError, read_signed, signature
from register_device import ModbusDevice
from remote_rig import KEY, ROOT, Operator, S, write_key
from ruamel.yaml import YAML
from tiny_engine import eventually

LIFT = {0: [1500, 0b1_0001, 1], 10: [1, 2]}


@pytest.fixture
def operator(broker):
    operator = Operator(broker.port)
    yield operator
    operator.close()


@pytest.fixture
def lift(gateway, tmp_path):
    """A gateway with one lift and a key; its device answers for two."""
    device = ModbusDevice({1: LIFT, 2: LIFT})
    gateway |= {
        "endpoints": {"plc": {"tcp": f"127.0.0.1:{device.port}", "timeout": "500ms"}},
        "devices": [{"id": "EL-01", "profile": "test_lift.v1", "endpoint": "plc", "unit": 1}],
        "push": {**write_key(tmp_path), "trial": "20s"},
    }
    yield gateway
    device.close()


def text(gateway: dict[str, Any], /, **more: Any) -> str:
    """A gateway file as the engine would send it: without what stays local."""
    stream = io.StringIO()
    local = {"push", "writes", "profiles"}
    content = {key: value for key, value in (gateway | more).items() if key not in local}
    YAML(typ="safe").dump(content, stream)
    return stream.getvalue()


def two_lifts(gateway: dict[str, Any], /, **more: Any) -> dict[str, str]:
    second = {"id": "EL-02", "profile": "test_lift.v1", "endpoint": "plc", "unit": 2}
    return {"gateway.yaml": text(gateway, devices=[*gateway["devices"], second], **more)}


def devices(birth: dict[str, Any]) -> list[str]:
    return [device["id"] for device in birth["devices"]]


def test_a_pushed_configuration_is_applied_and_kept_over_a_restart(
    lift, start_agent, operator, engine
):
    agent = start_agent(lift)
    eventually(lambda: operator.births)
    operator.push(two_lifts(lift))
    report = operator.report("c1", "applied")
    eventually(lambda: devices(operator.births[-1]) == ["EL-01", "EL-02"])
    assert report["config_hash"] == operator.births[-1]["config_hash"]
    assert report["config_hash"] != operator.births[0]["config_hash"]
    assert operator.births[-1]["epoch"] == agent.epoch, "the spool goes on"
    engine.wait(lambda: any("asset=EL-02" in line for line in engine.lines()))
    assert engine.gaps == []
    agent.kill()
    births = len(operator.births)
    start_agent(lift)
    eventually(lambda: len(operator.births) > births)
    assert devices(operator.births[-1]) == ["EL-01", "EL-02"]


def test_a_pushed_profile_goes_before_the_gateways_own(lift, start_agent, operator, engine):
    start_agent(lift)
    own = PROFILE.read_text("utf-8").replace("name: speed", "name: velocity")
    own = own.replace("speed: -1.0", "velocity: -1.0")
    operator.push({"gateway.yaml": text(lift), "profiles/test_lift.v1.yaml": own})
    operator.report("c1", "applied")
    engine.wait(lambda: any("velocity=1.5" in line for line in engine.lines()))


def test_every_mistake_is_reported_with_its_file_and_line(lift, start_agent, operator):
    start_agent(lift)
    broken = PROFILE.read_text("utf-8").replace("class: fast", "class: fats")
    files = {"gateway.yaml": two_lifts(lift)["gateway.yaml"].replace("unit: 2", "unit: 999")}
    operator.push({**files, "profiles/lift.yaml": broken})
    report = operator.report("c1", "refused")
    assert report["reason"] == "mistakes"
    found = "\n".join(report["mistakes"])
    assert "gateway.yaml:" in found and "devices[1].unit" in found
    assert "'fats'" in found
    assert "/" not in found.replace("profiles/", ""), "no path of the gateway"
    operator.push({"gateway.yaml": "gateway: [\n"}, id="c2")
    assert "is not valid YAML" in operator.report("c2", "refused")["mistakes"][0]
    operator.push({"profiles/lift.yaml": broken}, id="c3")
    assert operator.report("c3", "refused")["mistakes"] == ["files: has no gateway.yaml"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"gateway": {"id": "gw-02", "site": "riverside"}}, "gateway"),
        ({"spool": {"path": "elsewhere.db", "flush": "100ms"}}, "spool.path"),
        (
            {"uplink": {"host": "127.0.0.1", "password_file": "/etc/hostname"}},
            "uplink.password_file",
        ),
    ],
)
def test_what_is_local_stays_local(change, place, lift, start_agent, operator):
    start_agent(lift)
    operator.push({"gateway.yaml": text(lift, **change)})
    [mistake] = operator.report("c1", "refused")["mistakes"]
    assert mistake.endswith(f"{place}: stays as the gateway's own file has it")


def test_a_push_switches_no_writing_on(lift, start_agent, operator):
    start_agent(lift)
    extra = "writes: true\npush: {key_file: other.key}\nprofiles: [..]\n"
    operator.push({"gateway.yaml": text(lift) + extra})
    found = operator.report("c1", "refused")["mistakes"]
    assert [line.split(": ")[1] for line in found] == ["writes", "push", "profiles"]
    pump = (
        "profile: pump.w\nversion: 1\nmeasurement: water_pump\n"
        "points: [{name: a, at: 1, type: u16}]\n"
        "writes: [{name: a, at: 1, type: u16, range: [0, 9]}]\n"
    )
    second = {"id": "P1", "profile": "pump.w", "endpoint": "plc", "unit": 2}
    files = {"gateway.yaml": text(lift, devices=[second]), "profiles/pump.yaml": pump}
    operator.push(files, id="c2")
    found = operator.report("c2", "refused")["mistakes"]
    assert any(line.startswith("profiles/pump.yaml:5: writes: writes only as") for line in found)


def test_a_configuration_that_loses_the_uplink_is_rolled_back(lift, start_agent, operator, engine):
    lift["push"]["trial"] = "1s"
    start_agent(lift)
    eventually(lambda: operator.births)
    before = operator.births[0]["config_hash"]
    operator.push(two_lifts(lift, uplink={"host": "127.0.0.1", "port": free_port()}))
    report = operator.report("c1", "rolled_back")
    assert report["reason"] == "the uplink was not up within 1 s"
    assert report["config_hash"] == before
    engine.wait(lambda: engine.state[-1] == "online")
    assert engine.gaps == []
    assert {tuple(devices(birth)) for birth in operator.births} == {("EL-01",)}


def test_kill_9_during_the_trial_brings_the_previous_configuration_back(
    lift, start_agent, operator, tmp_path
):
    agent = start_agent(lift)
    eventually(lambda: operator.births)
    operator.push(two_lifts(lift, uplink={"host": "127.0.0.1", "port": free_port()}))
    state = tmp_path / "gateway.d" / "state.json"
    eventually(lambda: state.exists() and json.loads(state.read_text())["trial"] == "running")
    agent.kill()
    start_agent(lift)
    report = operator.report("c1", "rolled_back")
    assert report["reason"] == "the agent ended before the uplink was confirmed"
    assert report["config_hash"] == operator.births[0]["config_hash"]


def test_forged_replayed_expired_and_oversized_messages_change_nothing(lift, start_agent, operator):
    start_agent(lift)
    eventually(lambda: operator.births)
    files, now = two_lifts(lift), time.time_ns()
    good = {"id": "f1", "issued_ns": now, "expires_ns": now + 600 * S, "files": files}
    operator.send("cfg/desired", good, key=b"another key of thirty-two bytes!!")
    assert operator.report("f1")["reason"] == "unsigned"
    mark = signature(KEY, f"{ROOT.replace('gw-01', 'gw-02')}/cfg/desired", good | {"id": "f2"})
    operator.publish("cfg/desired", json.dumps(good | {"id": "f2", "hmac": mark}))
    assert operator.report("f2")["reason"] == "unsigned", "it was meant for another gateway"
    operator.push(files, id="e1", expires_ns=now - S)
    assert operator.report("e1")["reason"] == "expired"
    operator.push(files, id="e2", issued_ns=now + 3600 * S, expires_ns=now + 7200 * S)
    assert operator.report("e2")["reason"] == "from_the_future"
    operator.publish("cfg/desired", b"x" * (MAX_BYTES + 1))
    assert operator.report("")["reason"] == "oversized"
    operator.push({"../../etc/passwd": "x"}, id="m1")
    assert operator.report("m1")["reason"] == "malformed"
    operator.push({"gateway.yaml": text(lift)}, id="c1")
    operator.report("c1", "applied")
    operator.push(files, id="r1", issued_ns=now)
    assert operator.report("r1")["reason"] == "replayed"
    assert {tuple(devices(birth)) for birth in operator.births} == {("EL-01",)}


def test_without_a_key_nothing_pushed_is_even_looked_at(lift, start_agent, operator, tmp_path):
    start_agent(lift)
    operator.push(two_lifts(lift))
    operator.report("c1", "applied")
    start_agent.last.kill()
    births = len(operator.births)
    start_agent({key: value for key, value in lift.items() if key != "push"})
    eventually(lambda: len(operator.births) > births)
    assert devices(operator.births[-1]) == ["EL-01"]


SECTIONS = [
    "gateway",
    "uplink",
    "spool",
    "classes",
    "endpoints",
    "devices",
    "profiles",
    "push",
    "writes",
]
KEYS = st.sampled_from(
    [*SECTIONS, *["id", "site", "host", "path", "password_file", "tls", "plc", "tcp", "mqtt", "a"]]
)
SOUND = {
    "uplink": {"host": "h"},
    "endpoints": {"plc": {"tcp": "127.0.0.1:502"}},
    "devices": [{"id": "a", "profile": "a", "endpoint": "plc"}],
}
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(KEYS, NODES).map(lambda c: SOUND | c),
    st.dictionaries(KEYS, NODES) | st.text(max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_a_pushed_file_of_any_shape_is_told_its_mistakes(tmp_path_factory, content, profile):
    folder = tmp_path_factory.mktemp("p")
    (folder / "gateway.yaml").write_text(
        "gateway: {id: gw-01, site: s}\nuplink: {host: h}\nendpoints: {}\ndevices: []\n"
        "profiles: [.]\npush: {key_file: k}\n"
    )
    write_key(folder)
    (folder / "new" / "profiles").mkdir(parents=True)
    (folder / "new" / "gateway.yaml").write_text(json.dumps(content))
    (folder / "new" / "profiles" / "a.yaml").write_text(json.dumps(profile), "utf-8")
    for mistake in mistakes_of(folder / "gateway.yaml", folder / "new"):
        assert str(folder) not in mistake.replace(f"{folder}/k", "")


@given(st.binary(max_size=300) | st.text().map(lambda s: s.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_refused(body):
    with pytest.raises(RefusedMessageError):
        read_signed(Desired, body, topic="t", key=KEY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON | st.just("a"),
            "issued_ns": JSON | st.just(1),
            "expires_ns": JSON | st.just(1),
            "files": JSON | st.dictionaries(st.just("gateway.yaml"), JSON | st.text()),
            "more": JSON,
        },
    )
)
@settings(max_examples=300, deadline=None)
def test_a_signed_message_of_any_shape_is_read_or_refused_as_malformed(content):
    body = json.dumps({**content, "hmac": signature(KEY, "t", content)}).encode()
    try:
        message = read_signed(Desired, body, topic="t", key=KEY)
    except RefusedMessageError as refusal:
        assert refusal.reason == "malformed"
    else:
        message.files["gateway.yaml"].encode()
