"""The formats of files, by name and by the ending of a file's name."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Literal, Protocol

import numpy as np

from pms_iot.kernel.arrays import pack, unpack
from pms_iot.telemetry.transfer.compression import ENDINGS, expand
from pms_iot.telemetry.transfer.csv_rows import CsvEncoder
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.lines import LineEncoder
from pms_iot.telemetry.transfer.naming import Ranks, Rows

Format = Literal["csv", "line", "parquet"]
EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".line": "line",
    ".lp": "line",
    ".parquet": "parquet",
}


def format_of(path: Path, asked: Format | None) -> Format:
    """Raises TransferError if neither the option nor the name says it."""
    bare = path.with_suffix("") if path.suffix in ENDINGS else path
    found = asked or EXTENSIONS.get(bare.suffix)
    if found is None:
        raise TransferError(path, "say --format csv, line or parquet")
    if found == "parquet" and path.suffix in ENDINGS:
        raise TransferError(path, "Parquet is compressed inside; leave out the second ending")
    return found


def parquet_module() -> ModuleType:
    """The part that needs pyarrow. Raises TransferError where that is not installed."""
    try:
        from pms_iot.telemetry.transfer import parquet
    except ModuleNotFoundError as problem:
        raise TransferError(
            "parquet", f"needs {problem.name}: pip install 'pms-iot[arrow]'"
        ) from problem
    return parquet


class Encoder(Protocol):
    """Rows to bytes that are simply put one after the other, behind the header."""

    header: bytes

    def encode(self, rows: Rows) -> bytes: ...


class SpoolEncoder:
    """Columns as they are. A Parquet file cannot be continued after kill -9, but this can."""

    header = b""

    def encode(self, rows: Rows) -> bytes:
        columns = {"rank": rows.rank, "at": rows.at, "value": rows.value, "quality": rows.quality}
        packed = pack(None, columns)
        return len(packed).to_bytes(8, "little") + packed


def spooled(file: IO[bytes]) -> Iterator[Rows]:
    """What SpoolEncoder wrote, from a file of zstd frames."""
    waiting = b""
    for data in expand(file, "zstd"):
        waiting += data
        while len(waiting) >= 8 and len(waiting) >= 8 + (
            size := int.from_bytes(waiting[:8], "little")
        ):
            _, columns = unpack(waiting[8 : 8 + size])
            waiting = waiting[8 + size :]
            yield Rows(
                columns["rank"].astype(np.int32),
                columns["at"].astype(np.int64),
                columns["value"].astype(np.float64),
                columns["quality"].astype(np.uint8),
            )


def encoder(form: Format, ranks: Ranks) -> Encoder:
    match form:
        case "csv":
            return CsvEncoder(ranks)
        case "line":
            return LineEncoder(ranks)
        case "parquet":
            parquet_module()  # rather now than after hours
            return SpoolEncoder()
