"""Series by name: which ones are asked for, and the names of those that are written out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.transfer.errors import TransferError


class Register(Protocol):
    """What a transfer needs of `assets.catalog.SeriesCatalog`."""

    def lookup(self, asset: str, point: str) -> int | None: ...

    def info(self, series: int) -> SeriesInfo: ...

    def of_asset(self, asset: str) -> dict[str, int]: ...

    def all(self) -> Iterable[SeriesInfo]: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Names or patterns (`*`, `?`) of what is asked for; nothing given = everything."""

    sites: Sequence[str] = ()
    assets: Sequence[str] = ()
    points: Sequence[str] = ()


def select(register: Register, asked: Selection) -> list[SeriesInfo]:
    """The series asked for, by site, asset and point. Raises TransferError for a pattern that fits none."""
    infos = sorted(register.all(), key=lambda info: (info.site, info.asset, info.point))
    for option, attribute, patterns in (
        ("--site", "site", asked.sites),
        ("--asset", "asset", asked.assets),
        ("--point", "point", asked.points),
    ):
        for pattern in patterns:
            if not any(fnmatchcase(getattr(info, attribute), pattern) for info in infos):
                raise TransferError(f"{option} {pattern}", "the register has none such")
    return [
        info
        for info in infos
        if _fits(info.site, asked.sites)
        and _fits(info.asset, asked.assets)
        and _fits(info.point, asked.points)
    ]


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


class Ranks:
    """Series in the order in which they are written; `rank` of a series is its place in that order.

    The order is by name, so that two installations with the same machines write the same bytes.
    """

    def __init__(self, infos: Sequence[SeriesInfo]) -> None:
        self.infos = infos
        self._rank = np.full(max((info.id for info in infos), default=-1) + 1, -1, np.int32)
        self._rank[[info.id for info in infos]] = np.arange(len(infos), dtype=np.int32)

    def of(self, series: NDArray[np.int32]) -> NDArray[np.int32]:
        return self._rank[series]


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as they go into a file: ordered by time, then by rank."""

    rank: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @classmethod
    def of(cls, batch: Batch, ranks: Ranks) -> "Rows":
        rank = ranks.of(batch.series)
        order = np.lexsort((rank, batch.at))
        return cls(rank[order], batch.at[order], batch.value[order], batch.quality[order])

    def __len__(self) -> int:
        return len(self.rank)
