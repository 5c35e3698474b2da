"""The examples of the specifications, byte for byte."""

import pytest
from pms_edge.modbus import NoReplyError, RefusedError
from pms_edge.modbus.frames import crc16, rtu_frame, take_tcp, tcp_frame
from pms_edge.modbus.pdu import answer_of, read_request, write_request

UNIT = b"\x11"

# MODBUS Application Protocol V1.1b3: clause, what is asked, request, response, what it says.
READS = [
    ("6.1", "coil", 0x13, 19, "010013 0013", "0103 CD6B05", "1011001111010110101"),
    ("6.2", "discrete", 0xC4, 22, "0200C4 0016", "0203 ACDB35", "0011010111011011101011"),
    ("6.3", "holding", 0x6B, 3, "03006B 0003", "0306 022B00000064", "022B00000064"),
    ("6.4", "input", 0x08, 1, "040008 0001", "0402 000A", "000A"),
]
WRITES = [
    ("6.5", "coil", 0xAC, [1], "0500AC FF00", "0500AC FF00"),
    ("6.6", "holding", 0x01, [3], "060001 0003", "060001 0003"),
    ("6.11", "coil", 0x13, [1, 0, 1, 1, 0, 0, 1, 1, 1, 0], "0F0013 000A 02CD01", "0F0013 000A"),
    ("6.12", "holding", 0x01, [0x000A, 0x0102], "100001 0002 04 000A 0102", "100001 0002"),
]


@pytest.mark.parametrize(
    ("kind", "address", "count", "request_hex", "reply_hex", "said"),
    [row[1:] for row in READS],
    ids=[row[0] for row in READS],
)
def test_reads_are_the_examples_of_the_specification(
    kind, address, count, request_hex, reply_hex, said
):
    request = read_request(0x11, kind, address, count)
    assert request.body == UNIT + bytes.fromhex(request_hex)
    answer = answer_of(request, UNIT + bytes.fromhex(reply_hex))
    bits = kind in ("coil", "discrete")
    assert answer == (bytes(map(int, said)) if bits else bytes.fromhex(said))


@pytest.mark.parametrize(
    ("kind", "address", "values", "request_hex", "reply_hex"),
    [row[1:] for row in WRITES],
    ids=[row[0] for row in WRITES],
)
def test_writes_are_the_examples_of_the_specification(
    kind, address, values, request_hex, reply_hex
):
    request = write_request(0x11, kind, address, values)
    assert request.body == UNIT + bytes.fromhex(request_hex)
    answer_of(request, UNIT + bytes.fromhex(reply_hex))


def test_the_exception_of_chapter_7_is_told_with_its_code():
    request = read_request(0x11, "coil", 0x04A1, 1)
    with pytest.raises(RefusedError) as raised:
        answer_of(request, UNIT + b"\x81\x02")
    assert raised.value.code == 2


@pytest.mark.parametrize("code", [10, 11])
def test_a_gateways_exception_means_that_the_unit_does_not_answer(code):
    with pytest.raises(NoReplyError) as raised:
        answer_of(read_request(0x11, "coil", 0, 1), UNIT + bytes((0x81, code)))
    assert raised.value.cause == "gateway"


def test_the_tcp_frame_is_the_example_of_the_messaging_guide():
    """Messaging on TCP/IP V1.0b, 4.4.2.1: register 5 of unit 255, transaction 0x1501."""
    frame = tcp_frame(0x1501, read_request(0xFF, "holding", 4, 1).body)
    assert frame == bytes.fromhex("1501 0000 0006 FF 03 0004 0001")
    assert take_tcp(frame + b"\x15") == (0x1501, frame[6:], b"\x15")


def test_the_crc_is_the_example_of_the_serial_line_guide():
    """Modbus over serial line V1.02, 6.2.2: function 7 of device 2 has CRC 0x1241, low byte first."""
    assert crc16(b"\x02\x07") == b"\x41\x12"
    assert rtu_frame(b"\x02\x07") == b"\x02\x07\x41\x12"


WRONG_ECHOES = [
    ("unit", [3], "12 06 0001 0003", "unit"),
    ("function", [3], "11 10 0001 0003", "function"),
    ("address", [3], "11 06 0002 0003", "echo"),
    ("value", [3], "11 06 0001 0004", "echo"),
    ("count", [3, 4], "11 10 0001 0003", "echo"),
    ("short", [3, 4], "11 10 0001 00", "length"),
]


@pytest.mark.parametrize(
    ("values", "reply_hex", "cause"),
    [row[1:] for row in WRONG_ECHOES],
    ids=[row[0] for row in WRONG_ECHOES],
)
def test_a_write_is_confirmed_by_its_own_echo_only(values, reply_hex, cause):
    with pytest.raises(NoReplyError) as raised:
        answer_of(write_request(0x11, "holding", 1, values), bytes.fromhex(reply_hex))
    assert raised.value.cause == cause


IMPOSSIBLE = [
    ("read", "holding", 0, 126),
    ("read", "coil", 0, 2001),
    ("read", "holding", 65535, 2),
    ("read", "holding", -1, 1),
    ("read", "holding", 0, 0),
    ("read", "register", 0, 1),
    ("write", "input", 0, [1]),
    ("write", "holding", 0, []),
    ("write", "holding", 0, [1] * 124),
    ("write", "holding", 0, [65536]),
    ("write", "coil", 0, [2]),
]


@pytest.mark.parametrize(("verb", "kind", "address", "what"), IMPOSSIBLE)
def test_what_no_request_can_say_is_refused_before_it_is_sent(verb, kind, address, what):
    build = read_request if verb == "read" else write_request
    with pytest.raises(ValueError, match="not"):
        build(1, kind, address, what)
