"""Rests what does not answer: a unit behind a connection, or the connection itself."""

import random
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]

REST_S = (2.0, 60.0)
# Rest at least this many times what failing cost, so that it takes a quarter of the time at most
# from its neighbours, and a twentieth once it is dead.
FLAKY_IDLE, DEAD_IDLE = 3.0, 19.0


def _jitter() -> float:
    return random.uniform(0.8, 1.2)


class Breaker:
    """Closed while it answers; after `trip` failures in a row open for 2 s, doubling to 60 s, ±20 %.

    Then, and before the first answer of all, half open: one failure opens it again. Times are
    monotonic seconds, given by the caller. `shared`: others wait while it fails.
    """

    def __init__(
        self, *, shared: bool = False, trip: int = 2, jitter: Callable[[], float] = _jitter
    ) -> None:
        self._shared, self._trip, self._jitter = shared, trip, jitter
        self.closed = False
        self._failures, self._spent_s = 0, 0.0
        self._rest_s, self._until_s = REST_S[0], 0.0

    @property
    def failing(self) -> bool:
        """Its last outcome was a failure."""
        return self._failures > 0

    def state(self, now_s: float) -> State:
        if self.closed:
            return "closed"
        return "open" if now_s < self._until_s else "half_open"

    def allows(self, now_s: float) -> bool:
        return now_s >= self._until_s

    def failed(self, now_s: float, *, spent_s: float) -> None:
        """A failure that took `spent_s`."""
        self._failures += 1
        self._spent_s += spent_s
        if self.closed and self._failures < self._trip:
            self._until_s = now_s + self._idle_s(FLAKY_IDLE)
            return
        self.closed = False
        self._until_s = now_s + max(self._rest_s * self._jitter(), self._idle_s(DEAD_IDLE))
        self._rest_s, self._spent_s = min(2 * self._rest_s, REST_S[1]), 0.0

    def _idle_s(self, factor: float) -> float:
        return factor * self._spent_s if self._shared else 0.0

    def answered(self) -> None:
        self.closed = True
        self._failures, self._spent_s = 0, 0.0
        self._rest_s, self._until_s = REST_S[0], 0.0
