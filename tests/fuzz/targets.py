"""What is fuzzed: every decoder that takes bytes from outside, and what must hold whatever comes."""

import contextlib
from collections.abc import Callable

import numpy as np
from pms_edge.gb26875 import objects
from pms_edge.gb26875.frames import Frame, FrameSplitter
from pms_edge.modbus import NoReplyError, RefusedError
from pms_edge.modbus.frames import take_rtu, take_tcp
from pms_edge.modbus.pdu import answer_of, read_request, write_request
from pms_edge.mqtt_in import meokon
from pms_edge.mqtt_in.discovery import parse_announcement
from pms_edge.mqtt_in.messages import MalformedError, Message, parse_json
from pms_edge.mqtt_in.paths import parse_path, pick
from pms_edge.mqtt_in.template import RefusedTemplateError, parse_template

from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.foreign import Foreign
from pms_iot.telemetry.sources import PointMap, Source, TimeMap, Topic
from pms_iot.telemetry.wire import decode

KINDS = ("coil", "discrete", "holding", "input")
NOW_NS = 1_790_000_000_000_000_000


class Register:
    """A register that knows every point of every asset by the length of its name."""

    generation = 1

    def series_at(self, site: str, asset: str, point: str) -> int | None:
        return len(asset) + len(point) if point and site else None


REGISTER = Register()
FOREIGN = Foreign(
    [
        Source(Topic("line/{asset}"), "riverside", "line", "{tag:host}", "{measurement}.{field}"),
        Source(Topic("json/{asset}"), "riverside", "json", "{asset}"),
        Source(
            Topic("mapped/{asset}"),
            "riverside",
            "json",
            "{asset}",
            points=(PointMap("p", ("a", "b", 0)), PointMap("e", ("e",), "enum", values={"1": 1.0})),
            time=TimeMap(("t",), "iso"),
        ),
        Source(Topic("plain/{asset}"), "riverside", "plain", "{asset}", points=(PointMap("p"),)),
    ],
    REGISTER,
)


def modbus(data: bytes) -> None:
    """An answer has exactly the size that was asked for, whatever comes."""
    if len(data) < 4:
        return
    kind, count = KINDS[data[0] & 3], 1 + data[1] % 120
    request = read_request(data[2], kind, data[3], count)
    try:
        framed = take_tcp(data[4:])
        body = framed[1] if framed else take_rtu(request, data[4:])
        if body is not None:
            assert len(answer_of(request, body)) == (count if request.bits else 2 * count)
    except (NoReplyError, RefusedError):
        pass
    written = write_request(data[2], "holding", data[3], [data[1]])
    try:
        assert answer_of(written, data[4:]) == data[7:]
        assert data[4:] == written.body
    except (NoReplyError, RefusedError):
        pass


def gb26875(data: bytes) -> None:
    """A frame between garbage comes out; the cut of the stream changes nothing."""
    good = Frame(7, bytes(6), "010203040506", "000000000000", 2, data[:64]).encode()
    whole, bytewise = FrameSplitter(), FrameSplitter()
    found = whole.feed(data) + whole.give_up() + whole.feed(good) + whole.give_up()
    pieces = [frame for byte in data for frame in bytewise.feed(bytes([byte]))]
    pieces += bytewise.give_up() + bytewise.feed(good) + bytewise.give_up()
    assert found == pieces
    assert any(isinstance(frame, Frame) and frame.serial == 7 for frame in found)
    for frame in found:
        if isinstance(frame, Frame) and frame.data:
            _reports(frame.data)
    if data:
        _reports(data)


def _reports(data: bytes) -> None:
    with contextlib.suppress(objects.DataError):
        objects.decode(data)


def json_mapping(data: bytes) -> None:
    """Paths, templates and discovery over any text and any JSON."""
    head, _, body = data.partition(b"\n")
    text, message = head.decode("utf-8", "replace"), Message("a/b/config", body, False, NOW_NS)
    with contextlib.suppress(ValueError):  # MalformedError is one
        pick(parse_json(body), parse_path(text))
    with contextlib.suppress(RefusedTemplateError, MalformedError):
        parse_template("{{" + text + "}}")(message)
    with contextlib.suppress(MalformedError):
        parse_announcement(message._replace(topic=f"homeassistant/sensor/{text[:20]}/config"))


def meokon_frame(data: bytes) -> None:
    """As it came, and as an upload frame whose length and checksum are right."""
    head = b"\xa5\x5a\x00" + (len(data) + 9).to_bytes(2, "big")
    crc = meokon.crc16(head + data).to_bytes(2, "big")
    for frame in (data, head + data + crc + b"\x55\xaa"):
        with contextlib.suppress(MalformedError):
            meokon.decode(frame)


def wire(data: bytes) -> None:
    """Every sample is counted once: in the batch, unknown or refused."""
    try:
        message = decode("pms/v1/riverside/gw-01/data", data, REGISTER, NOW_NS)
    except BadPayloadError:
        return
    assert len(message.batch.series) == len(message.batch.at) == len(message.batch.value)
    assert np.isfinite(message.batch.value[message.batch.quality > 0]).all()
    if message.header:
        lost = sum(n for reason, n in message.refused.items() if reason != "not_a_number")
        assert message.header.n == len(message.batch.series) + lost + sum(
            field.count for field in message.unknown
        )


def third_party(data: bytes) -> None:
    """What is no message is refused whole; what is one has no infinite value."""
    for topic in ("line/a", "json/a", "mapped/a", "plain/a"):
        with contextlib.suppress(BadPayloadError):
            for message in FOREIGN.decode(topic, data, NOW_NS):
                batch = message.batch
                assert np.isfinite(batch.value[batch.quality > 0]).all()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "modbus": modbus,
    "gb26875": gb26875,
    "json_mapping": json_mapping,
    "meokon": meokon_frame,
    "wire": wire,
    "third_party": third_party,
}
