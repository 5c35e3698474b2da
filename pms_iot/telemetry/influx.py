"""The time series in InfluxDB 1.8, 2.x or 3: written by the v2 API, read by InfluxQL, both over one HTTP client."""

import re
import threading
from collections.abc import Iterable, Sequence
from gzip import compress
from itertools import islice
from typing import Any, Protocol

import httpx2
import numpy as np
import orjson

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.kernel.errors import PmsError, StoreUnavailableError
from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.influx_lines import Lines
from pms_iot.telemetry.store import Buckets, bucket_width

_LINES_PER_WRITE = 5000
_STEP_NAMES = {60 * 10**9: "1m", 900 * 10**9: "15m", 3600 * 10**9: "1h"}  # of roll-ups
_QUERY_LETTERS = 4000  # of one GET; servers and proxies take 8 kB of address
_ID = re.compile("[0-9a-f]{16}")  # of an organisation; anything else is its name


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


class InfluxStore:
    """SampleStore on a server. 400 and 422 raise SamplesRejectedError, all else StoreUnavailableError."""

    def __init__(self, settings: InfluxSettings, register: Register, *, gzip: bool = True) -> None:
        if settings.url is None:
            raise ValueError("InfluxDB without a url")
        token = settings.token.get_secret_value()
        self._register = register
        self.url = settings.url
        self._bucket, self._org, self._gzip = settings.bucket, settings.org, gzip
        self._http = httpx2.Client(
            base_url=settings.url,
            headers={"Authorization": f"Token {token}"} if token else {},
            timeout=httpx2.Timeout(30, connect=5),
        )
        self._write_lock = threading.Lock()
        self._lines = Lines(register.info, self.latest)

    def write(self, batch: Batch) -> None:
        with self._write_lock:
            for lines in self._lines.pieces(batch):
                self._send(lines, self._bucket)
            self._lines.written(batch)

    def _send(self, lines: str, bucket: str) -> None:
        asked = {"org": self._org, "bucket": bucket, "precision": "ns"}
        body, headers = lines.encode(), {"Content-Type": "text/plain; charset=utf-8"}
        if self._gzip:  # level 1: a twentieth of the time of the default, a fifth more bytes
            body, headers["Content-Encoding"] = compress(body, 1), "gzip"
        sent = {"params": asked, "content": body, "headers": headers}
        answer = self._request("POST", "/api/v2/write", **sent)
        if answer.status_code == 404 and bucket != self._bucket:
            self._make_bucket(bucket)
            answer = self._request("POST", "/api/v2/write", **sent)
        if answer.status_code in (400, 422):
            raise SamplesRejectedError(_said(answer))
        if not answer.is_success:
            raise StoreUnavailableError(_said(answer))

    def _request(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Raises StoreUnavailableError if there is no answer, or one that speaks of the server's own trouble."""
        try:
            answer = self._http.request(method, path, **request)
        except httpx2.TransportError as error:
            raise StoreUnavailableError(f"InfluxDB: {error!r}") from error
        if answer.status_code >= 500:
            raise StoreUnavailableError(_said(answer))
        return answer

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
        lines = (line for row in rows for line in self._lines.summaries(*row))
        bucket = self._bucket_of(step_ns)
        while piece := list(islice(lines, _LINES_PER_WRITE)):
            self._send("\n".join(piece), bucket)

    def _bucket_of(self, step_ns: int) -> str:
        return self._bucket + (f"_{_STEP_NAMES[step_ns]}" if step_ns else "")

    def _make_bucket(self, bucket: str) -> None:
        """Raises BucketMissingError where only an administrator may."""
        org_id = self._org
        if not _ID.fullmatch(org_id):
            answer = self._request("GET", "/api/v2/orgs", params={"org": self._org})
            if not answer.is_success:
                raise BucketMissingError(f"organisation {self._org}: {_said(answer)}")
            org_id = orjson.loads(answer.content)["orgs"][0]["id"]
        wanted = {"orgID": org_id, "name": bucket, "retentionRules": []}
        answer = self._request("POST", "/api/v2/buckets", json=wanted)
        if not answer.is_success:
            raise BucketMissingError(f"bucket {bucket}: {_said(answer)}")

    def local_since_ns(self) -> int:
        return 0

    def ping(self) -> None:
        """Raises StoreUnavailableError if the server does not answer."""
        answer = self._request("GET", "/ping")
        if not answer.is_success:
            raise StoreUnavailableError(_said(answer))

    def close(self) -> None:
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
        answer = self._request("GET", "/query", params=asked)
        if answer.status_code != 200:
            raise StoreUnavailableError(_said(answer))
        try:
            results = orjson.loads(answer.content)["results"]
        except (orjson.JSONDecodeError, KeyError) as error:  # cut off: it ended while it answered
            said = answer.text[:200]
            raise StoreUnavailableError(f"InfluxDB, no answer but {said!r}") from error
        for result in results:
            if "error" in result:
                raise StoreUnavailableError(f"InfluxDB: {result['error']}")
        return [result["series"][0]["values"] if "series" in result else [] for result in results]


def _said(answer: httpx2.Response) -> str:
    return f"InfluxDB {answer.status_code}: {answer.text[:500]}"


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
