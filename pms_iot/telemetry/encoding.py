"""Compressed message bodies, expanded up to a bound: nobody may fill our memory with a small message."""

import zlib

import zstandard

from pms_iot.kernel.errors import BadPayloadError

MAX_EXPANDED = 8 * 1024 * 1024  # a gateway's largest batch, 5,000 samples, is under 1 MiB
ENCODINGS = ("gzip", "zstd")
_GZIP = 16 + zlib.MAX_WBITS


def expand(body: bytes, encoding: str) -> bytes:
    """The body of a message whose header says `encoding`.

    Raises BadPayloadError: encoding for an unknown one or a body that is not in it, too_large.
    """
    if encoding == "gzip":
        expanded = _gunzip(body)
    elif encoding == "zstd":
        expanded = _unzstd(body)
    else:
        raise BadPayloadError("encoding", f"line 1: {encoding[:20]!r}")
    if len(expanded) > MAX_EXPANDED:
        raise BadPayloadError(
            "too_large", f"line 1: {len(body)} bytes become more than {MAX_EXPANDED}"
        )
    return expanded


def _gunzip(body: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        expanded = stream.decompress(body, MAX_EXPANDED + 1)
    except zlib.error as error:
        raise BadPayloadError("encoding", f"line 1: gzip: {error}") from error
    if len(expanded) <= MAX_EXPANDED and (not stream.eof or stream.unused_data):
        raise BadPayloadError("encoding", "line 1: gzip: cut short, or more after its end")
    return expanded


def _unzstd(body: bytes) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_EXPANDED)
    try:
        bounded = decompressor.stream_reader(body).read(MAX_EXPANDED + 1)
        if len(bounded) > MAX_EXPANDED:
            return bounded
        stream = decompressor.decompressobj()  # which, unlike the reader, knows where a frame ends
        expanded = stream.decompress(body)
    except zstandard.ZstdError as error:
        raise BadPayloadError("encoding", f"line 1: zstd: {error}") from error
    if not stream.eof or stream.unused_data:
        raise BadPayloadError("encoding", "line 1: zstd: cut short, or more after its end")
    return expanded
