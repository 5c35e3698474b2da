"""Samples as CSV: `time,time_ns,site,asset,point,value,quality`; an empty value is a missing one.

Read columnar by pyarrow where it is installed; a block that it does not take as it is, or that has a
quoted field, is read row by row, which names the rows that are wrong.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.batch import BAD, GOOD
from pms_iot.telemetry.transfer.naming import Ranks, Rows
from pms_iot.telemetry.transfer.reading import Block, BlockBuilder, Malformed

COLUMNS = ("time", "time_ns", "site", "asset", "point", "value", "quality")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:nan)")
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_ISO = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)"
)
HEADER = (",".join(COLUMNS) + "\n").encode()


class CsvEncoder:
    """Rows to bytes; floats in the shortest form that reads back as the same bits."""

    header = HEADER

    def __init__(self, ranks: Ranks) -> None:
        self._names = [_quoted(info.site, info.asset, info.point) for info in ranks.infos]

    def encode(self, rows: Rows) -> bytes:
        names = self._names
        times = np.datetime_as_string(rows.at.view("datetime64[ns]")).tolist()
        missing = np.isnan(rows.value)
        values = [repr(value) for value in rows.value.tolist()]
        for index in np.flatnonzero(missing).tolist():
            values[index] = ""
        columns = (times, rows.at.tolist(), rows.rank.tolist(), values, rows.quality.tolist())
        lines = [
            f"{time}Z,{at},{names[rank]},{value},{quality}\n"
            for time, at, rank, value, quality in zip(*columns, strict=True)
        ]
        return "".join(lines).encode()


def _quoted(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


class CsvDecoder:
    """Blocks of whole lines to columns. Raises ValueError for a header without what is needed."""

    def __init__(self, header: bytes) -> None:
        text = header.decode("utf-8-sig").strip()
        self._header = next(csv.reader([text]), [])
        missing = [name for name in ("asset", "point", "value") if name not in self._header]
        if not {"time_ns", "time"} & set(self._header):
            missing.append("time_ns or time")
        if missing or len(set(self._header)) < len(self._header):
            said = f"no column {', '.join(missing)}" if missing else "a column twice"
            raise ValueError(f"{said} in the header {text[:100]!r}")
        self._index = {name: self._header.index(name) for name in COLUMNS if name in self._header}
        self._read_columnar = _columnar(self._header, self._index)

    def decode(self, block: bytes, first_line: int) -> Block:
        """`first_line`: the number of the block's first line in its file."""
        if self._read_columnar is not None and b'"' not in block:
            found = self._read_columnar(block)
            if found is not None:
                return found
        return self._by_row(block, first_line)

    def _by_row(self, block: bytes, first_line: int) -> Block:
        built = BlockBuilder()
        for number, line in enumerate(block.split(b"\n"), first_line):
            line = line.removesuffix(b"\r")
            if not line:
                continue
            try:
                cells = _cells(line.decode())
                self._add(built, cells)
            except (ValueError, csv.Error) as problem:
                built.malformed.append(Malformed(number, str(problem)))
        return built.block()

    def _add(self, built: BlockBuilder, cells: Sequence[str]) -> None:
        if len(cells) != len(self._header):
            raise ValueError(f"{len(cells)} cells instead of {len(self._header)}")
        index = self._index
        site = cells[index["site"]] if "site" in index else ""
        asset, point = cells[index["asset"]], cells[index["point"]]
        if not asset or not point:
            raise ValueError("no asset or point")
        at = (
            _time_ns(cells[index["time_ns"]].strip())
            if "time_ns" in index
            else _iso(cells[index["time"]].strip())
        )
        value = _value(cells[index["value"]].strip())
        given = cells[index["quality"]].strip() if "quality" in index else ""
        quality = _quality(given) if given else (BAD if value != value else GOOD)
        built.add((site, asset, point), at, value, quality)


def _columnar(header: list[str], index: dict[str, int]) -> Callable[[bytes], Block | None] | None:
    """None without pyarrow, which is optional."""
    try:
        from pms_iot.telemetry.transfer.arrow_csv import columnar_reader
    except ModuleNotFoundError:
        return None
    return columnar_reader(header, index)


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    return next(csv.reader((line,), strict=True))


def _time_ns(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not -(2**63) < int(text) < 2**63:
        raise ValueError(f"time_ns {text[:40]!r}")
    return int(text)


def _iso(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"time {text[:40]!r}: not ISO 8601 with a zone")
    zone = "+00:00" if match["zone"] == "Z" else match["zone"]
    whole = to_ns(datetime.fromisoformat(match["second"] + zone))
    return whole + int((match["fraction"] or "0").ljust(9, "0"))


def _value(text: str) -> float:
    if not text:
        return float("nan")
    if not _NUMBER.fullmatch(text) or abs(float(text)) == float("inf"):
        raise ValueError(f"value {text[:40]!r}")
    return float(text)


def _quality(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 0 <= int(text) <= 255:
        raise ValueError(f"quality {text[:40]!r}: 0 to 255 wanted")
    return int(text)
