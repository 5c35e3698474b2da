"""How long to wait for an answer, learned from the answers so far."""

from collections.abc import Iterable
from math import ceil

SHORTEST_S, LONGEST_S = 0.1, 2.0
MARGIN = 4.0
KEPT = 64
LEARN_EVERY = 16


class RoundTrips:
    """The latest round-trip times, in seconds; a time-out counts with the time waited."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._next = 0

    def add(self, rtt_s: float) -> None:
        if len(self._kept) < KEPT:
            self._kept.append(rtt_s)
        else:
            self._kept[self._next] = rtt_s
            self._next = (self._next + 1) % KEPT

    def all(self) -> list[float]:
        return list(self._kept)


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value that `share` of `values` do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered)) - 1, 0)] if ordered else None


class Timeouts:
    """Time-outs of one unit: `fixed_s`, or four times the 95th percentile of its round trips.

    Between 100 ms and 2 s; the longest before the first answers, and doubled after a time-out.
    """

    def __init__(self, fixed_s: float | None = None) -> None:
        self._fixed_s = fixed_s
        self.trips = RoundTrips()
        self._learned_s, self._least_s = LONGEST_S, 0.0
        self._until_learning = LEARN_EVERY

    def seconds(self, last_rtt_s: float | None) -> float:
        """For a block that last took `last_rtt_s`, None when it never answered.

        A long block on a slow line takes longer than most: its own last time counts as well.
        """
        if self._fixed_s is not None:
            return self._fixed_s
        if last_rtt_s is None:
            return LONGEST_S
        wanted = max(self._learned_s, self._least_s, MARGIN * last_rtt_s, SHORTEST_S)
        return min(wanted, LONGEST_S)

    def answered(self, rtt_s: float) -> None:
        self.trips.add(rtt_s)
        self._until_learning -= 1
        if self._until_learning <= 0:
            self._until_learning = LEARN_EVERY
            self._learned_s = MARGIN * (quantile(self.trips.all(), 0.95) or LONGEST_S)
            self._least_s = 0.0

    def expired(self, waited_s: float) -> None:
        self.trips.add(waited_s)
        self._least_s = min(2 * waited_s, LONGEST_S)
