"""What a decoder makes of a piece of a file: columns whose series still have to be looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.transfer.naming import Register

Name = tuple[str, str, str]  # site ("" = not given), asset, point


class Malformed(NamedTuple):
    """A row that cannot be used; `line` counts from 1 (in Parquet: the row)."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Block:
    """Columns; `name` is an index into `names`."""

    names: Sequence[Name]
    name: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    malformed: Sequence[Malformed] = ()


@dataclass
class BlockBuilder:
    """A block, row by row."""

    numbers: dict[Name, int] = field(default_factory=dict[Name, int])
    rows: list[tuple[int, int, float, int]] = field(
        default_factory=list[tuple[int, int, float, int]]
    )
    malformed: list[Malformed] = field(default_factory=list[Malformed])

    def add(self, name: Name, at: int, value: float, quality: int) -> None:
        self.rows.append((self.numbers.setdefault(name, len(self.numbers)), at, value, quality))

    def block(self) -> Block:
        name, at, value, quality = zip(*self.rows, strict=True) if self.rows else ((), (), (), ())
        return Block(
            list(self.numbers),
            np.array(name, np.int32),
            np.array(at, np.int64),
            np.array(value, np.float64),
            np.array(quality, np.uint8),
            self.malformed,
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """The samples of known series of a piece of a file, and what could not be used of it."""

    batch: Batch
    unknown: Mapping[Name, int]
    malformed: Sequence[Malformed]


class Resolver:
    """Names of a file to series of the register.

    An asset's site has to agree where the file gives one, for codes of two installations may coincide;
    not where `renamed` (asset in the file -> asset here) says which asset is meant.
    """

    def __init__(self, register: Register, renamed: dict[str, str]) -> None:
        self._register = register
        self._renamed = renamed
        self._known: dict[Name, int] = {}

    def series(self, name: Name) -> int:
        """-1 for what the register does not know."""
        if name not in self._known:
            self._known[name] = self._looked_up(name)
        return self._known[name]

    def _looked_up(self, name: Name) -> int:
        site, asset, point = name
        series = self._register.lookup(self._renamed.get(asset, asset), point)
        if series is None:
            return -1
        elsewhere = site and asset not in self._renamed
        return -1 if elsewhere and self._register.info(series).site != site else series

    def resolve(self, block: Block) -> Piece:
        """The samples of known series, in their order, and how many there were of each unknown name."""
        numbers = np.array([self.series(name) for name in block.names], np.int32)
        series = numbers[block.name] if len(block.name) else np.empty(0, np.int32)
        batch = Batch.of(series, block.at, block.value, block.quality)
        unknown = np.flatnonzero(numbers < 0).tolist()
        if not unknown:
            return Piece(batch, {}, block.malformed)
        counts = np.bincount(block.name, minlength=len(block.names))
        missed = {block.names[i]: int(counts[i]) for i in unknown if counts[i]}
        return Piece(batch.take(series >= 0), missed, block.malformed)
