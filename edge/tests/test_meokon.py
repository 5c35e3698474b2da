"""Frames of MEOKON terminals. The golden ones stand in the vendor's own description."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_rig import Rig
from pms_edge.clock import NS
from pms_edge.mqtt_in.meokon import FIELDS, crc16, decode
from pms_edge.mqtt_in.messages import MalformedError

# "智能无线终端通讯协议 V3.0", section 2, example; 0.538 MPa now, the last record 2019-07-01 01:49:42 UTC.
GOLDEN = (
    "a5 5a 00 00 3b 53 48 4d 4b 31 39 30 36 30 30 31 33 34 c8 00 3c 00 0a 01 02 00 64 01 f4 02 1a "
    "5d 19 66 b6 02 19 02 1a 02 16 02 18 02 18 02 13 02 1e 02 1c 02 1d 02 1d 7e 03 55 aa"
)
LAST_S = 1_561_945_782
# A captured one of a terminal that keeps no history: interval 0, one record.
CAPTURED = "A55A00002953485250323530393031323034D0000000010100000009C4025D68FFB887025D843E55AA"


def frame(kind=1, alarms=0, live=500, records=(), *, interval=60, battery=20, last=LAST_S, **more):
    """Composed here by the table, with another CRC than the decoder's."""
    name = more.get("name", b"SHMK19060013")
    middle = struct.pack(">hhhI", more.get("low", 100), more.get("high", 800), live, last)
    body = name + struct.pack(">BbHHBB", battery, -70, interval, len(records), kind, alarms)
    body += middle + b"".join(struct.pack(">h", value) for value in records)
    head = struct.pack(">HBH", 0xA55A, more.get("command", 0), len(body) + 9)
    return head + body + struct.pack(">HH", table_crc(head + body), 0x55AA)


def table_crc(data: bytes) -> int:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


@pytest.mark.parametrize(
    "payload", [bytes.fromhex(GOLDEN), GOLDEN.encode(), GOLDEN.upper().encode()]
)
def test_the_vendors_example_decodes_as_its_text_says(payload):
    found = decode(payload)
    assert found.id == "SHMK19060013"
    assert found.values["pressure_kpa"] == 538
    assert (found.values["limit_low_kpa"], found.values["limit_high_kpa"]) == (100, 500)
    assert (found.values["battery"], found.values["external_power"]) == (100, 0)
    assert found.values["rssi"] == -56
    assert (found.values["alarm_high"], found.values["alarm_low"]) == (1, 0)
    assert [value for _, value in found.records] == [
        *(537, 538, 534, 536, 536, 531, 542, 540, 541, 541)
    ]
    instants = [at_ns // NS for at_ns, _ in found.records]
    assert instants == [LAST_S - 60 * n for n in range(9, -1, -1)]


def test_a_captured_frame_without_history():
    found = decode(CAPTURED.encode())
    assert (found.id, found.values["pressure_kpa"]) == ("SHRP25090120", 605)
    assert found.records == ((1_761_589_383 * NS, 605),)


@pytest.mark.parametrize(("kind", "kpa"), [(0, 12.3), (1, 123), (2, 123)])
def test_the_type_gives_the_unit(kind, kpa):
    assert decode(frame(kind, live=123)).values["pressure_kpa"] == kpa
    assert decode(frame(kind, live=-123)).values["pressure_kpa"] == -kpa


def test_of_hydrant_terminals_only_what_is_known_is_read():
    values = decode(frame(24, alarms=0b1110_0001)).values
    assert {k for k, v in values.items() if k.startswith("alarm") and v} == {
        *("alarm_low", "alarm_impact", "alarm_tilt", "alarm_discharge"),
    }
    assert "pressure_kpa" not in values
    assert decode(frame(34, alarms=0x80)).values["alarm_discharge"] == 1


GOOD = frame(records=(1, 2, 3))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "meokon_not_a_frame"),
        (b"zz", "meokon_not_a_frame"),
        (b"a55", "meokon_not_a_frame"),
        (GOOD[:20], "meokon_short"),
        (GOOD[:-1], "meokon_not_a_frame"),
        (GOOD + b"\0", "meokon_not_a_frame"),
        (GOOD[:30] + b"\x7f" + GOOD[31:], "meokon_crc"),
        (frame(7), "meokon_unknown_type"),
        (frame(command=1), "meokon_unknown_type"),
    ],
)
def test_what_is_no_whole_frame_is_refused(payload, kind):
    with pytest.raises(MalformedError) as refused:
        decode(payload)
    assert refused.value.kind == kind


def test_a_count_that_is_not_the_records_is_refused():
    wrong = bytearray(GOOD)
    wrong[22] += 1
    wrong[-4:-2] = struct.pack(">H", table_crc(wrong[:-4]))
    with pytest.raises(MalformedError) as refused:
        decode(bytes(wrong))
    assert refused.value.kind == "meokon_records"


@given(st.binary(max_size=80))
def test_no_bytes_upset_the_decoder(noise):
    for payload in (noise, b"\xa5\x5a" + noise, noise.hex().encode()):
        with pytest.raises(MalformedError):
            decode(payload)


@given(st.data())
def test_one_wrong_byte_is_always_noticed(data):
    place = data.draw(st.integers(0, len(GOOD) - 1))
    wrong = bytearray(GOOD)
    wrong[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedError):
        decode(bytes(wrong))


@given(
    st.lists(st.integers(-(1 << 15), (1 << 15) - 1), max_size=600),
    st.integers(0, 9999),
    st.sampled_from([0, 1, 2]),
    st.integers(0, 255),
)
def test_every_frame_of_the_table_decodes(records, interval, kind, battery):
    found = decode(frame(kind, records=records, interval=interval, battery=battery))
    assert len(found.records) == (min(len(records), 1) if interval == 0 else len(records))
    assert set(found.values) <= FIELDS
    assert 0 <= found.values.get("battery", 0) <= 100


@given(st.binary(max_size=60))
def test_the_crc_is_that_of_modbus(data):
    assert crc16(data) == table_crc(data)


MAPPING = """\
  - topic: "GIOT-GW/UL/{topic}"
    format: meokon
    points:
      - {name: pressure, path: pressure_kpa, scale: 0.001, unit: MPa, range: [0, 2.5]}
      - {name: low, path: alarm_low, type: bool, event: true}
"""
TOPIC = "GIOT-GW/UL/SHMK19060013"


@pytest.fixture
def rig():
    rig = Rig(MAPPING, topic="SHMK19060013")
    rig.now = (LAST_S + 3) * NS
    return rig


def test_history_is_stamped_by_the_terminal_and_the_live_value_at_arrival(rig):
    assert rig.take(frame(live=500, records=(480, 490)), TOPIC) == [
        f"pressure=0.48,q=192i @{(LAST_S - 60) * NS}",
        f"pressure=0.49,q=192i @{LAST_S * NS}",
        "pressure=0.5,low=0,q=192i",
    ]


def test_history_that_was_sent_is_not_sent_again(rig):
    rig.take(frame(records=(480, 490)), TOPIC)
    rig.now += 60 * NS
    lines = rig.take(frame(records=(480, 490, 495), last=LAST_S + 60).hex().encode(), TOPIC)
    assert lines == [f"pressure=0.495,q=192i @{(LAST_S + 60) * NS}", "pressure=0.5,low=0,q=192i"]


def test_history_of_a_terminal_without_a_clock_is_left_out_and_counted(rig):
    assert rig.take(frame(records=(480, 490), last=60), TOPIC) == ["pressure=0.5,low=0,q=192i"]
    assert rig.counters.all() == {"mqtt_implausible_time": 1}


def test_a_retained_frame_gives_its_history_only(rig):
    lines = rig.take(frame(records=(490,)), TOPIC, retained=True)
    assert lines == [f"pressure=0.49,q=192i @{LAST_S * NS}"]


def test_a_frame_of_another_terminal_is_refused(rig):
    assert rig.take(frame(name=b"SHMK19060014"), TOPIC) == []
    assert rig.counters.all() == {"mqtt_meokon_other_device": 1}


def test_what_a_frame_does_not_hold_is_counted(rig):
    assert rig.take(frame(34), TOPIC) == ["low=0,q=192i"]
    assert rig.counters.all() == {"mqtt_meokon_not_in_frame": 1}
