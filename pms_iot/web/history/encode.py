"""Writes frames as JSON, CSV (RFC 4180) or an Arrow IPC stream."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pms_iot.web.history.ask import Format
from pms_iot.web.history.frame import Column, Frame
from pms_iot.web.problems import ProblemError

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
}
_EOL = b"\r\n"
_ROWS = 10_000  # written at a time


def dumps(body: Any) -> bytes:
    """JSON of plain values and arrays; NaN is null."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def to_json(head: Mapping[str, Any], frames: Sequence[Frame], *, single: bool) -> bytes:
    """`at` in seconds since the epoch; what is missing is null. single: the one series without a list."""
    series = [_object(frame) for frame in frames]
    body = {**head, **series[0]} if single else {**head, "series": series}
    return dumps(body)


def _object(frame: Frame) -> dict[str, Any]:
    info = frame.info
    named = {"asset": info.asset, "point": info.point, "unit": info.unit, **frame.told}
    columns = {name: np.ascontiguousarray(column) for name, column in frame.columns.items()}
    return {**named, "at": frame.at / 1e9, **columns}


def to_csv(names: Sequence[str], frames: Sequence[Frame]) -> Iterator[bytes]:
    """A header row, then one row for each bucket or sample, series after series; ISO 8601 UTC."""
    yield ",".join(map(_quoted, ("time", "asset", "point", *names))).encode() + _EOL
    for frame in frames:
        place = f"{_quoted(frame.info.asset)},{_quoted(frame.info.point)}"
        for start in range(0, len(frame.at), _ROWS):
            piece = slice(start, start + _ROWS)
            times = iso(frame.at[piece])
            columns = [_texts(frame.columns[name][piece]) for name in names]
            rows = zip(times, repeat(place, len(times)), *columns, strict=True)
            yield "\r\n".join(map(",".join, rows)).encode() + _EOL


def _quoted(word: str) -> str:
    """A field as RFC 4180 wants it."""
    return '"' + word.replace('"', '""') + '"' if re.search(r'[",\r\n]', word) else word


def iso(at: NDArray[np.int64]) -> list[str]:
    """`2026-11-23T06:30:00.000Z`, with nanoseconds only where there are any."""
    unit = "ms" if not (at % 1_000_000).any() else "ns"
    return [f"{text}Z" for text in np.datetime_as_string(at.astype("datetime64[ns]"), unit)]


def _texts(column: Column) -> list[str]:
    if column.dtype.kind != "f":
        return list(map(str, column.tolist()))
    return [repr(value) if value == value else "" for value in column.tolist()]


def to_arrow(names: Sequence[str], frames: Sequence[Frame]) -> Iterator[bytes]:
    """One stream: time, asset, point, then the columns; at least one record batch for each series.

    Raises ProblemError (406) at once if pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        detail = "Arrow is not installed here (pip install 'pms-iot[arrow]'); ask for json or csv"
        raise ProblemError(406, detail, "format") from None
    word = pa.dictionary(pa.int32(), pa.string())
    types = [_arrow_type(pa, frames, name) for name in names]
    schema = pa.schema(
        [
            ("time", pa.timestamp("ns", "UTC")),
            ("asset", word),
            ("point", word),
            *zip(names, types, strict=True),
        ]
    )

    def chunks() -> Iterator[bytes]:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, schema) as writer:
            for batch in _record_batches(pa, schema, names, frames):
                writer.write_batch(batch)
                yield sink.getvalue()
                sink.seek(0)
                sink.truncate()
        yield sink.getvalue()

    return chunks()


def _arrow_type(pa: Any, frames: Sequence[Frame], name: str) -> Any:
    dtypes = {frame.columns[name].dtype for frame in frames} or {np.dtype(np.float64)}
    return pa.from_numpy_dtype(dtypes.pop())


def _record_batches(
    pa: Any, schema: Any, names: Sequence[str], frames: Sequence[Frame]
) -> Iterator[Any]:
    assets = list(dict.fromkeys(frame.info.asset for frame in frames))
    points = list(dict.fromkeys(frame.info.point for frame in frames))
    for frame in frames:
        for start in range(0, max(len(frame.at), 1), 10 * _ROWS):
            piece = slice(start, start + 10 * _ROWS)
            at = frame.at[piece]
            words = (
                pa.DictionaryArray.from_arrays(np.full(len(at), known.index(word), np.int32), known)
                for word, known in ((frame.info.asset, assets), (frame.info.point, points))
            )
            values = [pa.array(frame.columns[name][piece], from_pandas=True) for name in names]
            times = pa.array(at.astype("datetime64[ns]")).cast(schema.field("time").type)
            yield pa.record_batch([times, *words, *values], schema=schema)
