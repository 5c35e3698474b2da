"""Rows of a CSV or XLSX file as text, and the row that names their columns."""

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pms_edge.import_points.columns import Column, columns_of

HEADER_WITHIN = 40  # rows of title and remarks before the header
SEPARATORS = ",;\t|"


class UnreadableError(Exception):
    """The file is no table at all; the text says why."""


class Row(NamedTuple):
    """Cells of one row, numbered from 1 as a spreadsheet shows it."""

    number: int
    cells: Sequence[str]
    fractions: frozenset[int] = frozenset()  # columns whose number lost its trailing zeros

    def cell(self, column: int) -> str:
        return self.cells[column].strip() if column < len(self.cells) else ""


class Table(NamedTuple):
    columns: dict[Column, int]
    titles: Sequence[str]
    rows: list[Row]


def read_table(file: Path, sheet: str | None = None) -> Table:
    """The first table in `file` with an address column. Raises UnreadableError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error
    if content[:4] == b"PK\x03\x04":
        tables = [_table(rows) for rows in _sheets(content, sheet)]
    elif content[:4] == b"\xd0\xcf\x11\xe0":
        raise UnreadableError("is an old .xls file: save it as .xlsx or CSV")
    else:
        text = _text(content)
        tables = [_table(_csv_rows(text, separator)) for separator in SEPARATORS]
    found = [table for table in tables if table]
    if not found:
        raise UnreadableError("has no row that names an address column (地址, 寄存器, address …)")
    return found[0] if content[:2] == b"PK" else max(found, key=lambda table: len(table.columns))


def _table(rows: Iterable[Row]) -> Table | None:
    every = list(rows)
    for place, row in enumerate(every[:HEADER_WITHIN]):
        columns = columns_of(row.cells)
        if columns:
            later = [r for r in every[place + 1 :] if list(r.cells) != list(row.cells)]
            return Table(columns, row.cells, later)
    return None


def _text(content: bytes) -> str:
    encodings = ["utf-8-sig", "gb18030"]
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UnreadableError("is neither UTF-8 nor GB 18030 text, nor an .xlsx file")


def _csv_rows(text: str, separator: str) -> list[Row]:
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            rows.append(Row(reader.line_num, cells))
    except csv.Error as error:
        if separator == SEPARATORS[0] and not rows:
            raise UnreadableError(f"is no CSV: line {reader.line_num}: {error}") from error
    return rows


def _sheets(content: bytes, sheet: str | None) -> list[list[Row]]:
    try:
        import openpyxl  # an extra: tables in CSV need nothing
    except ImportError as error:
        raise UnreadableError("is .xlsx: pip install 'pms-edge[import]' to read it") from error
    try:
        book: Any = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        names: list[str] = book.sheetnames
        if sheet is not None and sheet not in names:
            raise UnreadableError(f"has no sheet {sheet!r}: {', '.join(names)}")
        return [_xlsx_rows(book[name]) for name in ([sheet] if sheet else names)]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError, TypeError) as error:
        raise UnreadableError(f"is no .xlsx file: {error}") from error


def _xlsx_rows(sheet: Any) -> list[Row]:
    rows: list[Row] = []
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        fractions = {i for i, v in enumerate(values) if isinstance(v, float) and v % 1}
        rows.append(Row(number, [_shown(value) for value in values], frozenset(fractions)))
    return rows


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
