"""Writes: signed, expected, bounded, done once, read back, recorded; never to a lift or fire equipment."""

import asyncio
import json
import struct
import time

import pytest
from edge_rig import PROFILE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pms_edge.decode.encode import decode_one, encode, registers
from pms_edge.modbus import NoReplyError, RefusedError
from pms_edge.profiles.writes import WriteEntry, _point
from pms_edge.remote.attempt import Attempt
from pms_edge.remote.commands import WriteCommand
from pms_edge.remote.journal import REMEMBERED, Journal
from pms_edge.remote.signed import RefusedMessageError, read_signed, signature
from pymodbus.constants import ExcCodes
from register_device import ModbusDevice
from remote_rig import KEY, Operator, S, write_key
from tiny_engine import eventually

PUMP = """
profile: test_pump.w
version: 1
measurement: water_pump
defaults: {class: fast}
points:
  - {name: pressure, at: 0, type: u16, scale: 0.1}
  - {name: power, at: 2, type: f32}
writes:
  - {name: setpoint, at: 0, type: u16, scale: 0.1, range: [20, 60]}
  - {name: limit, at: 2, type: f32, order: CDAB, range: [0, 100]}
"""


@pytest.fixture
def operator(broker):
    operator = Operator(broker.port)
    yield operator
    operator.close()


@pytest.fixture
def device():
    device = ModbusDevice({1: {0: [300, 0, 0, 0x41A0]}, 2: {0: [1500, 1, 1], 10: [1, 2]}})
    yield device
    device.close()


@pytest.fixture
def pump(gateway, device, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "test_pump.w.yaml").write_text(PUMP)
    return gateway | {
        "profiles": [str(PROFILE.parents[1]), "own"],
        "endpoints": {"plc": {"tcp": f"127.0.0.1:{device.port}", "timeout": "400ms"}},
        "devices": [
            {"id": "P1", "profile": "test_pump.w", "endpoint": "plc", "unit": 1},
            {"id": "EL-01", "profile": "test_lift.v1", "endpoint": "plc", "unit": 2},
        ],
        "push": write_key(tmp_path),
        "writes": True,
    }


@pytest.fixture
def running(pump, start_agent, operator, device):
    agent = start_agent(pump)
    eventually(lambda: operator.births and device.requests)
    return agent


def journal(folder):
    return [json.loads(line) for line in (folder / "spool.writes.jsonl").read_text().splitlines()]


def test_a_value_is_written_read_back_and_recorded(running, operator, device, tmp_path, engine):
    operator.write(35.5, 30)
    result = operator.result("w1")
    assert (result["ok"], result["before"], result["after"]) == (True, 30.0, 35.5)
    operator.write(12.5, 20.0, id="w2", point="limit")
    assert operator.result("w2")["status"] == "done"
    assert device.writes == [(1, 0, [355]), (1, 2, [0x0000, 0x4148])]
    engine.wait(lambda: any("pressure=35.5" in line for line in engine.lines()))
    asked, done = journal(tmp_path)[:2]
    assert (asked["what"], asked["by"], asked["value"]) == ("received", "op-7", 35.5)
    assert (done["what"], done["status"], done["before"]) == ("result", "done", 30.0)
    assert KEY.decode() not in (tmp_path / "spool.writes.jsonl").read_text()
    assert "hmac" not in asked
    engine.wait(lambda: any(h["counters"].get("write_ok") == 2 for h in engine.healths))


def test_each_refusal_has_its_reason_and_touches_nothing(running, operator, device, tmp_path):
    now = time.time_ns()
    asked = {
        "expired": {"expires_ns": now - S},
        "expires_too_late": {"expires_ns": now + 7200 * S},
        "unknown_device": {"device": "P9"},
        "unknown_point": {"point": "speed"},
        "out_of_range": {"value": 60.1},
        "not_representable": {"value": 30.05},
        "kind_refused": {"device": "EL-01"},
        "malformed": {"by": "Zhang San"},
        "expect_mismatch": {"expect": 31},
    }
    for id, change in asked.items():
        operator.write(**{"value": 40, "expect": 30, "id": id, **change})
    for reason in asked:
        result = operator.result(reason)
        assert (result["status"], result["reason"]) == ("refused", reason)
    assert operator.result("expect_mismatch")["before"] == 30.0
    operator.publish("cmd/write", "no JSON")
    assert operator.result("")["reason"] == "malformed"
    content = {"id": "forged", "device": "P1", "point": "setpoint", "value": 40, "expect": 30}
    content |= {"expires_ns": now + 30 * S, "by": "x"}
    operator.send("cmd/write", content, key=b"another key of thirty-two bytes!!")
    assert operator.result("forged")["reason"] == "unsigned"
    assert device.writes == []
    reasons = {entry.get("reason") for entry in journal(tmp_path)}
    assert reasons >= {"expired", "kind_refused", "malformed", "expect_mismatch"}


def test_a_repeated_command_is_answered_again_and_done_once_also_after_kill_9(
    running, pump, start_agent, operator, device
):
    content = {"id": "w1", "device": "P1", "point": "setpoint", "value": 40, "expect": 30}
    content |= {"expires_ns": time.time_ns() + 300 * S, "by": "op-7"}
    operator.send("cmd/write", content)
    first = operator.result("w1")
    operator.send("cmd/write", content)
    eventually(lambda: operator.answers["cmd/res"] == [first, first])
    running.kill()
    births = len(operator.births)
    start_agent(pump)
    eventually(lambda: len(operator.births) > births)
    operator.send("cmd/write", content)
    eventually(lambda: operator.answers["cmd/res"] == [first] * 3)
    assert device.writes == [(1, 0, [400])]


def test_a_write_without_an_answer_is_unknown_and_not_repeated(running, operator, device):
    device.on_write = lambda unit, address: 3.0
    operator.write(40, 30)
    result = operator.result("w1")
    assert (result["ok"], result["status"], result["reason"]) == (False, "unknown", "unknown")
    assert result["after"] in (None, 30.0, 40.0)
    assert device.writes == [(1, 0, [400])]


def test_a_refusal_of_the_device_and_a_value_that_does_not_stay_are_told(running, operator, device):
    device.on_write = lambda unit, address: ExcCodes.ILLEGAL_VALUE
    operator.write(40, 30)
    assert operator.result("w1")["reason"] == "device_refused"
    device.on_write = lambda unit, address: -1.0
    operator.write(40, 20, id="w2", point="limit")
    result = operator.result("w2")
    assert (result["status"], result["reason"]) == ("failed", "read_back_differs")
    assert result["after"] == 20.0


def test_a_command_cut_off_by_kill_9_is_unknown_and_not_done_again(
    running, pump, start_agent, operator, device, tmp_path
):
    device.on_write = lambda unit, address: 5.0
    content = {"id": "w1", "device": "P1", "point": "setpoint", "value": 40, "expect": 30}
    content |= {"expires_ns": time.time_ns() + 300 * S, "by": "op-7"}
    operator.send("cmd/write", content)
    eventually(lambda: device.writes)
    running.kill()
    births = len(operator.births)
    start_agent(pump)
    eventually(lambda: len(operator.births) > births)
    operator.send("cmd/write", content)
    result = operator.result("w1")
    assert (result["status"], result["reason"]) == ("unknown", "cut_off_by_a_restart")
    assert device.writes == [(1, 0, [400])]


@pytest.mark.parametrize(("switch", "reason"), [("writes", "writes_off"), ("push", "unsigned")])
def test_writes_are_off_unless_the_gateways_own_file_says_so(
    switch, reason, pump, start_agent, operator, device
):
    off = {key: value for key, value in pump.items() if key not in (switch, "writes")}
    start_agent(off)
    eventually(lambda: operator.births)
    operator.write(40, 30)
    assert operator.result("w1")["reason"] == reason
    assert device.writes == []


def test_a_pump_at_the_address_of_a_lift_is_not_written(pump, start_agent, operator, device):
    pump["devices"][0]["unit"] = 2
    start_agent(pump)
    eventually(lambda: operator.births)
    operator.write(40, 30)
    assert operator.result("w1")["reason"] == "kind_refused"
    assert device.writes == []


def write_point(**more):
    entry = {"name": "x", "at": 0, "type": "u16", "range": [-1e9, 1e9], **more}
    return _point(WriteEntry.model_validate(entry), base=0, order="ABCD")


class Registers:
    """A reader that answers from a list of what each request meets, in order."""

    def __init__(self, *script):
        self.script, self.written = list(script), []

    async def read(self, *_):
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def write(self, unit, kind, address, values, timeout_s):
        self.written.append((unit, kind, address, list(values)))
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said

    def close(self): ...


OLD, NEW, SILENT = b"\0\1", b"\0\2", NoReplyError("no reply")


@pytest.mark.parametrize(
    ("script", "verdict", "writes"),
    [
        ([OLD, None, NEW], "done", 1),
        ([OLD, None, OLD], "read_back_differs", 1),
        ([NEW], "expect_mismatch", 0),
        ([SILENT], "no_reply", 0),
        ([RefusedError(2)], "device_refused", 0),
        ([OLD, RefusedError(3)], "device_refused", 1),
        ([OLD, SILENT, NEW], "unknown", 1),
        ([OLD, SILENT, SILENT], "unknown", 1),
        ([OLD, None, SILENT], "unknown", 1),
    ],
)
def test_what_came_of_a_write_is_told_without_guessing(script, verdict, writes):
    reader = Registers(*script)
    attempt = Attempt(1, write_point(), NEW, OLD, 1.0)
    assert asyncio.run(attempt.run(reader)) == verdict
    assert len(reader.written) == writes and reader.script == []


@given(
    st.sampled_from(["i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"]),
    st.sampled_from(["ABCD", "BADC", "CDAB", "DCBA"]),
    st.sampled_from([1, 0.1, 0.001, 10, -0.5]),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_what_is_encoded_decodes_to_the_same(kind, order, scale, data):
    code = {"i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q"}.get(kind)
    if code:
        bits = 8 * struct.calcsize(code)
        low = -(1 << bits - 1) if kind[0] == "i" else 0
        top = min(low + (1 << bits) - 1, 1 << 50)
        raw = data.draw(st.integers(max(low, -(1 << 50)), top))
    else:
        raw = data.draw(st.floats(-1e6, 1e6, width=32))
    point = write_point(type=kind, order=order, scale=scale)
    wire = struct.pack(">" + (code or {"f32": "f", "f64": "d"}[kind]), raw)
    value = decode_one(write_point(type=kind, scale=scale), wire)
    assert value is not None
    again = decode_one(point, encode(point, value))
    assert again == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert all(0 <= word <= 0xFFFF for word in registers(point, encode(point, value)))


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ({}, 65536), ({}, -1), ({}, 1.5), ({"scale": 0.1}, 0.05), ({"type": "i16"}, 32768),
        ({"type": "f32"}, 1e39), ({"type": "u64"}, 1 << 64),
        ({"type": "bit", "kind": "coil"}, 2), ({"type": "bit", "kind": "coil"}, 0.5),
    ],
)  # fmt: skip
def test_what_a_register_cannot_hold_is_no_write(more, value):
    with pytest.raises(ValueError, match=r"fit|between|coil"):
        encode(write_point(**more), value)


def test_a_coil_is_one_bit():
    coil = write_point(type="bit", kind="coil")
    assert (encode(coil, 1), registers(coil, b"\1"), decode_one(coil, b"\0")) == (b"\1", [1], 0)


def asked(id: str, expires_ns: int = 10) -> dict:
    return {"id": id, "expires_ns": expires_ns}


def test_the_journal_remembers_over_a_restart_and_a_torn_line(tmp_path):
    file = tmp_path / "w.jsonl"
    journal = Journal(file)
    journal.begun(1, asked("a"))
    journal.ended({"id": "a", "ok": True})
    journal.begun(2, asked("b"))
    with file.open("ab") as stream:
        stream.write(b'{"what":"received","id":"c"')
    again = Journal(file)
    assert again.result("a") == {"id": "a", "ok": True}
    assert again.knows("b") and again.result("b") is None
    assert not again.knows("c")
    again.begun(3, asked("d"))
    assert Journal(file).knows("d")
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_journal_forgets_only_what_has_expired(tmp_path):
    journal = Journal(tmp_path / "w.jsonl")
    for number in range(REMEMBERED):
        journal._known[f"{number}"] = (10, None)
    assert not journal.has_room(9)
    assert journal.has_room(10)


@given(st.binary(max_size=200))
@example(b'{"what":"received","id":[],"expires_ns":1}\n')
@example(b'{"what":"result","id":{}}\n5\nnull\n')
@settings(max_examples=200, deadline=None)
def test_a_damaged_journal_is_read_for_what_it_has(tmp_path_factory, body):
    file = tmp_path_factory.mktemp("j") / "w.jsonl"
    file.write_bytes(body)
    journal = Journal(file)
    journal.begun(1, asked("a"))
    assert Journal(file).knows("a")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("a")


@given(st.dictionaries(st.sampled_from([*WriteCommand.model_fields, "x"]), VALUES))
@settings(max_examples=300, deadline=None)
def test_a_command_of_any_shape_is_read_or_refused_as_malformed(content):
    content.pop("hmac", None)
    body = json.dumps({**content, "hmac": signature(KEY, "t", content)}).encode()
    try:
        command = read_signed(WriteCommand, body, topic="t", key=KEY)
    except RefusedMessageError as refusal:
        assert refusal.reason == "malformed"
    else:
        assert command.value == command.value
