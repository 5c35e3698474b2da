"""Samples as line protocol in the wire's form, `<kind>,site=…,asset=… field=value,…,q=<quality>i <ns>`.

Missing samples stand on a line of their own, `bad="field,…",q=0i`: no field but these two. There, and
only there, `q` may also say another quality of the missing samples. A comma or a backslash in a field's
name has a backslash before it in this list.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.columns import LineError, LineReader
from pms_iot.telemetry.line import Line, head_of, parse_line
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.naming import Ranks, Rows
from pms_iot.telemetry.transfer.reading import Malformed, Name, Piece, Resolver
from pms_iot.telemetry.wire import names_at

_KEY_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_IN_LIST = re.compile(r"(?:\\.|[^,\\])+")
_ESCAPED_IN_LIST = re.compile(r"\\(.)")
_EVER = (-(2**63), 2**63 - 1)


class LineEncoder:
    """Rows to bytes. Raises TransferError for names that line protocol cannot carry."""

    header = b""

    def __init__(self, ranks: Ranks) -> None:
        for info in ranks.infos:
            _check_names(info)
        self._heads = [_head(info) for info in ranks.infos]
        self._fields = [info.point.translate(_KEY_ESCAPES) for info in ranks.infos]
        self._listed = [_listed(info.point) for info in ranks.infos]
        assets = dict.fromkeys(info.asset_id for info in ranks.infos)  # in the order of their names
        numbers = {asset_id: number for number, asset_id in enumerate(assets)}
        self._asset = np.array([numbers[info.asset_id] for info in ranks.infos], np.int64)

    def encode(self, rows: Rows) -> bytes:
        """Samples of one asset, instant and quality share a line."""
        if not len(rows):
            return b""
        missing, asset = np.isnan(rows.value), self._asset[rows.rank]
        order = np.lexsort((rows.rank, rows.quality, missing, asset, rows.at))
        keys = [column[order] for column in (rows.at, asset, missing, rows.quality)]
        new_line = np.flatnonzero(np.any([np.diff(key) != 0 for key in keys], axis=0)) + 1
        bounds = [0, *new_line.tolist(), len(order)]
        ranks, at, quality = rows.rank[order].tolist(), keys[0].tolist(), keys[3].tolist()
        fields, listed = self._fields, self._listed
        gone = keys[2].tolist()
        cells = [
            listed[rank] if is_gone else f"{fields[rank]}={value!r}"
            for rank, value, is_gone in zip(ranks, rows.value[order].tolist(), gone, strict=True)
        ]
        return "".join(
            f"{self._heads[ranks[i]]} {_joined(cells[i:j], gone[i])},q={quality[i]}i {at[i]}\n"
            for i, j in pairwise(bounds)
        ).encode()


def _joined(cells: list[str], gone: bool) -> str:
    return f'bad="{",".join(cells)}"' if gone else ",".join(cells)


def _head(info: SeriesInfo) -> str:
    kind, site, asset = (t.translate(_KEY_ESCAPES) for t in (info.kind, info.site, info.asset))
    return f"{kind},site={site},asset={asset}"


def _listed(point: str) -> str:
    in_list = point.replace("\\", "\\\\").replace(",", "\\,")
    return in_list.replace("\\", "\\\\").replace('"', '\\"')


def _check_names(info: SeriesInfo) -> None:
    names = (info.kind, info.site, info.asset, info.point)
    if info.point in ("q", "bad") or any(
        n.endswith("\\") or re.search(r"[\r\n]", n) for n in names
    ):
        raise TransferError(f"{info.asset} {info.point}", "line protocol cannot name this; use csv")


class LineDecoder:
    """Blocks of whole lines to samples of known series."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._readers: dict[str, LineReader] = {}
        self._sites: dict[bytes, str] = {}  # by head

    def decode(self, block: bytes, first_line: int) -> Piece:
        """`first_line`: the number of the block's first line in its file."""
        self._unknown: Counter[Name] = Counter()
        self._malformed: list[Malformed] = []
        missing: list[tuple[int, Line]] = []
        by_site: dict[str, tuple[list[int], list[bytes]]] = {}
        for number, line in enumerate(block.split(b"\n"), first_line):
            if not line or line.startswith(b"#"):
                continue
            if b' bad="' in line and (read := _only_missing(line)):
                missing.append((number, read))
                continue
            numbers, lines = by_site.setdefault(self._site(line), ([], []))
            numbers.append(number)
            lines.append(line)
        batches = [
            batch
            for site, (numbers, lines) in by_site.items()
            for batch in self._read(site, numbers, lines)
        ]
        batches += [self._missing(line) for _, line in missing]
        return Piece(Batch.concat(batches), dict(self._unknown), self._malformed)

    def _site(self, line: bytes) -> str:
        head = line.split(b" ", 1)[0]
        if head.endswith(b"\\"):  # a name with a space in it
            head = line
        site = self._sites.get(head)
        if site is None:
            if len(self._sites) > 100_000:
                self._sites.clear()
            site = self._sites[head] = head_of(head.decode(errors="replace"))[1].get("site", "")
        return site

    def _read(self, site: str, numbers: Sequence[int], lines: Sequence[bytes]) -> Iterator[Batch]:
        """Around the lines that are malformed; each line is read twice at most."""
        reader = self._reader(site)
        start = 0
        while start < len(lines):
            try:
                yield self._columns(reader, site, lines, start, numbers[start])
                return
            except LineError as error:
                wrong = error.line - 1
                self._malformed.append(Malformed(numbers[wrong], error.problem))
                if wrong > start:
                    good = lines[:wrong]
                    yield self._columns(reader, site, good, start, numbers[start])
                start = wrong + 1

    def _columns(
        self, reader: LineReader, site: str, lines: Sequence[bytes], start: int, number: int
    ) -> Batch:
        columns = reader.read(b"\n".join(lines[start:]), start + 1, *_EVER)
        for field in columns.unresolved:
            self._unknown[site, field.asset, field.field] += field.count
        if texts := columns.refused["text"]:
            self._malformed.append(
                Malformed(number, f"{texts} fields with text in the {len(lines) - start} lines on")
            )
        return columns.batch

    def _reader(self, site: str) -> LineReader:
        if site not in self._readers:
            self._readers[site] = LineReader(
                partial(names_at, site), partial(_series_at, self._resolver.series, site)
            )
        return self._readers[site]

    def _missing(self, line: Line) -> Batch:
        fields = dict(line.fields)
        quality = int(fields.get("q", 0))
        names = [_ESCAPED_IN_LIST.sub(r"\1", n) for n in _IN_LIST.findall(str(fields["bad"]))]
        found: list[int] = []
        for point in names:
            name = (line.tags.get("site", ""), line.tags["asset"], point)
            series = self._resolver.series(name)
            if series < 0:
                self._unknown[name] += 1
            else:
                found.append(series)
        n = len(found)
        return Batch.of(found, [line.at] * n, [np.nan] * n, [quality] * n)


def _series_at(series_of: Callable[[Name], int], site: str, asset: str, point: str) -> int | None:
    series = series_of((site, asset, point))
    return None if series < 0 else series


def _only_missing(line: bytes) -> Line | None:
    """The line if it says nothing but which samples are missing; None leaves the judgement to the wire's reader."""
    try:
        read = parse_line(line.removesuffix(b"\r").decode())
    except ValueError:
        return None
    fields = dict(read.fields)
    quality = fields.get("q", 0.0)
    plain = isinstance(fields.get("bad"), str) and fields.keys() <= {"bad", "q"}
    whole = not isinstance(quality, str) and 0 <= quality <= 255 and quality == int(quality)
    return read if plain and whole and "asset" in read.tags else None
