"""A file on its way: written beside its place, made durable, then renamed into it."""

import os
from pathlib import Path
from typing import IO

from pms_iot.telemetry.transfer.compression import Compression, Compressor, compressor
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format, encoder, parquet_module, spooled
from pms_iot.telemetry.transfer.naming import Ranks, Rows


def part_of(final: Path) -> Path:
    """Where a file grows until it is complete."""
    return final.with_name(final.name + ".part")


class Output:
    """One file. `end`: its bytes after the last complete chunk, 0 for a new one; what is behind is cut off.

    Each chunk is a frame of its own, so that a compressed file can be continued too, and comes out the
    same whether or not it was interrupted.
    """

    def __init__(
        self, final: Path, form: Format, compression: Compression, ranks: Ranks, end: int
    ) -> None:
        self._final = final
        self._form = form
        self._compression: Compression = "zstd" if form == "parquet" else compression
        self._ranks = ranks
        self._encoder = encoder(form, ranks)
        self._frame: Compressor | None = None
        self._file = self._continued(end) if end else part_of(final).open("wb")
        if not end and self._encoder.header:
            self._write(self._encoder.header)
            self.end_chunk()

    def _continued(self, end: int) -> IO[bytes]:
        path = part_of(self._final)
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            raise TransferError(path, "gone since the beginning; --restart begins anew") from None
        if path.stat().st_size < end:
            file.close()
            raise TransferError(path, f"shorter than {end} bytes; --restart begins anew")
        file.truncate(end)
        file.seek(end)
        return file

    def add(self, rows: Rows) -> None:
        if len(rows):
            self._write(self._encoder.encode(rows))

    def _write(self, data: bytes) -> None:
        if self._frame is None:
            self._frame = compressor(self._compression)
        self._file.write(self._frame.compress(data))

    def end_chunk(self) -> int:
        """Completes the chunk; returns the size of the file so far."""
        if self._frame is not None:
            self._file.write(self._frame.flush())
            self._frame = None
        return self._file.tell()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """The file stands complete in its place. After kill -9 in between, this can be done again."""
        self.sync()
        part = part_of(self._final)
        if self._form == "parquet":
            encoded = self._final.with_name(self._final.name + ".encoding")
            with part.open("rb") as spool:
                parquet_module().write_parquet(encoded, self._ranks, spooled(spool))
            encoded.replace(self._final)
            _sync_folder(self._final.parent)
            part.unlink()
        else:
            part.replace(self._final)
            _sync_folder(self._final.parent)

    def close(self) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
