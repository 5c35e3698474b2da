"""Spools under test: batches that can be told apart, and waiting until the spool's thread is done."""

import random

from pms_edge.batch import Batch
from pms_edge.counters import Counters
from pms_edge.spool.spool import Spool
from tiny_engine import eventually

MB = 1_000_000


def batch(i: int, *, lane: str = "data", size: int = 400, samples: int = 1) -> Batch:
    """Batch i of a lane: always the same bytes for the same i, some of them hard to compress."""
    noise = random.Random(i).randbytes(size // 8).hex()
    body = f"pump,site=s,asset=P{i % 3} flow={i},level={i % 7},x={noise},q=192i {i}\n"
    return Batch(lane, body.encode() * (size // len(body) + 1), samples, i, i)


def open_spool(path, max_bytes: int = MB, **more) -> Spool:
    counters = Counters()
    spool = Spool(path, max_bytes=max_bytes, sync="normal", counters=counters, **more)
    spool.counters = counters
    return spool


def settle(spool: Spool) -> Spool:
    """Until nothing is left to write, free, evict or pack. Its thread keeps work until it is done."""

    def idle() -> bool:
        with spool._changed:
            return not spool._has_work()

    eventually(idle)
    return spool


def keep(spool: Spool, *batches: Batch) -> Spool:
    for one in batches:
        spool.keep(one)
    return settle(spool)
