"""Wire v1 lines (InfluxDB line protocol), rendered from templates made once per block."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN, Decoded, Raw

_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})

_GOOD_END = re.compile(rf",q={GOOD}i (-?\d+)$", re.MULTILINE)


class Line(NamedTuple):
    """One or more lines of text (each ends with a newline), their samples and their instant."""

    text: str
    samples: int
    at_ns: int


def escape(text: str) -> str:
    """A tag value: comma, equals sign and space are escaped, as line protocol demands."""
    return text.translate(_ESCAPES)


def series_head(measurement: str, *, site: str, asset: str) -> str:
    return f"{escape(measurement)},site={escape(site)},asset={escape(asset)}"


def bad_line(head: str, names: Sequence[str], at_ns: int) -> Line:
    """The points that could not be read or decoded; each name counts as one sample."""
    return Line(f'{head} bad="{",".join(names)}",q={BAD}i {at_ns}\n', len(names), at_ns)


def values_line(head: str, values: Mapping[str, Raw], at_ns: int, *, quality: int = GOOD) -> Line:
    fields = ",".join(f"{name}={value!r}" for name, value in values.items())
    return Line(f"{head} {fields},q={quality}i {at_ns}\n", len(values), at_ns)


def uncertain(line: Line) -> Line:
    """The same line with no quality above uncertain."""
    return line._replace(text=_GOOD_END.sub(rf",q={UNCERTAIN}i \1", line.text))


class LineTemplate:
    """Renders what one block read gave: one line per quality that occurs."""

    def __init__(self, head: str, names: Sequence[str]) -> None:
        self.head = head
        self.names = tuple(names)
        fields = ",".join(f"{name}=%r" for name in names)
        self._all_good = f"{head.replace('%', '%%')} {fields},q={GOOD}i %d\n"

    def render(self, decoded: Decoded, at_ns: int) -> Line:
        if decoded.qualities is None:
            text = self._all_good % (*decoded.values, at_ns)
            return Line(text, len(self.names), at_ns)
        return render_mixed(self.head, self.names, decoded, at_ns)


def render_mixed(head: str, names: Sequence[str], decoded: Decoded, at_ns: int) -> Line:
    """Lines of values of different quality, good first."""
    qualities = decoded.qualities or [GOOD] * len(names)
    rows = list(zip(names, decoded.values, qualities, strict=True))
    text = ""
    for quality in (GOOD, UNCERTAIN):
        values = {name: value for name, value, q in rows if q == quality}
        text += values_line(head, values, at_ns, quality=quality).text if values else ""
    bad = [name for name, _, q in rows if q == BAD]
    text += bad_line(head, bad, at_ns).text if bad else ""
    return Line(text, len(rows), at_ns)
