"""Third parties' messages to samples: JSON and plain values by a mapping, line protocol as Telegraf sends it.

At least once and without acknowledgement: nobody numbers these messages, so one that the broker delivers
again is stored again, under its own times if it has any. A value without a time is stamped at arrival.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson

from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN, Batch
from pms_iot.telemetry.columns import LineError, LineReader, Names, Unresolved
from pms_iot.telemetry.encoding import MAX_EXPANDED, expand
from pms_iot.telemetry.jsonpath import ABSENT, leaves, pick
from pms_iot.telemetry.sources import PointMap, Source, TimeMap, fill, text_of
from pms_iot.telemetry.wire import AHEAD_NS, OLDEST_NS, Catalog, WireMessage

BEHIND_NS = 365 * 86_400 * 10**9  # as at the edge: a device's time a year behind was never set
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TRUTHS: dict[str, float] = {
    **dict.fromkeys(("on", "true", "yes", "1"), 1.0),
    **dict.fromkeys(("off", "false", "no", "0"), 0.0),
}
_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MOST_READERS = 1000


def merge(messages: Sequence[WireMessage]) -> WireMessage:
    """Several messages of one site as one, in order."""
    refused: Counter[str] = Counter()
    for message in messages:
        refused.update(message.refused)
    return replace(
        messages[0],
        batch=Batch.concat(message.batch for message in messages),
        unknown=tuple(field for message in messages for field in message.unknown),
        refused=refused,
    )


class _Value(NamedTuple):
    field: str
    value: float  # NaN = unreadable


class Foreign:
    """All sources of an ingest file; for one thread."""

    def __init__(self, sources: Sequence[Source], catalog: Catalog) -> None:
        self._sources = sources
        self._catalog = catalog
        self._generation = catalog.generation
        self._readers: dict[tuple[int, tuple[str, ...]], LineReader] = {}

    def decode(
        self, topic: str, payload: bytes, now_ns: int, *, retained: bool = False
    ) -> list[WireMessage]:
        """A message for each source that its topic belongs to; none if it belongs to none.

        Raises BadPayloadError: encoding, too_large, not_utf8, not_json, malformed_line, empty.
        """
        if self._generation != self._catalog.generation:
            self._readers, self._generation = {}, self._catalog.generation
        found: list[WireMessage] = []
        for number, source in enumerate(self._sources):
            captured = source.topic.match(topic)
            if captured is not None:
                body = _expanded(payload)
                if source.format == "line":
                    found.append(self._lines(number, source, captured, body, now_ns))
                else:
                    found.append(self._values(source, captured, body, now_ns, retained))
        return found

    def _lines(
        self, number: int, source: Source, captured: Mapping[str, str], body: bytes, now_ns: int
    ) -> WireMessage:
        reader = self._reader(number, source, captured)
        try:
            columns = reader.read(body, 1, OLDEST_NS, now_ns + AHEAD_NS)
        except LineError as error:
            raise BadPayloadError("malformed_line", str(error)) from error
        if columns.seen == 0:
            raise BadPayloadError("empty", "no sample")
        return WireMessage(
            source.site, "", "data", None, columns.batch, columns.unresolved, columns.refused
        )

    def _reader(self, number: int, source: Source, captured: Mapping[str, str]) -> LineReader:
        key = number, tuple(captured.values())
        if key not in self._readers:
            if len(self._readers) >= _MOST_READERS:
                self._readers.clear()
            names = partial(_names, source, captured)
            series_of = partial(self._catalog.series_at, source.site)
            self._readers[key] = LineReader(names, series_of, ours=False)
        return self._readers[key]

    def _values(
        self,
        source: Source,
        captured: Mapping[str, str],
        body: bytes,
        now_ns: int,
        retained: bool,
    ) -> WireMessage:
        document = _json(body) if source.format == "json" else body.decode(errors="replace")
        refused: Counter[str] = Counter()
        at, quality = now_ns, GOOD
        if source.time is not None:
            measured = _instant(source.time, document)
            if measured is not None and now_ns - BEHIND_NS <= measured <= now_ns + AHEAD_NS:
                at, retained = measured, False
            else:
                refused["implausible_time"] += 1
                quality = UNCERTAIN
        asset, site = fill(source.asset, captured), source.site
        if retained:  # of unknown age
            refused["retained"] += 1
            return WireMessage(site, "", "data", None, Batch.empty(), (), refused)
        values = _mapped(source.points, document) if source.points else _all(document, refused)
        refused += Counter(unreadable=sum(math.isnan(one.value) for one in values))
        batch, unknown = self._sorted_out(site, asset, values, at, quality)
        return WireMessage(site, "", "data", None, batch, unknown, refused)

    def _sorted_out(
        self, site: str, asset: str, values: Sequence[_Value], at: int, quality: int
    ) -> tuple[Batch, tuple[Unresolved, ...]]:
        series = [self._catalog.series_at(site, asset, one.field) for one in values]
        qualities = [BAD if math.isnan(one.value) else quality for one in values]
        known = [
            (number, one.value, q)
            for number, one, q in zip(series, values, qualities, strict=True)
            if number is not None
        ]
        numbers, floats, codes = zip(*known, strict=True) if known else ((), (), ())
        unknown = tuple(
            Unresolved(
                asset, one.field, np.array([at]), np.array([one.value]), np.array([q], np.uint8)
            )
            for number, one, q in zip(series, values, qualities, strict=True)
            if number is None
        )
        return Batch.of(numbers, [at] * len(known), floats, codes), unknown


def _names(
    source: Source, captured: Mapping[str, str], measurement: str, tags: Mapping[str, str]
) -> Names:
    given = {f"tag:{name}": value for name, value in tags.items()}
    given |= {"measurement": measurement, **captured}
    return Names(fill(source.asset, given), fill(source.field, given | {"field": "{field}"}))


def _expanded(payload: bytes) -> bytes:
    for magic, encoding in _MAGIC.items():
        if payload.startswith(magic):
            payload = expand(payload, encoding)
            break
    if len(payload) > MAX_EXPANDED:
        raise BadPayloadError("too_large", f"{len(payload)} bytes")
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise BadPayloadError("not_utf8", f"byte {error.start}") from error
    return payload


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayloadError("not_json", str(error)) from error


def _mapped(points: Sequence[PointMap], document: Any) -> list[_Value]:
    """The points that the message holds; NaN where it holds something else than its type."""
    found = [(point, pick(document, point.path)) for point in points]
    return [
        _Value(point.name, _finite(_number(point, value) * point.scale + point.offset))
        for point, value in found
        if value is not ABSENT
    ]


def _finite(number: float) -> float:
    return number if math.isfinite(number) else math.nan


def _all(document: Any, refused: Counter[str]) -> list[_Value]:
    """Every number and truth of a message under its own path; texts are counted."""
    values: list[_Value] = []
    for name, value in leaves(document).items():
        if isinstance(value, (bool, int, float)):
            values.append(_Value(name, float(value)))
        elif isinstance(value, str):
            refused["text"] += 1
    return values


def _number(point: PointMap, value: object) -> float:
    """NaN for what is not of the point's type."""
    text = text_of(value)
    if point.type == "enum":
        return point.values.get(text, math.nan)
    if point.type == "bool":
        return _TRUTHS.get(text.lower(), math.nan)
    try:
        return math.nan if isinstance(value, bool) else float(text)
    except ValueError:
        return math.nan


def _instant(time: TimeMap, document: Any) -> int | None:
    """Unix ns; None for what is no instant. ISO text must name its zone."""
    value = pick(document, time.path)
    try:
        if time.unit == "iso":
            at = datetime.fromisoformat(str(value))
            return to_ns(at) if at.tzinfo is not None else None
        if isinstance(value, bool):
            return None
        return (
            int(value) * _NS[time.unit]
            if isinstance(value, int)
            else round(float(value) * _NS[time.unit])
        )
    except (TypeError, ValueError, OverflowError):
        return None
