"""Gap records: what a gateway says that it lost, and why. They travel as comments behind the header."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from pms_iot.kernel.clock import from_ns
from pms_iot.telemetry.tables import TelemetryGap

CAUSES = ("evicted", "disk_full", "corrupt")
_MARK = b"#gap "
_WHOLE = re.compile(r"[0-9]{1,18}")
_INSTANT = re.compile(r"-?[0-9]{1,19}")  # years 1653 to 2286
_FIGURES = {"from": _WHOLE, "to": _WHOLE, "n": _WHOLE, "t0": _INSTANT, "t1": _INSTANT}


class GapRecord(NamedTuple):
    """Batches first..last of a lane that will never come; None where the gateway does not know.

    evicted: the oldest, over the spool's cap. disk_full: given up before they had a number.
    corrupt: a spool file that could not be read, of unknown extent.
    """

    lane: str
    cause: str
    first: int | None
    last: int | None
    samples: int | None
    first_ns: int | None
    last_ns: int | None


def read_gaps(lines: Sequence[bytes], start: int) -> tuple[tuple[GapRecord, ...], int]:
    """The gap records from line `start` on, up to the first other line, and how many were malformed."""
    found: list[GapRecord] = []
    malformed = 0
    for line in lines[start:]:
        if not line.startswith(_MARK):
            break
        record = _record(line.removesuffix(b"\r").decode("utf-8", "replace"))
        if record is None:
            malformed += 1
        else:
            found.append(record)
    return tuple(found), malformed


def _record(line: str) -> GapRecord | None:
    given = {key: value for key, _, value in (part.partition("=") for part in line.split(" ")[1:])}
    if given.get("lane") not in ("data", "event") or given.get("cause") not in CAUSES:
        return None
    if not all(form.fullmatch(given[key]) for key, form in _FIGURES.items() if key in given):
        return None
    first, last, n, t0, t1 = (int(given[key]) if key in given else None for key in _FIGURES)
    if (
        (first is None) != (last is None)
        or (first or 0) > (last or 0)
        or (t0 or 0) > (t1 or t0 or 0)
    ):
        return None
    return GapRecord(given["lane"], given["cause"], first, last, n, t0, t1)


def record_gaps(
    session: Session,
    site: str,
    gateway: str,
    epoch: str,
    seq: int,
    gaps: Sequence[GapRecord],
    at: datetime,
) -> None:
    """Keeps the gaps that message `seq` tells of; one told again, or grown meanwhile, updates its row."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    for gap in gaps:
        known = {"site": site, "gateway": gateway, "lane": gap.lane, "epoch": epoch}
        known |= {"cause": gap.cause, "start": seq if gap.first is None else gap.first}
        figures = {**_figures(gap), "noted_at": at}
        new = insert(TelemetryGap).values(**known, **figures)
        session.exec(new.on_conflict_do_update(index_elements=list(known), set_=figures))


def _figures(gap: GapRecord) -> Mapping[str, int | datetime | None]:
    return {
        "last": gap.last,
        "samples": gap.samples,
        "first_at": None if gap.first_ns is None else from_ns(gap.first_ns),
        "last_at": None if gap.last_ns is None else from_ns(gap.last_ns),
    }


def gaps(session: Session, limit: int = 100) -> Sequence[TelemetryGap]:
    """The gaps, the most recently told first."""
    newest = col(TelemetryGap.noted_at).desc(), col(TelemetryGap.id).desc()
    return session.exec(select(TelemetryGap).order_by(*newest).limit(limit)).all()
