"""The codec against what others published (golden/gb26875.yaml), and against noise."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.gb26875 import commands, objects
from pms_edge.gb26875.frames import MAX_DATA_BYTES, SEND, Damaged, Frame, FrameSplitter
from ruamel.yaml import YAML

GOLDEN = YAML(typ="safe").load(Path(__file__).parent / "golden" / "gb26875.yaml")
ADDRESSES = ("000000015b38", "000000000379")


def wire(case: dict) -> bytes:
    return bytes.fromhex(str(case["hex"]))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def flat(report: objects.Report) -> dict:
    """A report as the golden file writes it."""
    fields = {"is": type(report).__name__, **report._asdict()}
    component = fields.pop("component", None)
    if type(report) is objects.Configuration:
        component = report.of if isinstance(report.of, objects.Component) else None
        fields["system"] = fields.pop("of")
    if component is not None:
        fields |= component._asdict()
    if fields.get("system") is not None:
        fields["system"] = list(fields["system"])
    if fields.get("at"):
        fields["at"] = fields["at"].strftime("%Y-%m-%dT%H:%M:%SZ")
    return fields


def only(found: list) -> Frame:
    [frame] = found
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("case", GOLDEN["frames"], ids=lambda c: c["what"])
def test_a_published_frame_means_what_its_author_says(case):
    frame = only(FrameSplitter().feed(wire(case)))
    expected = {**case["frame"], "sent": instant(case["frame"]["sent"])}
    found = {key: getattr(frame, key) for key in ("serial", "command", "source", "target")}
    assert {**found, "sent": objects.time_of(frame.time)} == expected
    reports = objects.decode(frame.data).reports if frame.data else ()
    assert [flat(report) for report in reports] == case["reports"]
    assert frame.encode() == wire(case)


@pytest.mark.parametrize("case", GOLDEN["data"], ids=lambda c: c["reports"][0]["is"])
def test_published_application_data_means_what_its_author_says(case):
    data = objects.decode(wire(case))
    assert [flat(report) for report in data.reports] == case["reports"]
    assert (data.bad_times, data.trailing, data.known) == (0, 0, True)


@pytest.mark.parametrize("case", GOLDEN["truncated"], ids=lambda c: c["hex"])
def test_data_with_fewer_objects_than_it_says_is_refused(case):
    with pytest.raises(objects.DataError):
        objects.decode(wire(case))


def test_a_frame_with_a_wrong_sum_is_told_apart_from_noise():
    [damaged] = FrameSplitter().feed(wire(GOLDEN["damaged"][0]))
    assert isinstance(damaged, Damaged)


def sent(what: str) -> dict:
    return next(case for case in GOLDEN["sends"] if case["what"] == what)


@pytest.mark.parametrize("what", ["confirm", "deny"])
def test_answers_are_byte_for_byte_as_published(what):
    frame = only(FrameSplitter().feed(wire(GOLDEN["frames"][0])))
    answer = getattr(commands, what)(frame, instant(sent(what)["at"]))
    assert answer.encode() == wire(sent(what))


def test_commands_are_byte_for_byte_as_published():
    now = instant(sent("set_clock")["at"])
    names = {"centre": ADDRESSES[0], "device": ADDRESSES[1], "now": now}
    read = commands.request(1, commands.device_state_data(), **names)
    assert read.encode() == wire(sent("read_state"))
    clock = commands.control(1, commands.clock_data(now), **names)
    theirs = only(FrameSplitter().feed(wire(sent("set_clock"))))
    assert theirs.data[2:] == bytes.fromhex(sent("set_clock")["clock"])
    assert clock._replace(data=theirs.data) == theirs and clock.data[:2] == theirs.data[:2]
    duty = commands.control(1, commands.duty_data(), **names)
    theirs = only(FrameSplitter().feed(wire(sent("check_duty"))))
    assert duty.data == theirs.data[:2] + b"\0" and duty._replace(data=theirs.data) == theirs


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {90, 91}))
def test_nothing_but_clock_and_duty_check_is_sent_as_a_command(kind):
    names = {"centre": ADDRESSES[0], "device": ADDRESSES[1], "now": datetime.now(UTC)}
    with pytest.raises(commands.RefusedCommandError):
        commands.control(1, bytes((kind, 1, 0)), **names)
    if kind in range(41, 61) or kind in (89, 90, 91):
        with pytest.raises(commands.RefusedCommandError):
            commands.request(1, bytes((kind, 1, 0)), **names)


@pytest.mark.parametrize("time", ["3c0009020715", "00001e1e0215", "000000010064", "000018010115"])
def test_impossible_dates_are_none_and_counted(time):
    data = objects.decode(bytes.fromhex("150108" + time))
    assert (data.reports[0].at, data.bad_times) == (None, 1)


def test_analog_values_are_signed_and_have_the_step_of_their_kind():
    head = bytes.fromhex("0301" + "010163" + "01000100")
    tail = bytes.fromhex("000009020715")
    found = {
        kind: objects.decode(
            head + bytes([kind]) + (-123).to_bytes(2, "little", signed=True) + tail
        )
        .reports[0]
        .value
        for kind in (1, 2, 3, 5, 12, 200)
    }
    assert found == {1: -123, 2: -1.23, 3: -12.3, 5: -12.3, 12: -123, 200: -123}


def test_text_that_is_not_gb18030_is_marked_and_kept():
    assert objects.text_of(b"A\xff B\0\0junk") == "A\ufffd B"


ADDRESS = st.binary(min_size=6, max_size=6).map(bytes.hex)
FRAMES = st.builds(
    Frame,
    st.integers(0, 65535),
    st.binary(min_size=6, max_size=6),
    ADDRESS,
    ADDRESS,
    st.integers(0, 255),
    st.binary(max_size=80) | st.binary(min_size=MAX_DATA_BYTES, max_size=MAX_DATA_BYTES),
    st.binary(min_size=2, max_size=2),
)
# Noise that looks like the beginning of a frame now and then, but never ends like one.
NOISE = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"#", b""))
    | st.sampled_from([b"@", b"@@", b"@@@"])
    | st.just(b"@@" + bytes(22) + b"\x40\x00\x02"),
    max_size=4,
).map(b"".join)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in pairwise(at)]


@given(st.lists(st.tuples(NOISE, FRAMES), min_size=1, max_size=4), NOISE, st.lists(st.integers(0)))
def test_every_frame_comes_out_of_any_noise_and_nothing_else_does(parts, end, cuts):
    stream = b"".join(noise + frame.encode() for noise, frame in parts) + end
    splitter = FrameSplitter()
    found = [item for piece in pieces(stream, cuts) for item in splitter.feed(piece)]
    found += splitter.give_up()
    assert [f for f in found if isinstance(f, Frame)] == [frame for _, frame in parts]
    assert splitter.garbage_bytes == len(end) + sum(len(noise) for noise, _ in parts)


@given(st.binary(max_size=4000), st.lists(st.integers(0)))
def test_noise_alone_raises_nothing_and_is_not_hoarded(noise, cuts):
    splitter = FrameSplitter()
    for piece in pieces(noise, cuts):
        for item in splitter.feed(piece):
            assert isinstance(item, Frame | Damaged)
    splitter.give_up()
    assert not splitter.waiting


@given(st.binary(max_size=200))
def test_any_application_data_decodes_or_is_refused(data):
    try:
        decoded = objects.decode(data)
    except objects.DataError:
        return
    assert len(decoded.reports) <= 255


@given(st.integers(946_684_800, 4_102_358_399))
def test_times_survive_the_way_there_and_back(seconds):
    at = datetime.fromtimestamp(seconds, UTC)
    assert objects.time_of(objects.time_bytes(at)) == at


def test_a_frame_too_long_to_be_one_is_passed_over_at_once():
    splitter = FrameSplitter()
    good = Frame(7, bytes(6), *ADDRESSES, SEND, b"")
    huge = bytearray(good.encode())
    huge[24:26] = (1025).to_bytes(2, "little")
    assert splitter.feed(bytes(huge) + good.encode()) == [good]
    assert splitter.oversized == 1
    with pytest.raises(ValueError, match="1024"):
        good._replace(data=bytes(1025)).encode()
