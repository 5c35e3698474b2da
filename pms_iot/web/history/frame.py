"""What an answer is made of: columns of each series, shaped as they were asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch
from pms_iot.web.history.ask import Aggregate
from pms_iot.web.history.closed import Part

Column = NDArray[Any]
_COLUMNS: dict[Aggregate, tuple[str, ...]] = {
    "minmax": ("low", "high", "mean", "count"),
    "min": ("min",),
    "max": ("max",),
    "mean": ("mean",),
    "count": ("count",),
    "increase": ("increase",),
}
_FIELDS = {"min": "low", "max": "high"}  # of a Part


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Frame:
    """One series. at: int64 ns; the columns have its length. told: what is said of the series beside them."""

    info: SeriesInfo
    at: NDArray[np.int64]
    columns: Mapping[str, Column]
    told: Mapping[str, Any] = field(default_factory=_nothing)


def columns_of(aggregate: Aggregate) -> tuple[str, ...]:
    """The names of the columns of buckets."""
    return _COLUMNS[aggregate]


RAW_COLUMNS = ("value", "quality")


def frame_of(info: SeriesInfo, part: Part, aggregate: Aggregate) -> Frame:
    """Buckets as columns of the aggregate."""
    names = _COLUMNS[aggregate]
    return Frame(info, part.at, {name: getattr(part, _FIELDS.get(name, name)) for name in names})


def frames_of_samples(infos: Sequence[SeriesInfo], batch: Batch) -> list[Frame]:
    """Raw samples, series by series."""
    found: list[Frame] = []
    for info in infos:
        own = batch if len(infos) == 1 else batch.take(batch.series == info.id)
        found.append(Frame(info, own.at, {"value": own.value, "quality": own.quality}))
    return found


def with_gaps(frame: Frame, gap_ns: int) -> Frame:
    """A step of NaN wherever the series is silent for longer than `gap_ns`, so that no line is drawn across."""
    if len(frame.at) < 2:
        return frame
    silent = np.flatnonzero(np.diff(frame.at) > gap_ns) + 1
    return Frame(
        frame.info,
        np.insert(frame.at, silent, frame.at[silent - 1] + 1),
        {name: np.insert(_float(c), silent, np.nan) for name, c in frame.columns.items()},
        frame.told,
    )


def _float(column: Column) -> NDArray[np.float64]:
    return np.asarray(column, np.float64)


def with_band(frame: Frame, low: Part | None, high: Part | None) -> Frame:
    """The expected band of a detector as columns `lo` and `hi`, on one time axis with the series."""
    bands = [part.at for part in (low, high) if part is not None]
    at = np.unique(np.concatenate([frame.at, *bands]))
    columns = {
        name: _placed(at, frame.at, _float(column)) for name, column in frame.columns.items()
    }
    for name, part in (("lo", low), ("hi", high)):
        empty = part is None
        columns[name] = np.full(len(at), np.nan) if empty else _placed(at, part.at, part.mean)
    return Frame(frame.info, at, columns, frame.told)


def _placed(
    axis: NDArray[np.int64], at: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    placed = np.full(len(axis), np.nan)
    placed[np.searchsorted(axis, at)] = values
    return placed
