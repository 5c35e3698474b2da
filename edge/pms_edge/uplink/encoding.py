"""Compression of message bodies, each on its own."""

import gzip
from importlib.util import find_spec
from typing import Literal

Encoding = Literal["none", "gzip", "zstd"]
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


def encode(body: bytes, encoding: Encoding) -> bytes:
    """`zstd` needs the package zstandard, which `check_encoding` asks for at start-up."""
    if encoding == "gzip":
        return gzip.compress(body, _GZIP_LEVEL, mtime=0)
    if encoding == "zstd":
        import zstandard  # optional: there is no wheel for every gateway

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    return body


def check_encoding(encoding: Encoding) -> Encoding:
    """Raises ValueError for an encoding that this installation cannot make."""
    if encoding == "zstd" and find_spec("zstandard") is None:
        raise ValueError("zstd needs the package `zstandard`: pip install 'pms-edge[zstd]'")
    return encoding
