"""Lines of one message to columns of samples.

A line of the plain form that gateways write costs one split and a comparison of its field names with
those of the last line of its asset; the numbers of many such lines are parsed by one `orjson.loads`.
Any other line (quotes, escapes, booleans, integers, an odd time) is read by `line.parse_line`, with the
same answer.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.line import Line, parse_line, tags_of

_PLAIN_HEAD = re.compile(r"[^,= \\]+(?:,[^,= \\]+=[^,= \\]+)*")
_NOT_SEPARATORS = bytes(set(range(256)) - set(b"=,"))
_NUMBER_LETTERS = b"0123456789+-.eE,"
_QUALITY_TEXTS = {b"192i": GOOD, b"64i": UNCERTAIN, b"0i": BAD}
_MOST_SKELETONS = 200_000  # forms of line remembered, a few per asset; beyond it we start anew


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A field of a line that no series stands for; `last_value` None = not a number."""

    asset: str
    field: str
    count: int
    last_value: float | None


@dataclass(frozen=True, slots=True)
class Columns:
    """All lines of a message: the samples of known series, the unknown fields, and counts.

    `seen`: fields other than q, whatever became of them. `refused`: samples by reason.
    """

    batch: Batch
    unresolved: tuple[Unresolved, ...]
    refused: Counter[str]
    seen: int


class LineError(ValueError):
    """A line that is not line protocol or not of this site; `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A plain line without its values: the series of its fields, `q` left out."""

    names: list[bytes]
    separators: bytes
    series: NDArray[np.int32]
    has_quality: bool


class _PlainLine(NamedTuple):
    row: int
    skeleton: _Skeleton
    at: int
    quality: int


class _Sample(NamedTuple):
    """A field of a line; `value` None = the gateway says that it is bad."""

    field: str
    value: float | None
    quality: int


class LineReader:
    """Reads the lines of one site's messages and remembers their forms; for one thread.

    `series_of(asset, field)` answers None for what the register does not know.
    """

    def __init__(self, site: str, series_of: Callable[[str, str], int | None]) -> None:
        self._site = site
        self._series_of = series_of
        self._last: dict[bytes, _Skeleton] = {}  # by head: the form most recently met
        self._all: dict[tuple[bytes, ...], _Skeleton] = {}  # by head and names
        self._unresolved: dict[tuple[str, str], int] = {}  # asset, field -> -1, -2, …

    def read(self, lines: Sequence[bytes], start: int, oldest_ns: int, newest_ns: int) -> Columns:
        """Reads `lines[start:]`; times outside [oldest, newest] are refused. Raises LineError."""
        if len(self._all) > _MOST_SKELETONS or len(self._unresolved) > _MOST_SKELETONS:
            self.__init__(self._site, self._series_of)
        return _Reading(self, lines, oldest_ns, newest_ns).run(start)

    def skeleton(self, head: bytes, names: list[bytes]) -> _Skeleton | None:
        """The form of a plain line; None if it is not one, so that the exact reading decides."""
        last = self._last.get(head)
        if last is not None and last.names == names:
            return last
        found = self._all.get((head, *names)) or self._made(head, names)
        if found is not None:
            self._last[head] = self._all[(head, *names)] = found
        return found

    def _made(self, head: bytes, names: list[bytes]) -> _Skeleton | None:
        text = head.decode()
        if not _PLAIN_HEAD.fullmatch(text) or not all(names) or b"q" in names[:-1]:
            return None
        try:
            asset = self.asset(tags_of(text))
        except ValueError:
            return None
        has_quality = names[-1] == b"q"
        fields = [name.decode() for name in (names[:-1] if has_quality else names)]
        series = np.array([self.number(asset, field) for field in fields], np.int32)
        return _Skeleton(names, b",".join([b"="] * len(names)), series, has_quality)

    def asset(self, tags: dict[str, str]) -> str:
        """The asset that a line is about. Raises ValueError if it names none, or another site."""
        if tags.get("site", self._site) != self._site:
            raise ValueError(f"site={tags['site']!r} on the topic of {self._site!r}")
        if "asset" not in tags:
            raise ValueError("no tag asset")
        return tags["asset"]

    def number(self, asset: str, field: str) -> int:
        """The series of a field, or a negative number that stands for this unknown field."""
        series = self._series_of(asset, field)
        if series is not None:
            return series
        return self._unresolved.setdefault((asset, field), -1 - len(self._unresolved))

    def unresolved(
        self, numbers: NDArray[np.int32], value: NDArray[np.float64]
    ) -> list[Unresolved]:
        """The unknown fields of a message, with how often each came and its last value."""
        names = list(self._unresolved)
        counts = Counter(numbers.tolist())
        last = dict(zip(numbers.tolist(), value.tolist(), strict=True))
        return [
            Unresolved(asset, field, count, None if math.isnan(last[number]) else last[number])
            for number, count in counts.items()
            for asset, field in [names[-1 - number]]
        ]


class _Reading:
    """One message on its way into columns: finished blocks, and a run of plain lines not yet parsed."""

    def __init__(
        self, reader: LineReader, lines: Sequence[bytes], oldest_ns: int, newest_ns: int
    ) -> None:
        self._reader = reader
        self._lines = lines
        self._oldest_ns = oldest_ns
        self._newest_ns = newest_ns
        self._run: list[_PlainLine] = []
        self._numbers: list[bytes] = []
        self._blocks: list[Batch] = []
        self._refused: Counter[str] = Counter()
        self._seen = 0

    def run(self, start: int) -> Columns:
        for index in range(start, len(self._lines)):
            line = self._lines[index]
            if not self._add_plain(index, line) and line and not line.startswith(b"#"):
                self._close_run()
                self._add_exact(index)
        self._close_run()
        whole = Batch.concat(self._blocks)
        known = whole.series >= 0
        if known.all():
            return Columns(whole, (), self._refused, self._seen)
        unknown = whole.take(~known)
        unresolved = self._reader.unresolved(unknown.series, unknown.value)
        return Columns(whole.take(known), tuple(unresolved), self._refused, self._seen)

    def _add_plain(self, index: int, line: bytes) -> bool:
        """Adds the line to the run; False if it is not plain."""
        parts = line.split(b" ")
        if len(parts) != 3 or b'"' in line or b"\\" in line:
            return False
        head, fields, at_text = parts
        if len(at_text) != 19 or not at_text.isdigit():  # 19 digits: 2001 to 2286
            return False
        at = int(at_text)
        if not self._oldest_ns <= at <= self._newest_ns:
            return False
        tokens = fields.replace(b"=", b",").split(b",")
        skeleton = self._reader.skeleton(head, tokens[::2])
        if skeleton is None or fields.translate(None, _NOT_SEPARATORS) != skeleton.separators:
            return False
        quality = _QUALITY_TEXTS.get(tokens[-1]) if skeleton.has_quality else GOOD
        if quality is None:
            return False
        self._numbers += tokens[1:-1:2] if skeleton.has_quality else tokens[1::2]
        self._run.append(_PlainLine(index, skeleton, at, quality))
        return True

    def _close_run(self) -> None:
        """Parses the numbers of the run at once; if one is in no form of JSON, line by line."""
        run, numbers = self._run, self._numbers
        self._run, self._numbers = [], []
        if not run:
            return
        try:
            value = _floats(numbers)
        except ValueError:
            for line in run:
                self._add_exact(line.row)
            return
        counts = [len(line.skeleton.series) for line in run]
        series = np.concatenate([line.skeleton.series for line in run])
        at = np.repeat(np.array([line.at for line in run], np.int64), counts)
        quality = np.repeat(np.array([line.quality for line in run], np.uint8), counts)
        self._blocks.append(Batch.of(series, at, value, quality))
        self._seen += len(value)

    def _add_exact(self, index: int) -> None:
        try:
            line = parse_line(self._lines[index].removesuffix(b"\r").decode())
            asset = self._reader.asset(line.tags)
            samples, texts = _samples(line)
        except ValueError as error:
            raise LineError(index + 1, str(error)) from error
        self._seen += len(samples) + texts
        if reason := self._wrong_time(line.at):
            self._refused[reason] += len(samples) + texts
            return
        self._refused += Counter(text=texts)  # += leaves out zeros
        self._refused += Counter(not_a_number=sum(_is_not_a_number(s.value) for s in samples))
        self._blocks.append(self._block(asset, line.at, samples))

    def _block(self, asset: str, at: int, samples: list[_Sample]) -> Batch:
        series = [self._reader.number(asset, sample.field) for sample in samples]
        value = np.array([sample.value for sample in samples], np.float64)  # None becomes NaN
        finite = np.isfinite(value)
        quality = np.where(finite, [sample.quality for sample in samples], BAD)
        return Batch.of(series, [at] * len(samples), np.where(finite, value, np.nan), quality)

    def _wrong_time(self, at: int) -> str | None:
        if at < self._oldest_ns:
            return "too_old"
        return "in_future" if at > self._newest_ns else None


def _floats(numbers: list[bytes]) -> NDArray[np.float64]:
    """Raises ValueError for anything but plain JSON numbers."""
    text = b",".join(numbers)
    # `null`, `true` and brackets are JSON too; "-0" would lose its sign as an integer.
    if text.translate(None, _NUMBER_LETTERS) or b"-0," in text or text.endswith(b"-0"):
        raise ValueError("not all plain numbers")
    value = np.array(orjson.loads(b"[" + text + b"]"), np.float64)
    if len(value) != len(numbers):
        raise ValueError("an empty value")
    return value


def _is_not_a_number(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _samples(line: Line) -> tuple[list[_Sample], int]:
    """The samples of a line, and how many of its fields hold text."""
    quality = _quality(dict(line.fields).get("q", float(GOOD)))
    samples: list[_Sample] = []
    texts = 0
    for name, value in line.fields:
        if name == "q":
            continue
        if not isinstance(value, str):
            samples.append(_Sample(name, value, quality))
        elif name == "bad":
            samples += [_Sample(bad, None, BAD) for bad in value.split(",") if value]
        else:
            texts += 1
    return samples, texts


def _quality(value: float | str) -> int:
    """OPC: the top two bits of a byte are the quality, the rest its reason."""
    if isinstance(value, str) or not (0 <= value <= 255 and value == int(value)):
        raise ValueError(f"quality q={value!r}")
    return {0xC0: GOOD, 0x40: UNCERTAIN}.get(int(value) & 0xC0, BAD)
