"""Groups points into block reads: fewer requests, none larger than the device allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pms_edge.profiles.points import in_parts
from pms_edge.profiles.profile import Point, ReadLimits

BIT_KINDS = frozenset({"coil", "discrete"})
MAX_BITS = 2000  # Modbus application protocol 6.1 and 6.2


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    start: int
    count: int
    points: tuple[Point, ...]

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(slots=True)
class Refusals:
    """What devices of one profile refused: blocks of `bad` are read by themselves, and no block
    goes across a cut (kind and address of the first register behind it)."""

    bad: set[tuple[str, int, int]] = field(default_factory=set[tuple[str, int, int]])
    cuts: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def forbids(self, kind: str, start: int, end: int) -> bool:
        if not (self.bad or self.cuts):
            return False
        bad = any(kind == k and first < end and start < last for k, first, last in self.bad)
        return bad or any(kind == k and start < at < end for k, at in self.cuts)


NOTHING = Refusals()


def plan(points: Iterable[Point], limits: ReadLimits, known: Refusals = NOTHING) -> list[Block]:
    """Blocks that cover every point, each at most `max_words` long with holes of `max_gap` at most.

    A block of bits holds 16 for every word, 2000 at most. No block touches a register of `no_read`
    or joins what `known` says was refused.
    """
    blocks: list[Block] = []
    pieces = [piece for p in points for piece in in_parts(p, longest(p.kind, limits))]
    for point in sorted(pieces, key=lambda p: (p.kind, p.address, p.end)):
        joined = _joined(blocks[-1], point, limits, known) if blocks else None
        if joined:
            blocks[-1] = joined
        else:
            blocks.append(block_of((point,)))
    return blocks


def block_of(points: Sequence[Point]) -> Block:
    """The smallest block that covers `points`, which are of one kind."""
    start = min(p.address for p in points)
    return Block(points[0].kind, start, max(p.end for p in points) - start, tuple(points))


def halves(block: Block) -> list[Block]:
    """The block cut in two between registers; a block of one address is not cut further."""
    addresses = sorted({p.address for p in block.points})
    if len(addresses) < 2:
        return [block]
    middle = addresses[len(addresses) // 2]
    low = tuple(p for p in block.points if p.address < middle)
    high = tuple(p for p in block.points if p.address >= middle)
    return [block_of(low), block_of(high)]


def longest(kind: str, limits: ReadLimits) -> int:
    """How many registers or bits of `kind` one request may ask for."""
    return min(16 * limits.max_words, MAX_BITS) if kind in BIT_KINDS else limits.max_words


def _joined(block: Block, point: Point, limits: ReadLimits, known: Refusals) -> Block | None:
    if block.kind != point.kind or point.address - block.end > limits.max_gap:
        return None
    end = max(block.end, point.end)
    if end - block.start > longest(block.kind, limits):
        return None
    no_read = any(first < end and block.start <= last for first, last in limits.no_read)
    if no_read or known.forbids(block.kind, block.start, end):
        return None
    return Block(block.kind, block.start, end - block.start, (*block.points, point))
