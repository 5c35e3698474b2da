"""A file that is read back: pieces of it, each with the place where the next one begins."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Protocol, Self

from pms_iot.telemetry.transfer.compression import compression_of, expand
from pms_iot.telemetry.transfer.csv_rows import CsvDecoder
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format, parquet_module
from pms_iot.telemetry.transfer.lines import LineDecoder
from pms_iot.telemetry.transfer.reading import Piece, Resolver

_BLOCK = 4 * 2**20  # about 50,000 rows of CSV
_LONGEST_LINE = 16 * 2**20


class Step(NamedTuple):
    """A piece, and how far the file has been read: `position` and `line` to go on from, bytes of the file."""

    piece: Piece
    position: int
    line: int
    bytes_read: int


class Source(AbstractContextManager["Source"], Protocol):
    """An open file. Closing is leaving the context."""

    def steps(self, position: int, line: int) -> Iterator[Step]:
        """From where an earlier step ended, or (0, 1). Raises TransferError for a damaged file."""
        ...


def open_source(path: Path, form: Format, resolver: Resolver) -> Source:
    """Raises TransferError for a file that is not there, is not of the format or lacks a column."""
    if not path.is_file():
        raise TransferError(path, "no such file")
    return _Parquet(path, resolver) if form == "parquet" else _Text(path, form == "csv", resolver)


class _Parquet:
    def __init__(self, path: Path, resolver: Resolver) -> None:
        self._source = parquet_module().ParquetSource(path)
        self._size = path.stat().st_size
        self._resolver = resolver

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._source.close()

    def steps(self, position: int, line: int) -> Iterator[Step]:
        for end, block in self._source.blocks(position):
            read = self._size * end // max(1, self._source.rows)
            yield Step(self._resolver.resolve(block), end, end + 1, read)


class _Text:
    def __init__(self, path: Path, is_csv: bool, resolver: Resolver) -> None:
        self._path = path
        self._is_csv = is_csv
        self._resolver = resolver
        self._file = path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def steps(self, position: int, line: int) -> Iterator[Step]:
        blocks = _Lines(self._path, self._file)
        decode = self._decoder(blocks)
        end = self._header
        if position < end:
            position, line = end, 2 if end else 1
        for block in blocks:
            start, end = end, end + len(block)
            if end <= position:
                continue
            kept = block[max(0, position - start) :]
            piece = decode(kept, line)
            line += kept.count(b"\n")
            yield Step(piece, end, line, self._file.tell())

    def _decoder(self, blocks: "_Lines") -> Callable[[bytes, int], Piece]:
        """Takes the header off the first block."""
        self._header = 0
        if not self._is_csv:
            return LineDecoder(self._resolver).decode
        header = blocks.take_line()
        self._header = len(header)
        try:
            decoder = CsvDecoder(header)
        except ValueError as problem:
            raise TransferError(f"{self._path}:1", str(problem)) from problem
        return lambda block, line: self._resolver.resolve(decoder.decode(block, line))


class _Lines:
    """Blocks of whole lines of about _BLOCK bytes."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._content = expand(file, compression_of(path))
        self._waiting = b""

    def take_line(self) -> bytes:
        """The first line, with its end."""
        while b"\n" not in self._waiting and (more := self._more()):
            self._waiting += more
        line, end, self._waiting = self._waiting.partition(b"\n")
        return line + end

    def __iter__(self) -> Iterator[bytes]:
        parts, size = [self._waiting], len(self._waiting)
        while more := self._more():
            parts.append(more)
            size += len(more)
            if size < _BLOCK:
                continue
            whole = b"".join(parts)
            cut = whole.rfind(b"\n") + 1
            if not cut and size > _LONGEST_LINE:
                raise TransferError(self._path, f"a line of more than {_LONGEST_LINE} bytes")
            parts, size = [whole[cut:]], len(whole) - cut
            if cut:
                yield whole[:cut]
        if last := b"".join(parts):
            yield last

    def _more(self) -> bytes:
        try:
            return next((data for data in self._content if data), b"")
        except ValueError as problem:
            raise TransferError(self._path, str(problem)) from problem
