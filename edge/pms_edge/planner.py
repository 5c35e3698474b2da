"""Groups points into block reads: fewer requests, none larger than the device allows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pms_edge.profiles import Point, ReadLimits


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    start: int
    count: int
    points: tuple[Point, ...]


def plan(points: Sequence[Point], limits: ReadLimits) -> list[Block]:
    """Blocks that cover every point, each at most `max_words` long with holes of `max_gap` at most.

    A block never touches a register of `no_read`.
    """
    blocks: list[Block] = []
    for point in sorted(points, key=lambda p: (p.kind, p.address, p.end)):
        joined = _joined(blocks[-1], point, limits) if blocks else None
        if joined:
            blocks[-1] = joined
        else:
            blocks.append(block_of((point,)))
    return blocks


def block_of(points: tuple[Point, ...]) -> Block:
    """The smallest block that covers `points`, which are of one kind."""
    start = min(p.address for p in points)
    return Block(points[0].kind, start, max(p.end for p in points) - start, points)


def halves(block: Block) -> list[Block]:
    """The block cut in two between registers; a block of one address is not cut further."""
    addresses = sorted({p.address for p in block.points})
    if len(addresses) < 2:
        return [block]
    middle = addresses[len(addresses) // 2]
    low = tuple(p for p in block.points if p.address < middle)
    high = tuple(p for p in block.points if p.address >= middle)
    return [block_of(low), block_of(high)]


def _joined(block: Block, point: Point, limits: ReadLimits) -> Block | None:
    end = max(block.start + block.count, point.end)
    hole = point.address - (block.start + block.count)
    fits = block.kind == point.kind and end - block.start <= limits.max_words
    forbidden = any(first < end and block.start <= last for first, last in limits.no_read)
    if not fits or hole > limits.max_gap or forbidden:
        return None
    return Block(block.kind, block.start, end - block.start, (*block.points, point))
