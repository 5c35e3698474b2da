"""The time series in InfluxDB 1.8, 2.x or 3: written by the v2 API, read by InfluxQL.

A sample is a field `<point>` of measurement <kind>, tags site and asset. Beside it, only where it says
something, an integer field `<point>_q`: the quality of a value that is not good, and of a missing sample
-1 - quality, alone. InfluxDB merges fields of equal time, so a sample that may replace an older one always
states its quality; hence one writer per bucket, which knows how far each series has come.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import httpx2
import numpy as np
import orjson
from urllib3.exceptions import HTTPError  # what influxdb-client lets through

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.kernel.errors import PmsError, StoreUnavailableError
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.store import Buckets, bucket_width

_LINES_PER_WRITE = 5000
_STEP_NAMES = {60 * 10**9: "1m", 900 * 10**9: "15m", 3600 * 10**9: "1h"}  # of roll-ups
_QUERY_LETTERS = 4000  # of one GET; servers and proxies take 8 kB of address
_KEY_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


class SamplesRejectedError(PmsError):
    """The server understood the write and refuses it (400, 422): a repeat would be refused again.

    Samples of the batch that it did not object to are stored. Usual cause: a field that others wrote
    with another type.
    """


class BucketMissingError(PmsError):
    """A bucket for roll-ups does not exist and may not be made with this token."""


class Register(Protocol):
    """What the store needs of `assets.catalog.SeriesCatalog`."""

    def info(self, series: int) -> SeriesInfo: ...


class _Place(NamedTuple):
    """Where a series lives: its asset, the head of its lines, its field."""

    asset: int
    head: str
    field: str


class InfluxStore:
    """SampleStore on a server. 400 and 422 raise SamplesRejectedError, all else StoreUnavailableError."""

    def __init__(self, settings: InfluxSettings, register: Register, *, gzip: bool = True) -> None:
        if settings.url is None:
            raise ValueError("InfluxDB without a url")
        token = settings.token.get_secret_value()
        self._register = register
        self.url = settings.url
        self._bucket, self._org = settings.bucket, settings.org
        # 12 MB, which an engine without a server need not carry.
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS
        from influxdb_client.rest import ApiException

        self._refusal = ApiException
        self._client = InfluxDBClient(settings.url, token=token, org=settings.org, enable_gzip=gzip)
        self._writer = self._client.write_api(SYNCHRONOUS)
        self._http = httpx2.Client(
            base_url=settings.url,
            headers={"Authorization": f"Token {token}"} if token else {},
            timeout=httpx2.Timeout(30, connect=5),
        )
        self._write_lock = threading.Lock()
        self._places: dict[int, _Place] = {}  # by series; a point keeps its asset and key for life
        self._newest: dict[int, int] = {}  # by series: nothing later than this was ever written

    def write(self, batch: Batch) -> None:
        with self._write_lock:
            batch = _last_of_each(batch)
            self._look_up_newest(batch)
            lines = self._lines(batch)
            for start in range(0, len(lines), _LINES_PER_WRITE):
                self._send("\n".join(lines[start : start + _LINES_PER_WRITE]), self._bucket)
            for series, at in zip(batch.series.tolist(), batch.at.tolist(), strict=True):
                self._newest[series] = max(at, self._newest[series])

    def _look_up_newest(self, batch: Batch) -> None:
        """A series first met may have samples of an earlier run."""
        new = sorted(set(batch.series.tolist()) - self._newest.keys())
        found = self.latest(new)
        self._newest |= dict.fromkeys(new, -(2**63))
        self._newest |= zip(found.series.tolist(), found.at.tolist(), strict=True)

    def _lines(self, batch: Batch) -> list[str]:
        """Line protocol; samples of one asset and instant share a line."""
        for new in set(batch.series.tolist()) - self._places.keys():
            self._places[new] = self._place(new)
        places = self._places
        asset = np.array([places[series].asset for series in batch.series.tolist()], np.int64)
        order = np.lexsort((batch.at, asset))
        asset, batch = asset[order], batch.take(order)
        new_line = np.flatnonzero((np.diff(asset) != 0) | (np.diff(batch.at) != 0)) + 1
        bounds = [0, *new_line.tolist(), len(batch)]
        series, at = batch.series.tolist(), batch.at.tolist()
        fields = [
            _fields(places[s].field, value, quality, certain=t > self._newest[s])
            for s, t, value, quality in zip(
                series, at, batch.value.tolist(), batch.quality.tolist(), strict=True
            )
        ]
        return [
            f"{places[series[i]].head} {','.join(fields[i:j])} {at[i]}"
            for i, j in pairwise(bounds)
            if i < j
        ]

    def _place(self, series: int) -> _Place:
        info = self._register.info(series)
        site, asset = info.site.translate(_KEY_ESCAPES), info.asset.translate(_KEY_ESCAPES)
        head = f"{info.kind.translate(_KEY_ESCAPES)},site={site},asset={asset}"
        return _Place(info.asset_id, head, info.point.translate(_KEY_ESCAPES))

    def _send(self, lines: str, bucket: str) -> None:
        try:
            self._writer.write(bucket, record=lines)
        except self._refusal as error:
            if error.status == 404 and bucket != self._bucket:
                self._make_bucket(bucket)
                raise StoreUnavailableError(f"bucket {bucket} is new: try again") from error
            if error.status in (400, 422):
                raise SamplesRejectedError(f"InfluxDB {error.status}: {error.body}") from error
            raise StoreUnavailableError(f"InfluxDB {error.status}: {error.body}") from error
        except (HTTPError, OSError) as error:
            raise StoreUnavailableError(f"InfluxDB: {error}") from error

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        return self.read_many([series], start_ns, end_ns)

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        window = f"time >= {start_ns} AND time < {end_ns}"
        by_asset: dict[int, list[int]] = {}
        for number in dict.fromkeys(series):
            by_asset.setdefault(self._register.info(number).asset_id, []).append(number)
        asked = [
            (group, f"{_select(self._infos(group))} AND {window}")
            for group in _split(by_asset.values())
        ]
        return self._batches(asked).sorted_by_time()

    def latest(self, series: Sequence[int]) -> Batch:
        newest_first = "ORDER BY time DESC LIMIT 1"
        asked = [
            ([number], f"{_select(self._infos([number]))} {newest_first}")
            for number in sorted(set(series))
        ]
        return self._batches(asked)

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        width = bucket_width(start_ns, end_ns, buckets)
        return self.in_buckets(series, start_ns, end_ns, width)

    def in_buckets(
        self, series: int, start_ns: int, end_ns: int, width_ns: int, *, step_ns: int = 0
    ) -> Buckets:
        """As `downsample`, by the width of a bucket; from the roll-ups of `step_ns` if that is given."""
        info = self._register.info(series)
        names = [info.point + suffix for suffix in ("_min", "_max", "_sum", "_n")]
        low, high, total, count = map(_identifier, names if step_ns else [info.point] * 4)
        window = f"time >= {start_ns} AND time < {end_ns}"
        by_time = f"GROUP BY time({width_ns}ns) fill(none)"
        counted = f"sum({count})" if step_ns else f"count({count})"
        quality = _identifier(info.point + "_q")
        statements = [
            f"SELECT min({low}), max({high}), sum({total}), {counted} {_from(info)}"
            f" AND {window} {by_time}",
            # Only qualities that are not good are stored, and negative ones are of missing samples.
            f"SELECT min({quality}) {_from(info)} AND {window} AND {quality} >= 0 {by_time}",
        ]
        rows, worst = self._query(statements, self._bucket_of(step_ns))
        at, low, high, total, count = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        lowest = {int(row[0]): int(row[1]) for row in worst}
        low_, high_, n = np.array(low, np.float64), np.array(high, np.float64), np.array(count)
        return Buckets(
            np.array(at, np.int64),
            low_,
            high_,
            # Rounding must not put the mean of equal values outside of them.
            np.clip(np.array(total, np.float64) / n.astype(np.float64), low_, high_),
            n.astype(np.int64),
            np.array([lowest.get(int(start), GOOD) for start in at], np.uint8),
            width_ns,
        )

    def write_buckets(self, rows: Iterable[tuple[int, Buckets]], step_ns: int) -> None:
        """Roll-ups of series, into the bucket of this width. Raises BucketMissingError as well."""
        lines = [line for series, buckets in rows for line in self._summary_lines(series, buckets)]
        bucket = self._bucket_of(step_ns)
        for start in range(0, len(lines), _LINES_PER_WRITE):
            self._send("\n".join(lines[start : start + _LINES_PER_WRITE]), bucket)

    def _summary_lines(self, series: int, buckets: Buckets) -> Iterator[str]:
        place = self._place(series)
        columns = (buckets.at, buckets.low, buckets.high, buckets.mean, buckets.count)
        for at, low, high, mean, n, q in zip(
            *(column.tolist() for column in columns), buckets.quality.tolist(), strict=True
        ):
            field = place.field
            quality = "" if q == GOOD else f",{field}_q={q}i"
            yield (
                f"{place.head} {field}_min={low!r},{field}_max={high!r},"
                f"{field}_sum={mean * n!r},{field}_n={n}i{quality} {at}"
            )

    def _bucket_of(self, step_ns: int) -> str:
        return self._bucket + (f"_{_STEP_NAMES[step_ns]}" if step_ns else "")

    def _make_bucket(self, bucket: str) -> None:
        """Raises BucketMissingError where only an administrator may."""
        try:
            self._client.buckets_api().create_bucket(bucket_name=bucket, org=self._org)
        except self._refusal as error:
            raise BucketMissingError(f"bucket {bucket}: {error.status} {error.body}") from error
        except (HTTPError, OSError) as error:
            raise StoreUnavailableError(f"InfluxDB: {error}") from error

    def local_since_ns(self) -> int:
        return 0

    def ping(self) -> None:
        """Raises StoreUnavailableError if the server does not answer."""
        try:
            self._http.get("/ping").raise_for_status()
        except httpx2.HTTPError as error:
            raise StoreUnavailableError(f"InfluxDB: {error!r}") from error

    def close(self) -> None:
        self._writer.close()
        self._client.close()
        self._http.close()

    def _infos(self, series: Iterable[int]) -> list[SeriesInfo]:
        return [self._register.info(number) for number in series]

    def _batches(self, asked: Sequence[tuple[Sequence[int], str]]) -> Batch:
        answers = self._query([query for _, query in asked])
        return Batch.concat(
            _batch(number, rows, column)
            for (group, _), rows in zip(asked, answers, strict=True)
            for column, number in enumerate(group)
        )

    def _query(self, statements: Sequence[str], bucket: str | None = None) -> list[list[Any]]:
        """The rows of each statement, `[time, column, …]`; several statements share a request."""
        answers: list[list[Any]] = []
        waiting: list[str] = []
        for statement in statements:
            if waiting and sum(map(len, waiting)) + len(statement) > _QUERY_LETTERS:
                answers += self._ask(waiting, bucket or self._bucket)
                waiting = []
            waiting.append(statement)
        return answers + (self._ask(waiting, bucket or self._bucket) if waiting else [])

    def _ask(self, statements: Sequence[str], bucket: str) -> list[list[Any]]:
        asked = {"db": bucket, "q": ";".join(statements), "epoch": "ns"}
        try:
            answer = self._http.get("/query", params=asked)
        except httpx2.TransportError as error:
            raise StoreUnavailableError(f"InfluxDB: {error!r}") from error
        if answer.status_code != 200:
            raise StoreUnavailableError(f"InfluxDB {answer.status_code}: {answer.text[:500]}")
        try:
            results = orjson.loads(answer.content)["results"]
        except (orjson.JSONDecodeError, KeyError) as error:  # cut off: it ended while it answered
            said = answer.text[:200]
            raise StoreUnavailableError(f"InfluxDB, no answer but {said!r}") from error
        for result in results:
            if "error" in result:
                raise StoreUnavailableError(f"InfluxDB: {result['error']}")
        return [result["series"][0]["values"] if "series" in result else [] for result in results]


def _fields(field: str, value: float, quality: int, *, certain: bool) -> str:
    """`certain`: there can be no older sample of this instant to replace."""
    if not math.isfinite(value):
        return f"{field}_q={-1 - quality}i"
    if quality == GOOD and certain:
        return f"{field}={value!r}"
    return f"{field}={value!r},{field}_q={quality}i"


def _last_of_each(batch: Batch) -> Batch:
    """Of samples with the same series and time, the last."""
    order = np.lexsort((batch.at, batch.series))  # stable
    batch = batch.take(order)
    same_as_next = (np.diff(batch.series) == 0) & (np.diff(batch.at) == 0)
    return batch.take(np.append(~same_as_next, np.ones(min(1, len(batch)), np.bool_)))


def _split(groups: Iterable[list[int]], size: int = 25) -> list[list[int]]:
    """No statement gets longer than an address may be."""
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def _select(infos: Sequence[SeriesInfo]) -> str:
    names = (_identifier(info.point + suffix) for info in infos for suffix in ("", "_q"))
    return f"SELECT {','.join(names)} {_from(infos[0])}"


def _from(info: SeriesInfo) -> str:
    return f'FROM {_identifier(info.kind)} WHERE "site" = {_text(info.site)} AND "asset" = {_text(info.asset)}'


def _identifier(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _batch(series: int, rows: list[Any], column: int) -> Batch:
    """One series of an answer whose rows are `[time, value, quality, value, quality, …]`."""
    if not rows:
        return Batch.empty()
    at = np.array([row[0] for row in rows], np.int64)
    cells = [
        row[1 + 2 * column] for row in rows
    ]  # null; or text, if another writer made the field so
    value = np.array([None if isinstance(cell, str) else cell for cell in cells], np.float64)
    code = np.array([row[2 + 2 * column] for row in rows], np.float64)
    missing = code < 0
    quality = np.where(np.isnan(code), GOOD, np.where(missing, -1 - code, code)).astype(np.uint8)
    there = ~(np.isnan(value) & np.isnan(code))
    whole = Batch.of(np.full(len(at), series), at, np.where(missing, np.nan, value), quality)
    return whole.take(there)
