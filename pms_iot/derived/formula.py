"""What a formula is: a named function of what was measured over a window."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stat = Literal["mean", "slope", "gain", "share", "starts"]
"""What is taken of an input over a window, while the gates are open.

mean: of its samples. slope: its change per hour. gain: by how much a counter grew. share: of the time
(0..1) in which a state was at work. starts: how often per hour a state came to work.
"""
OF_STATES: tuple[Stat, ...] = ("share", "starts")


@dataclass(frozen=True, slots=True)
class Input:
    """unit: that of the point (None: any). many: several points may be given, which are added up."""

    name: str
    stat: Stat = "mean"
    unit: str | None = None
    many: bool = False


def _no_params() -> Mapping[str, float | None]:
    return {}


@dataclass(frozen=True, slots=True)
class Formula:
    """`compute(*inputs, **params)`, of arrays with one value per row, answers an array; NaN: undefined.

    unit: of the result (None: that of the first input). params: name -> default (None: must be given).
    covered: the share of the window for which the first input must be known, gates open.
    """

    name: str
    unit: str | None
    inputs: tuple[Input, ...]
    compute: Callable[..., Floats]
    params: Mapping[str, float | None] = field(default_factory=_no_params)
    covered: float = 0.0
