"""What a request asks of the history, read from its query string; every mistake names its parameter."""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast, get_args

from starlette.datastructures import QueryParams

from pms_iot.assets.catalog import SeriesCatalog, SeriesInfo
from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.store import bucket_width
from pms_iot.web.problems import ProblemError

Aggregate = Literal["minmax", "min", "max", "mean", "count", "increase"]
Quality = Literal["all", "good", "not_bad"]
Format = Literal["json", "csv", "arrow"]

MAX_WINDOW_NS = 3660 * 86_400 * 10**9
MAX_MS = 9_000_000_000_000  # the year 2255; nanoseconds end in 2262
MAX_SERIES = 50
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "text/csv": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
}
_TIMES = {"start", "end", "buckets", "aggregate", "quality", "raw", "format"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets of equal width that begin at multiples of it since the epoch, and cover what was asked."""

    start_ns: int
    end_ns: int
    width_ns: int

    @property
    def buckets(self) -> int:
        return (self.end_ns - self.start_ns) // self.width_ns


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of each series. `start_ns` and `end_ns` are as asked, `grid` has whole buckets."""

    start_ns: int
    end_ns: int
    buckets: int
    aggregate: Aggregate
    quality: Quality
    raw: bool
    format: Format

    @property
    def grid(self) -> Grid:
        width = bucket_width(self.start_ns, self.end_ns, self.buckets)
        end_ns = -(-self.end_ns // width) * width
        return Grid(self.start_ns // width * width, end_ns, width)


def read_ask(query: QueryParams, accept: str, now_ns: int, also: Collection[str] = ()) -> Ask:
    """Raises ProblemError. also: parameters that the route itself reads."""
    refuse_unknown(query, {*_TIMES, *also})
    start_ns = instant(query, "start")
    if start_ns is None:
        raise ProblemError(422, "start is missing: Unix milliseconds or ISO 8601", "start")
    end_ns = instant(query, "end")
    end_ns = now_ns if end_ns is None else end_ns
    if not start_ns < end_ns:
        raise ProblemError(422, "end must be after start", "end")
    if end_ns - start_ns > MAX_WINDOW_NS:
        raise ProblemError(422, "the window is at most 3660 days", "start", limit_days=3660)
    raw = _word(query, "raw", ("false", "true")) == "true"
    if query.get("aggregate") == "increase" and "quality" in query:
        raise ProblemError(422, "an increase is counted from good readings only", "quality")
    if raw and ("aggregate" in query or "buckets" in query):
        given = "aggregate" if "aggregate" in query else "buckets"
        raise ProblemError(422, f"raw samples have no {given}", given)
    return Ask(
        start_ns,
        end_ns,
        whole(query, "buckets", 600, 2, 5000),
        cast(Aggregate, _word(query, "aggregate", get_args(Aggregate))),
        cast(Quality, _word(query, "quality", get_args(Quality))),
        raw,
        wanted_format(query, accept),
    )


def refuse_unknown(query: QueryParams, known: Collection[str]) -> None:
    """A misspelt parameter would silently leave its default in force."""
    for name in query:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ProblemError(422, f"no such parameter{hint}", name)


def one(query: QueryParams, name: str) -> str | None:
    """The value of a parameter that may be given once."""
    values = query.getlist(name)
    if len(values) > 1:
        raise ProblemError(422, "is given more than once", name)
    return values[0] if values else None


def _word(query: QueryParams, name: str, known: Sequence[str]) -> str:
    """One of some words, the first of them by default."""
    text = one(query, name)
    if text is not None and text not in known:
        raise ProblemError(422, f"{text!r} is not one of {', '.join(known)}", name)
    return text or known[0]


def flag(query: QueryParams, name: str) -> bool:
    """`true` or `false`, false by default."""
    return _word(query, name, ("false", "true")) == "true"


def whole(query: QueryParams, name: str, default: int, low: int, high: int) -> int:
    """A whole number within limits."""
    text = one(query, name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,18}", text) or not low <= int(text) <= high:
        raise ProblemError(422, f"must be a whole number from {low} to {high}", name)
    return int(text)


def instant(query: QueryParams, name: str) -> int | None:
    """Unix ns of Unix milliseconds, or of ISO 8601 with a zone."""
    text = one(query, name)
    return None if text is None else parse_instant(text, name)


def parse_instant(text: str, name: str) -> int:
    """Unix ns of one such text. Raises ProblemError naming the parameter."""
    if re.fullmatch(r"\d{1,18}", text):
        return _of_ms(int(text), name)
    # `+` in a query string is a space to those who decode it.
    iso = re.sub(r" (\d\d:?\d\d)$", r"+\1", text)
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        what = "must be Unix milliseconds or ISO 8601, such as 2026-11-23T06:30:00Z"
        raise ProblemError(422, what, name) from None
    if at.tzinfo is None:
        raise ProblemError(422, f"has no zone; for UTC write {text}Z", name)
    try:
        return _of_ms(to_ns(at) // 1_000_000, name) + to_ns(at) % 1_000_000
    except OverflowError:
        raise ProblemError(422, "is out of range", name) from None


def _of_ms(ms: int, name: str) -> int:
    if not 0 <= ms <= MAX_MS:
        raise ProblemError(422, f"must be from 0 to {MAX_MS} ms", name)
    return ms * 1_000_000


def wanted_format(query: QueryParams, accept: str) -> Format:
    """By `format`, else by the Accept header; JSON if that leaves it open. Raises ProblemError (406)."""
    text = one(query, "format")
    if text is not None:
        return cast(Format, _word(query, "format", get_args(Format)))
    ranked = [entry for entry in map(_media_range, accept.split(",")) if entry[1] > 0]
    for media, _ in sorted(ranked, key=lambda entry: -entry[1]):
        if media in MEDIA_TYPES:
            return MEDIA_TYPES[media]
        if media in ("*/*", "application/*"):
            return "json"
        if media == "text/*":
            return "csv"
    if not accept.strip():
        return "json"
    raise ProblemError(406, f"there is {', '.join(MEDIA_TYPES)}", "Accept")


def _media_range(entry: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return media, float(value)
            except ValueError:
                return media, 0.0
    return media, 1.0


def series_of(
    catalog: SeriesCatalog, assets: Sequence[str], points: Sequence[str]
) -> list[SeriesInfo]:
    """Every one of these points of every one of these assets. Raises ProblemError."""
    for name, values in (("asset", assets), ("point", points)):
        if not values:
            raise ProblemError(422, f"{name} is missing", name)
    pairs = list(dict.fromkeys((asset, point) for asset in assets for point in points))
    if len(pairs) > MAX_SERIES:
        raise ProblemError(422, f"at most {MAX_SERIES} series at a time", "point", limit=MAX_SERIES)
    return [_info(catalog, *pair) for pair in pairs]


def _info(catalog: SeriesCatalog, asset: str, point: str) -> SeriesInfo:
    number = catalog.lookup(asset, point)
    if number is not None:
        return catalog.info(number)
    points = catalog.of_asset(asset)
    if not points:
        raise ProblemError(404, f"no asset {asset!r} with points", "asset")
    close = difflib.get_close_matches(point, points, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ProblemError(404, f"{asset} has no point {point!r}{hint}", "point")
