"""Compressed bodies: both encodings come out whole, and no small message fills the memory."""

import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.encoding import MAX_EXPANDED, expand
from pms_iot.telemetry.wire import hollow

COMPRESS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
ENCODINGS = pytest.mark.parametrize("encoding", COMPRESS)
ZEROS = bytes(100 * 1024 * 1024)


def streamed(body: bytes) -> bytes:
    """A frame that does not say how large it becomes."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(body) + stream.flush()


@ENCODINGS
@given(st.binary(max_size=2_000))
def test_what_was_compressed_comes_out(encoding: str, body: bytes) -> None:
    assert expand(COMPRESS[encoding](body), encoding) == body


@ENCODINGS
def test_the_largest_allowed_body_comes_out_and_one_byte_more_does_not(encoding: str) -> None:
    assert len(expand(COMPRESS[encoding](bytes(MAX_EXPANDED)), encoding)) == MAX_EXPANDED
    with pytest.raises(BadPayloadError, match="too_large"):
        expand(COMPRESS[encoding](bytes(MAX_EXPANDED + 1)), encoding)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(ZEROS)),
        ("zstd", COMPRESS["zstd"](ZEROS)),
        ("zstd", streamed(ZEROS)),
    ],
    ids=["gzip", "zstd", "zstd of unknown size"],
)
def test_a_bomb_is_refused_without_being_expanded(encoding: str, bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadPayloadError, match="too_large"):
            expand(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_EXPANDED
    finally:
        tracemalloc.stop()


@ENCODINGS
def test_a_body_cut_short_or_with_more_behind_it_is_refused(encoding: str) -> None:
    whole = COMPRESS[encoding](b"elevator,asset=EL-01 run=1 1\n" * 50)
    for body in (whole[:-1], whole[:9], b"", whole + b"x", whole + whole, b"plain text\n"):
        with pytest.raises(BadPayloadError, match=r"^encoding"):
            expand(body, encoding)


@ENCODINGS
@given(st.binary(max_size=300))
def test_any_bytes_give_a_body_or_a_bad_payload(encoding: str, body: bytes) -> None:
    try:
        expand(body, encoding)
    except BadPayloadError as error:
        assert error.reason in ("encoding", "too_large")


def test_a_spoilt_body_keeps_its_place_in_the_stream_but_an_unknown_encoding_has_none() -> None:
    """What is spoilt will not come better; what we cannot read yet, a newer engine may."""
    head = b"#pms1 gw=gw-01 epoch=9f3a1c2b seq=7 n=5 base=3 encoding="
    topic = "pms/v1/riverside/gw-01/data"
    spoilt = hollow(topic, head + b"gzip\nnonsense")
    assert spoilt is not None and spoilt.header is not None and spoilt.header.seq == 7
    assert hollow(topic, head + b"brotli\nnonsense") is None
