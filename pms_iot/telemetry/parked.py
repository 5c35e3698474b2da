"""Samples of fields that the register does not know, kept until somebody adopts the field.

They wait in the core store in blocks of one field, as packed records of time, value and quality. All
blocks together have a cap; beyond it the oldest go, and the field keeps count of what it lost.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy
from sqlalchemy import Engine, func
from sqlmodel import Session, col, delete, insert, select, update

from pms_iot.kernel.db import transaction
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.quarantine import NAME_LETTERS
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.tables import ParkedSamples, UnknownPoint

CAP_BYTES = 64 << 20  # about 3.5 million samples, two days of 20 fields each second
_RECORD = np.dtype([("at", "<i8"), ("value", "<f8"), ("quality", "u1")])
_BLOCK = 128  # samples; a block that holds fewer is still added to
_ROW_BYTES = 200  # of a block, beside its records
_AT_ONCE = 200  # blocks moved in one go

SeriesAt = Callable[[str, str, str], int | None]  # site, asset, field


def park(
    session: Session, site: str, unknown: Sequence[Unresolved], *, cap: int = CAP_BYTES
) -> int:
    """Keeps these samples; answers how many older ones had to go for them."""
    arrived = _packed(unknown)
    if not arrived:
        return 0
    unfinished = _unfinished(session, site, {asset for asset, _ in arrived})
    begun: list[dict[str, Any]] = []
    for (asset, field), records in arrived.items():
        block = unfinished.get((asset, field))
        if block is None:
            begun.append({"site": site, "asset": asset, "field": field, **_filled(records)})
        else:
            for name, value in _filled(block.records + records).items():
                setattr(block, name, value)
    session.flush()
    if begun:
        session.connection().execute(insert(ParkedSamples), begun)
    return _evict(session, cap)


def _filled(records: bytes) -> dict[str, Any]:
    size = len(records) + _ROW_BYTES
    return {"records": records, "samples": len(records) // _RECORD.itemsize, "size": size}


def _packed(unknown: Sequence[Unresolved]) -> dict[tuple[str, str], bytes]:
    """Field -> its records; names too long for the list of unknown points are not kept."""
    packed: dict[tuple[str, str], bytes] = {}
    for one in unknown:
        if max(len(one.asset), len(one.field)) <= NAME_LETTERS:
            records = np.empty(one.count, _RECORD)
            records["at"], records["value"], records["quality"] = one.at, one.value, one.quality
            key = one.asset, one.field
            packed[key] = packed.get(key, b"") + records.tobytes()
    return packed


def _unfinished(
    session: Session, site: str, assets: set[str]
) -> dict[tuple[str, str], ParkedSamples]:
    names = sorted(assets)
    found: dict[tuple[str, str], ParkedSamples] = {}
    for start in range(0, len(names), _AT_ONCE):
        query = select(ParkedSamples).where(
            ParkedSamples.site == site,
            col(ParkedSamples.asset).in_(names[start : start + _AT_ONCE]),
            ParkedSamples.samples < _BLOCK,
        )
        found |= {(block.asset, block.field): block for block in session.exec(query)}
    return found


def _evict(session: Session, cap: int) -> int:
    excess = (session.exec(select(func.sum(ParkedSamples.size))).one() or 0) - cap
    lost: Counter[tuple[str, str, str]] = Counter()
    last = 0
    while excess > 0:
        for block in _oldest_after(session, last):
            if excess > 0:
                excess -= block.size
                lost[block.site, block.asset, block.field] += block.samples
                last = block.id
    if last:
        session.exec(delete(ParkedSamples).where(col(ParkedSamples.id) <= last))
        _count_evicted(session, lost)
    return lost.total()


def _oldest_after(session: Session, last: int) -> Sequence[Any]:
    """All of the next blocks but their records."""
    names = ("id", "size", "samples", "site", "asset", "field")
    query = sqlalchemy.select(*(getattr(ParkedSamples, name) for name in names))
    newer = col(ParkedSamples.id) > last
    query = query.where(newer).order_by(col(ParkedSamples.id)).limit(_AT_ONCE)
    return session.connection().execute(query).all()


def _count_evicted(session: Session, lost: Counter[tuple[str, str, str]]) -> None:
    for (site, asset, field), samples in lost.items():
        counted = update(UnknownPoint).where(
            col(UnknownPoint.site) == site,
            col(UnknownPoint.asset) == asset,
            col(UnknownPoint.field) == field,
        )
        session.exec(counted.values(evicted=col(UnknownPoint.evicted) + samples))


def parked_counts(session: Session) -> dict[tuple[str, str, str], int]:
    """(site, asset, field) -> samples that wait."""
    key = ParkedSamples.site, ParkedSamples.asset, ParkedSamples.field
    query = select(*key, func.sum(ParkedSamples.samples)).group_by(*key)
    return {(site, asset, field): count for site, asset, field, count in session.exec(query)}


def release(
    engine: Engine, store: SampleStore, series_at: SeriesAt, *, at_most: int | None = None
) -> int:
    """Moves what waits for fields that are registered by now into the store; answers how many samples.

    A field that has nothing left here is unknown no longer. A kill in between is healed by a repeat:
    blocks go only after their samples are stored. `at_most`: blocks. Raises StoreUnavailableError.
    """
    moved = blocks = 0
    for point in _listed(engine):
        series = series_at(point.site, point.asset, point.field)
        while series is not None and (at_most is None or blocks < at_most):
            found = _oldest_of(engine, point)
            if not found:
                _forget(engine, point)
                break
            store.write(Batch.concat(_unpacked(block, series) for block in found))
            moved += _drop(engine, found)
            blocks += len(found)
    return moved


class _Listed(NamedTuple):
    id: int
    site: str
    asset: str
    field: str
    arrived: int


def _listed(engine: Engine) -> list[_Listed]:
    """All unknown fields; there may be many."""
    names = ("id", "site", "asset", "field", "count")
    query = sqlalchemy.select(*(getattr(UnknownPoint, name) for name in names))
    with engine.connect() as connection:
        return [_Listed(*row) for row in connection.execute(query)]


def _oldest_of(engine: Engine, point: _Listed) -> Sequence[ParkedSamples]:
    query = select(ParkedSamples).where(
        ParkedSamples.site == point.site,
        ParkedSamples.asset == point.asset,
        ParkedSamples.field == point.field,
    )
    with transaction(engine) as session:
        return session.exec(query.order_by(col(ParkedSamples.id)).limit(_AT_ONCE)).all()


def _unpacked(block: ParkedSamples, series: int) -> Batch:
    records = np.frombuffer(block.records, _RECORD)
    return Batch.of(
        np.full(len(records), series), records["at"], records["value"], records["quality"]
    )


def _drop(engine: Engine, blocks: Sequence[ParkedSamples]) -> int:
    """Deletes the blocks, but none that has grown since it was read: it comes again, whole."""
    dropped = 0
    with transaction(engine) as session:
        for block in blocks:
            as_read = delete(ParkedSamples).where(
                col(ParkedSamples.id) == block.id, col(ParkedSamples.samples) == block.samples
            )
            if session.exec(as_read).rowcount:
                dropped += block.samples
    return dropped


def _forget(engine: Engine, point: _Listed) -> None:
    """Takes the field off the list, unless it has arrived once more as an unknown one."""
    with transaction(engine) as session:
        as_read = col(UnknownPoint.id) == point.id, col(UnknownPoint.count) == point.arrived
        session.exec(delete(UnknownPoint).where(*as_read))
