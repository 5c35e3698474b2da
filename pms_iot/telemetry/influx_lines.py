"""Batches as line protocol for a server that merges what it has: how a sample is written there.

A sample is a field `<point>` of measurement <kind>, tags site and asset. Beside it, only where it says
something, an integer field `<point>_q`: the quality of a value that is not good, and of a missing sample
-1 - quality, alone. InfluxDB merges fields of equal time, so a sample that may replace an older one always
states its quality; hence one writer per bucket, which knows how far each series has come.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.store import Buckets

_SAMPLES = 10_000  # in one piece: as text and as Python's numbers they take some hundred bytes each
_KEY_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_NEVER = -(2**63)


class Lines:
    """Knows of each series its line's head and field, and that nothing later than its newest was written.

    `newest_of`: of series first met, the newest sample at the server, from an earlier run.
    """

    def __init__(
        self, info: Callable[[int], SeriesInfo], newest_of: Callable[[Sequence[int]], Batch]
    ) -> None:
        self._info = info
        self._newest_of = newest_of
        self._heads: dict[int, str] = {}  # by asset
        self._fields: dict[int, str] = {}  # by series; a point keeps its asset and key for life
        self._known = np.zeros(0, np.bool_)  # by series, like the next two
        self._asset = np.zeros(0, np.int64)
        self._newest = np.zeros(0, np.int64)

    def pieces(self, batch: Batch) -> Iterator[str]:
        """All of it; samples of one asset and instant share a line, unless a piece ends there."""
        batch = batch.last_of_each()
        self._meet(batch.series)
        batch = batch.take(np.lexsort((batch.at, self._asset[batch.series])))
        certain = batch.at > self._newest[batch.series]
        for start in range(0, len(batch), _SAMPLES):
            piece = slice(start, start + _SAMPLES)
            yield "\n".join(self._lines(batch.take(piece), certain[piece]))

    def written(self, batch: Batch) -> None:
        """The server has all of it."""
        np.maximum.at(self._newest, batch.series, batch.at)

    def summaries(self, series: int, buckets: Buckets) -> Iterator[str]:
        """A line for each roll-up."""
        info = self._info(series)
        head, field = self._head(info), info.point.translate(_KEY_ESCAPES)
        figures = (buckets.at, buckets.low, buckets.high, buckets.mean, buckets.count)
        columns = (*figures, buckets.quality)
        for at, low, high, mean, n, q in zip(*(c.tolist() for c in columns), strict=True):
            quality = "" if q == GOOD else f",{field}_q={q}i"
            yield (
                f"{head} {field}_min={low!r},{field}_max={high!r},"
                f"{field}_sum={mean * n!r},{field}_n={n}i{quality} {at}"
            )

    def _meet(self, series: np.ndarray) -> None:
        if (missing := int(series.max(initial=-1)) + 1 - len(self._known)) > 0:
            self._known = np.append(self._known, np.zeros(missing, np.bool_))
            self._asset = np.append(self._asset, np.zeros(missing, np.int64))
            self._newest = np.append(self._newest, np.full(missing, _NEVER))
        new = np.unique(series[~self._known[series]]).tolist()
        if not new:
            return
        for number in new:
            info = self._info(number)
            self._asset[number] = info.asset_id
            self._fields[number] = info.point.translate(_KEY_ESCAPES)
            self._heads[info.asset_id] = self._head(info)
        self.written(self._newest_of(new))
        self._known[new] = True

    def _head(self, info: SeriesInfo) -> str:
        site, asset = info.site.translate(_KEY_ESCAPES), info.asset.translate(_KEY_ESCAPES)
        return f"{info.kind.translate(_KEY_ESCAPES)},site={site},asset={asset}"

    def _lines(self, batch: Batch, certain: np.ndarray) -> Iterator[str]:
        """`batch`: by asset and time."""
        asset = self._asset[batch.series]
        new_line = np.flatnonzero((np.diff(asset) != 0) | (np.diff(batch.at) != 0)) + 1
        bounds = [0, *new_line.tolist(), len(batch)]
        heads = [self._heads[number] for number in asset[bounds[:-1]].tolist()]
        fields = [
            _fields(self._fields[series], value, quality, certain=sure)
            for series, value, quality, sure in zip(
                batch.series.tolist(),
                batch.value.tolist(),
                batch.quality.tolist(),
                certain.tolist(),
                strict=True,
            )
        ]
        at = batch.at[bounds[:-1]].tolist()
        for head, (i, j), time in zip(heads, pairwise(bounds), at, strict=True):
            yield f"{head} {','.join(fields[i:j])} {time}"


def _fields(field: str, value: float, quality: int, *, certain: bool) -> str:
    """`certain`: there can be no older sample of this instant to replace."""
    if not math.isfinite(value):
        return f"{field}_q={-1 - quality}i"
    if quality == GOOD and certain:
        return f"{field}={value!r}"
    return f"{field}={value!r},{field}_q={quality}i"
