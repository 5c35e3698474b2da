"""The list of series: what there is, and from when to when."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.batch import Batch
from pms_iot.web.history.encode import iso
from pms_iot.web.history.read import HistoryReader
from pms_iot.web.problems import ProblemError

MAX_FIRST = 50
_FINE = 5000  # buckets of one look at a series
DAY_NS = 86_400 * 10**9


def describe(
    reader: HistoryReader,
    only: Mapping[str, set[str]],
    *,
    after: int,
    limit: int,
    first: bool,
) -> dict[str, Any]:
    """Series in order of their number, those above `after`, at most `limit`; `next` leads to the others.

    only: field -> wanted values; an empty set wants all. first: also tell the oldest sample, which
    costs a look at the whole history of each. Raises ProblemError for too many of them.
    """
    wanted = [
        info
        for info in sorted(reader.catalog.all(), key=lambda info: info.id)
        if all(not values or getattr(info, name) in values for name, values in only.items())
    ]
    page = [info for info in wanted if info.id > after][:limit]
    if first and len(page) > MAX_FIRST:
        detail = f"first is told of at most {MAX_FIRST} series at a time; these are {len(page)}"
        raise ProblemError(422, detail, "first", limit=MAX_FIRST)
    newest = _newest(reader, page)
    rows = [_row(reader, info, newest.get(info.id), first) for info in page]
    more = bool(page) and page[-1].id < wanted[-1].id
    return {"series": rows, "total": len(wanted), "next": page[-1].id if more else None}


def _newest(reader: HistoryReader, infos: Sequence[SeriesInfo]) -> dict[int, dict[str, Any]]:
    batch = reader.store.latest([info.id for info in infos])
    return {number: _sample(batch, i) for i, number in enumerate(batch.series.tolist())}


def _sample(batch: Batch, i: int) -> dict[str, Any]:
    value = float(batch.value[i])
    return {
        "at": iso(batch.at[i : i + 1])[0],
        "value": value if np.isfinite(value) else None,
        "quality": int(batch.quality[i]),
    }


def _row(
    reader: HistoryReader, info: SeriesInfo, newest: dict[str, Any] | None, first: bool
) -> dict[str, Any]:
    row = {
        "series": info.id,
        "site": info.site,
        "asset": info.asset,
        "kind": info.kind,
        "point": info.point,
        "label": {"zh": info.label_zh, "en": info.label_en},
        "type": info.type,
        "unit": info.unit,
        "range": [info.low, info.high],
        "period_s": info.period_s,
        "derived": info.derived,
        "last": newest,
    }
    return row | {"first": _first(reader, info)} if first else row


def _first(reader: HistoryReader, info: SeriesInfo) -> str | None:
    """Time of the oldest sample; of its bucket where only the roll-up is left. Null without any."""
    start, end = 0, reader.now_ns + DAY_NS
    while end - start > 60 * 10**9:
        found = reader.store.downsample(info.id, start, end, _FINE)
        if not len(found.at):
            return None
        width = -(-(end - start) // _FINE)
        start = int(found.at[0])
        end = start + 2 * width  # the store may have rounded the width up
        if width <= 60 * 10**9:
            break
    oldest = reader.store.read(info.id, start, end)
    at = oldest.at[:1] if len(oldest) else np.array([start])
    return iso(at)[0]
