"""What a reader of the catalog of series needs of it."""

from collections.abc import Iterable
from typing import Protocol

from pms_iot.assets.catalog import SeriesInfo


class SeriesSource(Protocol):
    """All known series; `generation` grows whenever they change. `SeriesCatalog` is one."""

    @property
    def generation(self) -> int: ...

    def all(self) -> Iterable[SeriesInfo]: ...
