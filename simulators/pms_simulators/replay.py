"""A recorded CSV served row by row on the simulated clock."""

from __future__ import annotations

import csv
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pms_simulators.errors import RecordingError
from pms_simulators.faults import Fault, FaultPlan, Step
from pms_simulators.registers import float32_words

LABELS = ("anomaly", "changepoint")
AtEnd = Literal["hold", "stop"]


@dataclass(frozen=True)
class Recording:
    """Rows of numbers; `labels` is the anomaly column where there is one."""

    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    labels: tuple[bool, ...]


@dataclass(frozen=True)
class Playback:
    """How a recording is played. `rows` 0 means to its end."""

    period_s: float = 1.0
    loop: bool = False
    skip: int = 0
    rows: int = 0
    at_end: AtEnd = "hold"


def load_recording(path: Path, play: Playback) -> Recording:
    """Reads a `;` or `,` separated CSV with a header. Text columns are left out.

    Raises RecordingError naming line and column of a cell that is not a number, a row of the wrong
    width, or a file without rows or numeric columns.
    """
    table = _table(path)
    header, body = table[0], table[1:]
    end = play.skip + play.rows if play.rows else len(body)
    chosen = body[play.skip : end]
    if not chosen:
        raise RecordingError(path, 1, "rows", f"nothing left after row {play.skip} of {len(body)}")
    numeric = [i for i, _ in enumerate(header) if any(_is_number(row[i]) for row in body[:50])]
    columns = [i for i in numeric if header[i].strip().lower() not in LABELS]
    if not columns:
        raise RecordingError(path, 1, "header", "no numeric column")
    first_line = play.skip + 2
    rows = tuple(
        tuple(_number(path, line, header[i], row[i]) for i in columns)
        for line, row in enumerate(chosen, start=first_line)
    )
    return Recording(
        tuple(_name(header[i]) for i in columns), rows, _labels(path, header, chosen, first_line)
    )


def _table(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(path, 1, "file", str(error)) from error
    first = text.partition("\n")[0]
    table = list(csv.reader(text.splitlines(), delimiter=";" if ";" in first else ","))
    for line, row in enumerate(table, start=1):
        if len(row) != len(table[0]):
            raise RecordingError(path, line, "row", f"{len(row)} cells, header has {len(table[0])}")
    if len(table) < 2:
        raise RecordingError(path, 1, "rows", "a header and at least one row are needed")
    return table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, column: str, cell: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise RecordingError(path, line, column, f"{cell!r} is not a number") from error


def _labels(path: Path, header: list[str], rows: list[list[str]], line: int) -> tuple[bool, ...]:
    names = [name.strip().lower() for name in header]
    if "anomaly" not in names:
        return ()
    at = names.index("anomaly")
    return tuple(_number(path, line + k, "anomaly", row[at]) > 0.5 for k, row in enumerate(rows))


def _name(header: str) -> str:
    """A point key: `Volume Flow RateRMS` becomes `volume_flow_rate_rms`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", header.strip())
    return re.sub(r"\W+", "_", words).strip("_").lower()


class ReplayDevice:
    """Float32 ABCD at 0, 2, 4 … in column order, then the row number (of the file, from 0) as u32."""

    kind = "replay"
    alarm_bits: frozenset[str] = frozenset()

    def __init__(
        self, asset: str, recording: Recording, play: Playback, injected: FaultPlan
    ) -> None:
        self.asset = asset
        self._recording, self._play, self._injected = recording, play, injected
        self._t = 0.0
        self._recorded = tuple(_recorded_faults(recording, play.period_s))

    @property
    def faults(self) -> tuple[Fault, ...]:
        return (*self._recorded, *self._injected.faults)

    @property
    def size(self) -> int:
        return 2 * len(self._recording.names) + 2

    def advance(self, t_s: float, limit: int) -> bool:
        self._t = max(self._t, t_s)
        return True

    def at_s(self) -> float:
        return self._turn() * self._play.period_s

    def _turn(self) -> int:
        return int(self._t / self._play.period_s)

    def _row(self) -> int:
        count, turn = len(self._recording.rows), self._turn()
        return turn % count if self._play.loop else min(turn, count - 1)

    def write_registers(self, into: list[int]) -> None:
        row = self._row()
        words = [w for v in self._recording.rows[row] for w in float32_words(v)]
        number = self._play.skip + row
        into[: self.size] = [*words, number >> 16, number & 0xFFFF]

    def readings(self) -> dict[str, float]:
        row = self._row()
        pairs = zip(self._recording.names, self._recording.rows[row], strict=True)
        return {k: v for k, v in pairs if not math.isnan(v)} | {"row": self._play.skip + row}

    def ended(self) -> bool:
        over = self._turn() >= len(self._recording.rows)
        return over and not self._play.loop and self._play.at_end == "stop"

    def silent(self) -> bool:
        return self.ended() or self._injected.levels(self._t).of("comms_loss") > 0


def _recorded_faults(recording: Recording, period_s: float) -> list[Fault]:
    """Runs of labelled rows as faults. A looped recording names those of its first pass."""
    found: list[Fault] = []
    at = 0
    for labelled, run in itertools.groupby(recording.labels):
        length = len(list(run))
        if labelled:
            onset, end = at * period_s, (at + length) * period_s
            found.append(Fault("recorded", onset, end, 1.0, Step()))
        at += length
    return found
