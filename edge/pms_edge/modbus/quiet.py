"""When a line without transaction numbers may be spoken on again.

RTU replies carry no number: a late reply to an earlier request of the same unit, function and size
looks exactly like the answer to this one. So after anything but a clean answer the line stays
quiet for as long as a reply could still be on its way.
"""

from collections import deque

REPLIES_KEPT = 100  # the slowest of the last 100 is their p99
SAFETY = 2.0  # the quiet lasts this many times the slowest reply
LONGEST_S = 10.0
# Another unit's late reply is told by its unit; only the same unit's can be taken for an answer.
SAME_UNIT_S = 1.0
OPENING_S = 0.5


class Quiet:
    """Told of everything on one line; `at` is of one monotonic clock, all times in seconds.

    `gap_s`: silence before each request (3.5 characters or more; serial line guide V1.02, 2.5.1.1).
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._replies_s: deque[float] = deque(maxlen=REPLIES_KEPT)
        self._sent_at = self._heard_at = self._until = float("-inf")
        self._unit_until: dict[int, float] = {}
        self._owed = False

    def opened(self, at: float) -> None:
        """Replies to whoever had the line before, ourselves before a restart perhaps."""
        self._until = max(self._until, at + OPENING_S)

    def sent(self, at: float) -> None:
        self._sent_at, self._owed = at, True

    def heard(self, at: float) -> None:
        self._heard_at = at

    def answered(self, at: float) -> None:
        self._owed = False
        self._replies_s.append(at - self._sent_at)

    def strayed(self, at: float) -> None:
        """Heard what nobody waited for. How late a reply is tells how long the next may take."""
        if self._owed and at < self._until:
            self.answered(at)

    def failed(self, unit: int, at: float, timeout_s: float) -> None:
        slowest_s = max(self._replies_s, default=0.0)
        quiet_s = max(timeout_s, min(SAFETY * slowest_s, LONGEST_S))
        self._until = at + quiet_s
        self._unit_until[unit] = at + max(quiet_s, SAME_UNIT_S)

    def over_at(self, unit: int) -> float:
        """From when on `unit` may be asked, if nothing more is heard."""
        own = self._unit_until.get(unit, self._until)
        return max(self._until, own, self._heard_at + self._gap_s)
