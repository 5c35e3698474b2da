"""Samples as Parquet; importing this needs pyarrow (`pip install 'pms-iot[arrow]'`).

Columns: time (timestamp of ns, UTC), site, asset, point (dictionaries of text), value (null = missing),
quality (uint8). Written in row groups of ROW_GROUP samples in order of the days.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pms_iot.telemetry.batch import BAD, GOOD
from pms_iot.telemetry.transfer.arrow_columns import dictionary_codes, joined_names
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.naming import Ranks, Rows
from pms_iot.telemetry.transfer.reading import Block, Malformed

ROW_GROUP = 262_144
_READ_ROWS = 100_000
_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("site", _NAME, nullable=False),
        pa.field("asset", _NAME, nullable=False),
        pa.field("point", _NAME, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.uint8(), nullable=False),
    ]
)


def write_parquet(path: Path, ranks: Ranks, pieces: Iterator[Rows]) -> None:
    """One file of all pieces, durable on return; memory holds about one row group."""
    names = [_Codes([getattr(info, key) for info in ranks.infos]) for key in SCHEMA.names[1:4]]
    waiting: list[Any] = []
    with (
        path.open("wb") as file,
        pq.ParquetWriter(file, SCHEMA, compression="zstd", write_page_index=True) as writer,
    ):
        for rows in pieces:
            waiting.append(_table(rows, names))
            if sum(len(table) for table in waiting) >= ROW_GROUP:
                waiting = [_written(writer, pa.concat_tables(waiting))]
        if sum(len(table) for table in waiting):
            writer.write_table(pa.concat_tables(waiting))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _written(writer: Any, table: Any) -> Any:
    """Writes whole row groups; returns the rest."""
    whole = len(table) // ROW_GROUP * ROW_GROUP
    writer.write_table(table.slice(0, whole), row_group_size=ROW_GROUP)
    return table.slice(whole)


class _Codes:
    """The different words of a column and the code of each rank."""

    def __init__(self, words: list[str]) -> None:
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        self._words = pa.array(list(numbers), pa.string())
        self._codes = np.array([numbers[word] for word in words], np.int32)

    def column(self, rank: NDArray[np.int32]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(self._codes[rank]), self._words)


def _table(rows: Rows, names: list[_Codes]) -> Any:
    value = pa.array(rows.value, mask=np.isnan(rows.value))
    columns = [
        pa.array(rows.at.view("datetime64[ns]")).cast(SCHEMA.field("time").type),
        *(codes.column(rows.rank) for codes in names),
        value,
        pa.array(rows.quality),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


class ParquetSource:
    """A Parquet file, ours or another's. Raises TransferError if it is none or lacks a column."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path, read_dictionary=["site", "asset", "point"])
        except pa.ArrowException as problem:
            raise TransferError(path, f"not Parquet: {problem}") from problem
        columns = self._file.schema_arrow.names
        self._time = "time" if "time" in columns else "time_ns"
        missing = {self._time, "asset", "point", "value"} - set(columns)
        if missing:
            raise TransferError(path, f"no column {', '.join(sorted(missing))}")
        self._columns = [n for n in (self._time, *SCHEMA.names[1:]) if n in columns]
        self.rows: int = self._file.metadata.num_rows

    def close(self) -> None:
        self._file.close()

    def blocks(self, skip_rows: int) -> Iterator[tuple[int, Block]]:
        """Blocks from this row on, each with the number of rows up to its end."""
        end = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if end + rows <= skip_rows:
                end += rows
                continue
            read = self._file.iter_batches(_READ_ROWS, row_groups=[group], columns=self._columns)
            for batch in self._named(read):
                start, end = end, end + batch.num_rows
                if end > skip_rows:
                    kept = batch.slice(max(0, skip_rows - start))
                    yield end, self._block(kept, max(start, skip_rows))

    def _named(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except (pa.ArrowException, OSError) as problem:
            raise TransferError(self._path, f"damaged: {problem}") from problem

    def _block(self, batch: Any, start: int) -> Block:
        table = pa.Table.from_batches([batch])
        try:
            at = _nanoseconds(table.column(self._time))
            value = table.column("value").cast(pa.float64()).to_numpy()
            given = table.column("quality").cast(pa.uint8()) if "quality" in self._columns else None
        except pa.ArrowException as problem:
            raise TransferError(self._path, f"rows from {start + 1}: {problem}") from problem
        usual = np.where(np.isnan(value), BAD, GOOD).astype(np.uint8)
        quality = usual
        if given is not None:
            quality = np.where(given.is_null().to_numpy(), usual, given.fill_null(0).to_numpy())
        nulls = [table.column(key).is_null().to_numpy() for key in (self._time, "asset", "point")]
        odd = np.any([*nulls, np.isinf(value)], axis=0)
        names, name = joined_names(
            *(
                dictionary_codes(table.column(key)) if key in self._columns else None
                for key in ("site", "asset", "point")
            )
        )
        malformed = [
            Malformed(start + int(row) + 1, "no time, asset or point, or an infinite value")
            for row in np.flatnonzero(odd)
        ]
        good = ~odd
        return Block(
            names, name[good], at[good], value[good], quality[good].astype(np.uint8), malformed
        )


def _nanoseconds(column: Any) -> NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz))
    return column.cast(pa.int64()).fill_null(0).to_numpy()
