"""Packed rows of the spool: consecutive batches of a lane, compressed together, unpacked byte for byte.

Batches of a lane repeat each other with small changes. What stands at the same place of each is put
side by side before it is compressed, so that the compressor finds the repetition however large a batch is.
"""

import json
import zlib
from collections.abc import Sequence
from itertools import chain, zip_longest

from pms_edge.batch import Batch

_LEVEL = 6
_END = b"\n"


def pack(batches: Sequence[Batch]) -> bytes:
    """One compressed block of batches of the same lane."""
    parts = [batch.body.split(b",") for batch in batches]
    head = [[b.samples, b.first_ns, b.last_ns, len(p)] for b, p in zip(batches, parts, strict=True)]
    side_by_side = chain.from_iterable(zip_longest(*parts))
    body = b",".join(part for part in side_by_side if part is not None)
    return zlib.compress(json.dumps(head, separators=(",", ":")).encode() + _END + body, _LEVEL)


def unpack(lane: str, block: bytes) -> list[Batch]:
    """The batches of a block. Raises ValueError or zlib.error when it is none."""
    head, _, body = zlib.decompress(block).partition(_END)
    rows = json.loads(head)
    parts = _apart(body.split(b","), [row[3] for row in rows])
    return [Batch(lane, b",".join(p), *row[:3]) for row, p in zip(rows, parts, strict=True)]


def _apart(parts: list[bytes], counts: list[int]) -> list[list[bytes]]:
    if len(set(counts)) == 1:
        return [parts[i :: len(counts)] for i in range(len(counts))]
    rows: list[list[bytes]] = [[] for _ in counts]
    rest = iter(parts)
    for place in range(max(counts)):
        for row, count in zip(rows, counts, strict=True):
            if place < count:
                row.append(next(rest))
    return rows
