"""A ridge model of one asset as it is kept: what was learned, and the sample time from which it holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.kernel.arrays import Arrays, opened, pack, sealed, unpack

LEARNED = (
    *(f"ridge.{name}" for name in ("origin", "n", "xx", "xy", "yy", "weights")),
    *(f"ridge.{name}" for name in ("usual", "floor", "mean", "peak", "judged")),
)
"""The columns of `ridge.py` that are learned."""


@dataclass(frozen=True, slots=True)
class Learned:
    """The ridge models of one asset in each of `codes`, and the sample time from which they hold."""

    asset: str
    holds_from_ns: int
    codes: NDArray[np.int64]
    columns: Arrays

    def fits(self, fresh: Arrays) -> bool:
        """Whether the columns are of the shape that a model has (another pack has another)."""
        return all(
            name in self.columns and self.columns[name].shape[1:] == fresh[name].shape[1:]
            for name in LEARNED
        )

    def pack(self) -> bytes:
        columns = self.columns | {"codes": self.codes}
        return sealed(pack([self.asset, self.holds_from_ns], columns))

    @classmethod
    def unpack(cls, content: bytes) -> "Learned":
        """Raises ValueError for anything but what `pack` made."""
        (asset, holds_from_ns), columns = unpack(opened(content))
        return cls(asset, holds_from_ns, columns.pop("codes"), columns)
