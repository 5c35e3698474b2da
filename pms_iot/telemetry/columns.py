"""Lines of one message to columns of samples.

Plain lines, as gateways write them, are read all at once (`plain.read_plain`), and the series of their
fields found by comparing names with those of earlier lines. Any other line (quotes, escapes, booleans, an
odd time) is read by `line.parse_line`, with the same answer.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import BAD, Batch
from pms_iot.telemetry.line import Sample, head_of, parse_line, samples_of
from pms_iot.telemetry.plain import Plain, is_plain, read_plain

_PLAIN_HEAD = re.compile(r"[^#,= \\][^,= \\]*(?:,[^,= \\]+=[^,= \\]+)*")
_HAS_Q = re.compile(rb"[ ,]q=")
_MOST_UNKNOWN = 50_000  # fields remembered; beyond it we start anew
_MOST_NAMES = 16 << 20  # bytes remembered of lines
_MOST_TEXTS = 4 << 20  # and of whole messages, which only spare a look at each line
_ENTRY = 400  # bytes that a remembered name takes beside its own letters


@dataclass(frozen=True, slots=True)
class Unresolved:
    """The samples of a field that no series stands for, in the order in which they came."""

    asset: str
    field: str
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @property
    def count(self) -> int:
        return len(self.at)

    @property
    def last_value(self) -> float | None:
        """None = not a number."""
        last = float(self.value[-1])
        return None if math.isnan(last) else last


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


class Names(NamedTuple):
    """How the register calls what a line is about: its asset, and its fields as `{field}` in a pattern."""

    asset: str
    pattern: str = "{field}"


NamesOf = Callable[[str, dict[str, str]], Names]
"""Of a measurement with these tags. Raises ValueError if it is nobody's, or not of this site."""


class LineReader:
    """Reads the lines of messages from one place and remembers their forms; for one thread.

    `series_of(asset, field)` answers None for what the register does not know. `ours`: the fields `q`
    and `bad` tell of quality, as gateways write them; in others' lines they are fields as any other.
    """

    def __init__(
        self, names_of: NamesOf, series_of: Callable[[str, str], int | None], *, ours: bool = True
    ) -> None:
        self.names_of, self._series_of, self.ours = names_of, series_of, ours
        self._by_line: dict[bytes, NDArray[np.int32]] = {}  # names -> series of the values
        self._by_text: dict[bytes, NDArray[np.int32]] = {}
        self._remembered = self._of_texts = 0  # bytes in the two
        self._unresolved: dict[tuple[str, str], int] = {}  # asset, field -> -1, -2, …

    def read(self, text: bytes, first_line: int, oldest_ns: int, newest_ns: int) -> Columns:
        """Reads all lines; times outside [oldest, newest] are refused.

        `first_line` is the number of the first line, for LineError, which this raises.
        """
        if self._remembered > _MOST_NAMES or len(self._unresolved) > _MOST_UNKNOWN:
            self.__init__(self.names_of, self._series_of, ours=self.ours)
        reading = _Reading(self, first_line, oldest_ns, newest_ns)
        if not reading.add_plain(text):
            reading.add_mixed(text.split(b"\n"))
        return reading.columns()

    def series_of_names(self, names: bytes) -> NDArray[np.int32] | None:
        """The series of all values under `Plain.names`; None if a line's head is not plain."""
        known = self._by_text.get(names)
        if known is not None:
            return known
        lines = names.split(b"\n")[:-1]
        parts = [self._series_of_line(line) for line in lines]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        series = np.concatenate(found)
        if self._of_texts > _MOST_TEXTS:
            self._by_text.clear()
            self._of_texts = 0
        self._by_text[names] = series
        self._of_texts += len(names) + series.nbytes + _ENTRY
        return series

    def _series_of_line(self, names: bytes) -> NDArray[np.int32] | None:
        known = self._by_line.get(names)
        if known is None:
            made = self._made(names.decode())
            if made is None:
                return None
            known = self._by_line[names] = made
            self._remembered += len(names) + made.nbytes + _ENTRY
        return known

    def _made(self, names: str) -> NDArray[np.int32] | None:
        head, _, rest = names.partition(" ")
        fields = rest.split("=")[:-1]
        if not _PLAIN_HEAD.fullmatch(head) or not all(fields) or "q" in fields[:-1]:
            return None
        try:
            called = self.names_of(*head_of(head))
        except ValueError:
            return None
        if fields[-1] == "q":
            del fields[-1]
        return np.array([self.number(called, field) for field in fields], np.int32)

    def number(self, called: Names, field: str) -> int:
        """The series of a field, or a negative number that stands for this unknown field."""
        asset, field = called.asset, called.pattern.replace("{field}", field)
        series = self._series_of(asset, field)
        if series is not None:
            return series
        return self._unresolved.setdefault((asset, field), -1 - len(self._unresolved))

    def unresolved(self, batch: Batch) -> tuple[Unresolved, ...]:
        """Samples of unknown fields, sorted out by field."""
        if not len(batch):
            return ()
        names = list(self._unresolved)
        order = np.argsort(-batch.series, kind="stable")
        batch = batch.take(order)
        edges = np.flatnonzero(np.diff(batch.series)) + 1
        columns = (np.split(column, edges) for column in (batch.at, batch.value, batch.quality))
        numbers = batch.series[np.concatenate(([0], edges))].tolist()
        return tuple(
            Unresolved(*names[-1 - number], *parts)
            for number, *parts in zip(numbers, *columns, strict=True)
        )


class _Reading:
    """One message on its way into columns."""

    def __init__(self, reader: LineReader, first_line: int, oldest_ns: int, newest_ns: int) -> None:
        self._reader = reader
        self._first_line = first_line
        self._oldest_ns = oldest_ns
        self._newest_ns = newest_ns
        self._blocks: list[Batch] = []
        self._rows: list[
            NDArray[np.intp]
        ] = []  # of each sample of a block, the line that it is from
        self._refused: Counter[str] = Counter()
        self._seen = 0

    def columns(self) -> Columns:
        whole = Batch.concat(self._blocks) if len(self._blocks) != 1 else self._blocks[0]
        if len(self._blocks) > 1:
            whole = whole.take(np.argsort(np.concatenate(self._rows), kind="stable"))
        known = whole.series >= 0
        if known.all():
            return Columns(whole, (), self._refused, self._seen)
        unresolved = self._reader.unresolved(whole.take(~known))
        return Columns(whole.take(known), unresolved, self._refused, self._seen)

    def add_mixed(self, lines: Sequence[bytes]) -> None:
        """Adds lines of which some are not plain."""
        for test in (_may_be_plain, is_plain, _none):
            plain = [row for row, line in enumerate(lines) if test(line)]
            if self.add_plain(b"".join(lines[row] + b"\n" for row in plain), plain):
                break
        for row in sorted(set(range(len(lines))) - set(plain)):
            if lines[row] and not lines[row].startswith(b"#"):
                self._add_exact(row, lines[row])

    def add_plain(self, text: bytes, rows: Sequence[int] | None = None) -> bool:
        """Adds lines that are all plain, else nothing and answers False; `rows` are their numbers."""
        if not text:
            return True
        if not self._reader.ours and _HAS_Q.search(text):
            return False
        plain = read_plain(text if text.endswith(b"\n") else text + b"\n")
        series = None if plain is None else self._reader.series_of_names(plain.names)
        if plain is None or series is None:
            return False
        self._seen += len(series)
        if plain.at.min() < self._oldest_ns or plain.at.max() > self._newest_ns:
            self._add_in_time(plain, series, rows)
        else:
            at, quality = (np.repeat(each, plain.counts) for each in (plain.at, plain.quality))
            self._blocks.append(Batch.of(series, at, plain.value, quality))
            if rows is not None:
                self._rows.append(np.repeat(rows, plain.counts))
        return True

    def _add_in_time(
        self, plain: Plain, series: NDArray[np.int32], rows: Sequence[int] | None
    ) -> None:
        early, late = plain.at < self._oldest_ns, plain.at > self._newest_ns
        for reason, wrong in (("too_old", early), ("in_future", late)):
            self._refused += Counter({reason: int(plain.counts[wrong].sum())})  # leaves out zeros
        at, quality = (np.repeat(each, plain.counts) for each in (plain.at, plain.quality))
        keep = np.repeat(~(early | late), plain.counts)
        self._blocks.append(Batch.of(series, at, plain.value, quality).take(keep))
        if rows is not None:
            self._rows.append(np.repeat(rows, plain.counts)[keep])

    def _add_exact(self, row: int, text: bytes) -> None:
        try:
            line = parse_line(text.removesuffix(b"\r").decode())
            called = self._reader.names_of(line.measurement, line.tags)
            samples, texts = samples_of(line, ours=self._reader.ours)
        except ValueError as error:
            raise LineError(self._first_line + row, str(error)) from error
        self._seen += len(samples) + texts
        if reason := self._wrong_time(line.at):
            self._refused[reason] += len(samples) + texts
            return
        self._refused += Counter(text=texts)
        self._refused += Counter(not_a_number=sum(s.is_not_a_number for s in samples))
        self._blocks.append(self._block(called, line.at, samples))
        self._rows.append(np.full(len(samples), row))

    def _block(self, called: Names, at: int, samples: list[Sample]) -> Batch:
        series = [self._reader.number(called, sample.field) for sample in samples]
        value = np.array([sample.value for sample in samples], np.float64)  # None becomes NaN
        finite = np.isfinite(value)
        quality = np.where(finite, [sample.quality for sample in samples], BAD)
        return Batch.of(series, [at] * len(samples), np.where(finite, value, np.nan), quality)

    def _wrong_time(self, at: int) -> str | None:
        if at < self._oldest_ns:
            return "too_old"
        return "in_future" if at > self._newest_ns else None


def _may_be_plain(line: bytes) -> bool:
    return bool(line) and not line.startswith(b"#") and b'"' not in line and b"\\" not in line


def _none(_line: bytes) -> bool:
    return False
