"""Why samples are missing: from evidence with times to the name of a cause. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

# The most telling first: what a gateway itself says that it lost, then what it stamped, then who was away.
ORDER = ("evicted", "disk_full", "corrupt", "clock", "device", "gateway", "engine")
UNKNOWN = "unknown"
EXPLAINED = 0.5  # share of a gap that a cause must cover to be named first


@dataclass(frozen=True, slots=True)
class Gap:
    """No value in [start_ns, end_ns), where some were expected."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something of `cause` (one of ORDER) was so in [start_ns, end_ns); `why` is its own word for it."""

    cause: str
    start_ns: int
    end_ns: int
    why: str = ""


def name_causes(
    gap: Gap, evidence: Iterable[Evidence], undated: Sequence[str] = ()
) -> tuple[str, ...]:
    """The causes of a gap, the main one first; ("unknown",) when nothing speaks for any.

    Main is the first of ORDER that covers at least half of the gap; else one of `undated` (causes whose
    time nobody knows); else the one that covers most. The others that touch the gap follow, in ORDER.
    """
    items = list(evidence)
    covered = {cause: _covered(gap, items, cause) for cause in ORDER}
    touching = [cause for cause in ORDER if covered[cause] > 0]
    enough = EXPLAINED * (gap.end_ns - gap.start_ns)
    dated = [cause for cause in touching if covered[cause] >= enough]
    known_lost = [cause for cause in ORDER if cause in undated]
    if dated:
        main = dated[0]
    elif known_lost:
        main = known_lost[0]
    elif touching:
        main = max(touching, key=lambda cause: covered[cause])  # the earlier of equals
    else:
        return (UNKNOWN,)
    return (main, *(cause for cause in touching if cause != main))


def outside(item: Evidence, spans: Iterable[tuple[int, int]]) -> list[Evidence]:
    """What is left of the evidence outside the spans."""
    left, reached = list[Evidence](), item.start_ns
    for start, end in sorted(spans):
        if reached < min(start, item.end_ns):
            left.append(replace(item, start_ns=reached, end_ns=min(start, item.end_ns)))
        reached = max(reached, end)
    if reached < item.end_ns:
        left.append(replace(item, start_ns=reached))
    return left


def _covered(gap: Gap, evidence: Sequence[Evidence], cause: str) -> int:
    """How many ns of the gap the evidence of this cause covers; what overlaps counts once."""
    spans = sorted(
        (max(item.start_ns, gap.start_ns), min(item.end_ns, gap.end_ns))
        for item in evidence
        if item.cause == cause
    )
    total, reached = 0, gap.start_ns
    for start, end in spans:
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
