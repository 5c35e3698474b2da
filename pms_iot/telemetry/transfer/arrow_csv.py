"""CSV by pyarrow, a block at a time. Importing this needs pyarrow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pms_iot.telemetry.batch import BAD, GOOD
from pms_iot.telemetry.transfer.arrow_columns import dictionary_codes, joined_names
from pms_iot.telemetry.transfer.reading import Block

_TEXT = pa.dictionary(pa.int32(), pa.string())
_TYPES = {
    "time_ns": pa.int64(),
    "time": pa.timestamp("ns", "UTC"),
    "site": _TEXT,
    "asset": _TEXT,
    "point": _TEXT,
    "value": pa.float64(),
    "quality": pa.uint8(),
}


def columnar_reader(header: list[str], index: dict[str, int]) -> Callable[[bytes], Block | None]:
    """Reads blocks of plain rows; answers None for a block of which any row is odd."""
    wanted = [name for name in index if name != "time" or "time_ns" not in index]
    read = csv.ReadOptions(column_names=header, use_threads=False, block_size=2**28)
    parse = csv.ParseOptions(quote_char=False, newlines_in_values=False)
    convert = csv.ConvertOptions(
        column_types={name: _TYPES[name] for name in wanted},
        include_columns=wanted,
        null_values=[""],
        strings_can_be_null=True,
        timestamp_parsers=[csv.ISO8601],
    )

    def columns(block: bytes) -> Block | None:
        try:
            table = csv.read_csv(pa.BufferReader(block), read, parse, convert)
        except pa.ArrowInvalid:
            return None
        return _block(table)

    return columns


def _block(table: Any) -> Block | None:
    time = table.column("time_ns" if "time_ns" in table.column_names else "time")
    value = table.column("value").to_numpy()
    odd = time.null_count or np.isinf(value).any()
    if odd or any(table.column(name).null_count for name in ("asset", "point")):
        return None
    names, name = joined_names(
        *(
            dictionary_codes(table.column(key)) if key in table.column_names else None
            for key in ("site", "asset", "point")
        )
    )
    usual = np.where(np.isnan(value), BAD, GOOD).astype(np.uint8)
    quality = usual
    if "quality" in table.column_names:
        given = table.column("quality")
        quality = np.where(given.is_null().to_numpy(), usual, given.fill_null(0).to_numpy())
    return Block(names, name, time.cast(pa.int64()).to_numpy(), value, quality.astype(np.uint8))
