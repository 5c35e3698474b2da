"""No bytes make the decoders give an answer that was not asked for, or raise an error not ours."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from pms_edge.modbus.connection import Traffic
from pms_edge.modbus.errors import NoReplyError, RefusedError
from pms_edge.modbus.frames import crc16, cut_short, rtu_frame, take_rtu, take_tcp, tcp_frame
from pms_edge.modbus.pdu import MAX_READ, Request, answer_of, read_request, write_request
from pms_edge.modbus.quiet import Quiet
from pms_edge.modbus.rtu import RtuConnection
from pms_edge.modbus.tcp import TcpConnection
from pymodbus.framer import FramerRTU

units = st.integers(0, 255)
reads = st.sampled_from(list(MAX_READ)).flatmap(
    lambda kind: st.builds(
        read_request, units, st.just(kind), st.integers(0, 60000), st.integers(1, MAX_READ[kind])
    )
)
registers = st.lists(st.integers(0, 65535), min_size=1, max_size=123)
coils = st.lists(st.integers(0, 1), min_size=1, max_size=1968)
writes = st.one_of(
    st.builds(write_request, units, st.just("holding"), st.integers(0, 60000), registers),
    st.builds(write_request, units, st.just("coil"), st.integers(0, 60000), coils),
)
requests = st.one_of(reads, writes)


@st.composite
def mutated(draw: st.DrawFn, frame: bytes) -> bytes:
    """`frame` with bytes flipped, cut out, put in or doubled."""
    wire = bytearray(frame)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(wire) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "insert", "double", "truncate"]))
        if how == "flip" and wire:
            wire[place] ^= draw(st.integers(1, 255))
        elif how == "cut":
            del wire[place : place + draw(st.integers(1, 4))]
        elif how == "insert":
            wire[place:place] = draw(st.binary(min_size=1, max_size=4))
        elif how == "double":
            wire = wire * 2
        else:
            del wire[place:]
    return bytes(wire)


def right_answer(request: Request, content: bytes) -> bytes:
    return request.head + content[: request.size - len(request.head)].ljust(
        request.size - len(request.head), b"\0"
    )


def check_answer(request: Request, body: bytes) -> None:
    """What `answer_of` may give, told from the body in another way."""
    try:
        answer = answer_of(request, body)
    except RefusedError as error:
        assert body == bytes((request.body[0], request.body[1] | 0x80, error.code))
    except NoReplyError:
        pass
    else:
        assert body[:2] == request.body[:2]
        asked = int.from_bytes(request.body[4:6], "big")
        if request.body[1] <= 2:
            assert len(answer) == asked
            packed = sum(bit << place for place, bit in enumerate(answer))
            mask = (1 << asked) - 1
            assert packed == int.from_bytes(body[3:], "little") & mask
        elif request.body[1] <= 4:
            assert len(answer) == body[2] == 2 * asked
            assert body[3:] == answer
        else:
            assert body == request.body[:6]


@given(requests, st.binary(max_size=260))
def test_random_bodies_are_never_an_answer_that_was_not_asked_for(request, body):
    check_answer(request, body)


@given(requests, st.data())
def test_mutated_bodies_are_never_an_answer_that_was_not_asked_for(request, data):
    body = right_answer(request, data.draw(st.binary(max_size=250)))
    check_answer(request, body)
    check_answer(request, data.draw(mutated(body)))


@given(requests, st.data())
def test_mutated_rtu_frames_answer_only_with_their_own_crc_and_size(request, data):
    frame = rtu_frame(right_answer(request, data.draw(st.binary(max_size=250))))
    received = data.draw(mutated(frame))
    try:
        body = take_rtu(request, received)
    except NoReplyError:
        return
    if body is not None:
        assert FramerRTU.compute_CRC(body).to_bytes(2, "big") == received[-2:]
        assert received[:-2] == body
        check_answer(request, body)


@given(requests, st.binary(max_size=260))
def test_what_is_there_at_the_time_out_is_never_an_answer(request, received):
    try:
        if take_rtu(request, received) is None:
            body = cut_short(received)
            assert len(body) != request.size
            check_answer(request, body)
    except NoReplyError:
        pass


@given(st.binary(max_size=300))
def test_the_crc_is_that_of_pymodbus(content):
    assert crc16(content) == FramerRTU.compute_CRC(content).to_bytes(2, "big")


frames = st.lists(st.tuples(st.integers(0, 65535), st.binary(min_size=3, max_size=254)), max_size=4)


@given(frames, st.data())
def test_tcp_frames_are_the_same_however_they_are_split(sent, data):
    stream = b"".join(tcp_frame(number, body) for number, body in sent)
    received, got = b"", []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received, stream = received + stream[:cut], stream[cut:]
        while frame := take_tcp(received):
            got.append(frame[:2])
            received = frame[2]
    assert (got, received) == (sent, b"")


@given(st.binary(max_size=600))
def test_random_tcp_streams_give_frames_of_legal_length_or_end(stream):
    try:
        while frame := take_tcp(stream):
            _, body, stream = frame
            assert 3 <= len(body) <= 254
    except NoReplyError as error:
        assert error.cause == "frame"


class Recorded(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        pass


async def answered(connection, asking, request: Request, pieces: list[bytes]) -> bytes | Exception:
    """What the connection makes of `pieces` received after the request."""
    connection.connection_made(Recorded())
    task = asyncio.ensure_future(asking)
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    connection.close()
    return (await asyncio.gather(task, return_exceptions=True))[0]


pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@given(reads, st.data())
def test_a_tcp_connection_gives_only_its_own_answer_whatever_it_receives(request, data):
    body = right_answer(request, data.draw(st.binary(max_size=250)))
    others = data.draw(st.lists(st.integers(0, 65535).filter(lambda n: n != 7), max_size=2))
    late = b"".join(tcp_frame(n, request.head + b"\xee" * (len(body) - 3)) for n in others)
    noise = data.draw(pieces)

    async def run() -> None:
        connection = TcpConnection(Traffic())
        asking = connection.ask(7, request, 5)
        got = await answered(connection, asking, request, [late, tcp_frame(7, body), *noise])
        assert got == answer_of(request, body)
        assert connection._traffic.late >= len(others)
        connection = TcpConnection(Traffic())
        got = await answered(connection, connection.ask(7, request, 5), request, [late, *noise])
        assert isinstance(got, NoReplyError | RefusedError) or noise

    asyncio.run(run())


@given(reads, pieces)
def test_an_rtu_connection_takes_no_noise_for_an_answer(request, noise):
    async def run() -> None:
        connection = RtuConnection(Traffic(), Quiet(0.0))
        got = await answered(connection, connection.ask(request, 5), request, noise)
        if not isinstance(got, NoReplyError | RefusedError):
            frame = b"".join(noise)[: request.size + 2]
            assert crc16(frame[:-2]) == frame[-2:]
            assert frame.startswith(request.head)

    asyncio.run(run())
