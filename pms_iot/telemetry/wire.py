"""Wire v1: from an MQTT message to a `Batch`. What cannot be understood raises; what cannot be used is counted."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary, proxy

from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.columns import LineError, LineReader, Names, Unresolved
from pms_iot.telemetry.encoding import ENCODINGS, expand
from pms_iot.telemetry.gaps import GapRecord, read_gaps

OLDEST_NS = 1_420_070_400_000_000_000  # 2015-01-01: before it, a clock that was never set
AHEAD_NS = 300 * 10**9  # a gateway whose clock is more than 5 min fast is wrong
_TOPIC = re.compile(r"pms/v1/(?P<site>[^/]+)/(?P<gateway>[^/]+)/(?P<lane>data|event)")
_EPOCH = re.compile(r"[0-9a-f]{8}")
_COUNT = re.compile(r"[0-9]{1,18}")


class Catalog(Protocol):
    """What decoding needs of the register; `assets.catalog.SeriesCatalog` has it."""

    @property
    def generation(self) -> int: ...

    def series_at(self, site: str, asset: str, point: str) -> int | None: ...


class Header(NamedTuple):
    """First line of a wire v1 message; `n` counts its samples, `base` is the gateway's lowest unacked seq."""

    gateway: str
    epoch: str
    seq: int
    n: int
    base: int
    batches: int = (
        1  # that these samples came in, when consecutive ones were joined; `seq` is the last
    )

    @property
    def first(self) -> int:
        return self.seq - self.batches + 1


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A decoded message. `header` is None for third-party line protocol.

    `unknown`: fields that the register does not know at this site; not in the batch.
    `gaps`: what the gateway says it lost; `malformed_gaps` counts those that cannot be understood.
    `refused` counts samples by reason. `too_old`, `in_future` and `text` (a field that holds text) are
    not in the batch; `not_a_number` (NaN, infinities) are, as missing with quality 0.
    """

    site: str
    gateway: str
    lane: str
    header: Header | None
    batch: Batch
    unknown: tuple[Unresolved, ...]
    refused: Mapping[str, int]
    gaps: tuple[GapRecord, ...] = ()
    malformed_gaps: int = 0


def decode(topic: str, payload: bytes, catalog: Catalog, now_ns: int) -> WireMessage:
    """Decodes one message of lane data or event; for one thread.

    Raises BadPayloadError with one of the reasons topic, not_utf8, version, encoding, too_large, header,
    gateway, malformed_line, count, empty; its detail names the line.
    """
    match = _TOPIC.fullmatch(topic)
    if match is None:
        raise BadPayloadError("topic", topic)
    first_line, _, body = payload.partition(b"\n")
    header, encoding = _header(first_line, match["gateway"])
    if encoding is not None:
        body = expand(body, encoding)
    elif header is None:
        body = payload
    _check_text(body, 2 if header else 1)
    gaps, malformed = _gaps(body) if header else ((), 0)
    reader = _reader(catalog, match["site"])
    try:
        columns = reader.read(body, 2 if header else 1, OLDEST_NS, now_ns + AHEAD_NS)
    except LineError as error:
        raise BadPayloadError("malformed_line", str(error)) from error
    _check_count(header, columns.seen)
    return WireMessage(
        match["site"],
        match["gateway"],
        match["lane"],
        header,
        columns.batch,
        columns.unresolved,
        columns.refused,
        gaps,
        malformed,
    )


def join(messages: Iterable[WireMessage]) -> list[WireMessage]:
    """Batches that continue each other's stream as one, in order; all others as they are."""
    runs: list[list[WireMessage]] = []
    for message in messages:
        if runs and _continues(runs[-1][-1], message):
            runs[-1].append(message)
        else:
            runs.append([message])
    return [_joined(run) if len(run) > 1 else run[0] for run in runs]


def _continues(before: WireMessage, after: WireMessage) -> bool:
    if before.header is None or after.header is None:
        return False
    where = before.site, before.lane, before.header.gateway, before.header.epoch
    told = before.gaps or after.gaps or before.malformed_gaps or after.malformed_gaps
    return (
        where == (after.site, after.lane, after.header.gateway, after.header.epoch)
        and after.header.seq == before.header.seq + 1
        and not told
    )


def _joined(run: Sequence[WireMessage]) -> WireMessage:
    headers = [message.header for message in run if message.header is not None]
    refused: Counter[str] = Counter()
    for message in run:
        refused.update(message.refused)
    return replace(
        run[0],
        header=headers[0]._replace(
            seq=headers[-1].seq, n=sum(h.n for h in headers), batches=len(headers)
        ),
        batch=Batch.concat(message.batch for message in run),
        unknown=tuple(field for message in run for field in message.unknown),
        refused=refused,
    )


def hollow(topic: str, payload: bytes) -> WireMessage | None:
    """The message without its samples, if at least its header can be understood; else None."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    try:
        header, encoding = _header(payload.split(b"\n", 1)[0], match["gateway"])
    except BadPayloadError:
        return None
    if encoding not in (None, *ENCODINGS):  # an engine that knows it may read it one day
        return None
    if header is None:
        return None
    header = header._replace(n=0)
    where = (match["site"], match["gateway"], match["lane"])
    return WireMessage(*where, header, Batch.empty(), (), {})


def _check_text(text: bytes, first_line: int = 1) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + first_line
        raise BadPayloadError("not_utf8", f"line {line}: byte {error.start}") from error


def _gaps(body: bytes) -> tuple[tuple[GapRecord, ...], int]:
    return read_gaps(body.split(b"\n"), 0) if body.startswith(b"#gap ") else ((), 0)


def _check_count(header: Header | None, seen: int) -> None:
    if header is None and seen == 0:
        raise BadPayloadError("empty", "neither a header nor a sample")
    if header is not None and seen != header.n:
        raise BadPayloadError("count", f"line 1: n={header.n}, but {seen} samples follow")


def _header(line: bytes, gateway: str) -> tuple[Header | None, str | None]:
    """The header and the encoding of what follows; None where there is none, as in third-party data."""
    if not line.startswith(b"#pms"):
        return None, None
    _check_text(line)
    magic, *parts = line.removesuffix(b"\r").decode().split(" ")
    given = {key: value for key, _, value in (part.partition("=") for part in parts)}
    if magic != "#pms1":
        raise BadPayloadError("version", f"line 1: {magic[:20]!r}")
    if given.get("gw") != gateway:
        raise BadPayloadError("gateway", f"line 1: gw={given.get('gw')!r}, topic of {gateway!r}")
    if not _EPOCH.fullmatch(given.get("epoch", "")):
        raise BadPayloadError("header", f"line 1: epoch={given.get('epoch', '')[:20]!r}")
    seq, n, base = (_whole(given, key) for key in ("seq", "n", "base"))
    if not 1 <= base <= seq:
        raise BadPayloadError("header", f"line 1: base={base} with seq={seq}")
    return Header(gateway, given["epoch"], seq, n, base), given.get("encoding")


def _whole(given: Mapping[str, str], key: str) -> int:
    text = given.get(key, "")
    if not _COUNT.fullmatch(text):
        raise BadPayloadError("header", f"line 1: {key}={text[:20]!r}")
    return int(text)


_readers: WeakKeyDictionary[Catalog, tuple[int, dict[str, LineReader]]] = WeakKeyDictionary()


def _reader(catalog: Catalog, site: str) -> LineReader:
    """The reader of a site's lines; made anew when the register has changed."""
    generation, by_site = _readers.get(catalog, (-1, {}))
    if generation != catalog.generation:
        by_site = {}
        _readers[catalog] = catalog.generation, by_site
    if site not in by_site:
        seen_from_here = proxy(catalog)  # a plain reference would keep every catalog for ever
        by_site[site] = LineReader(
            partial(names_at, site), partial(_series_at, seen_from_here, site)
        )
    return by_site[site]


def names_at(site: str, _measurement: str, tags: Mapping[str, str]) -> Names:
    """The tags `site`, if there is one, and `asset` name it. Raises ValueError for another site or no asset."""
    if tags.get("site", site) != site:
        raise ValueError(f"site={tags['site']!r} on the topic of {site!r}")
    if "asset" not in tags:
        raise ValueError("no tag asset")
    return Names(tags["asset"])


def _series_at(catalog: Catalog, site: str, asset: str, point: str) -> int | None:
    return catalog.series_at(site, asset, point)
