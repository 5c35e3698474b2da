"""gzip and zstd by the ending of a file's name; what is written is a row of complete frames."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, Protocol

import zstandard

Compression = Literal["", "gzip", "zstd"]
ENDINGS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_READ = 2**16


class Compressor(Protocol):
    """One frame."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Expander(Protocol):
    """One frame; `unused_data` is what follows its end."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(kind: Compression) -> Compressor:
    """A new frame."""
    if kind == "gzip":
        return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    if kind == "zstd":
        return zstandard.ZstdCompressor(level=3).compressobj()
    return _Plain()


def compression_of(path: Path) -> Compression:
    return ENDINGS.get(path.suffix, "")


def expand(raw: IO[bytes], kind: Compression) -> Iterator[bytes]:
    """The content of a file. Raises ValueError where it is damaged or cut short."""
    frame = None
    while data := raw.read(_READ):
        if not kind:
            yield data
            continue
        while data:
            frame = frame or _expander(kind)
            try:
                yield frame.decompress(data)
            except (zlib.error, zstandard.ZstdError) as problem:
                raise ValueError(f"not {kind}: {problem}") from problem
            data = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
    if frame is not None:
        raise ValueError(f"{kind} cut short")


def _expander(kind: Compression) -> _Expander:
    if kind == "gzip":
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    return zstandard.ZstdDecompressor().decompressobj()
