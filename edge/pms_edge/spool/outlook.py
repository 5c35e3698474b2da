"""How long the spool can still hold what comes in."""

import zlib
from collections import deque

WINDOW_S = 300.0
STEP_S = 10.0


class Outlook:
    """Bytes that came in during the last minutes, and what packing makes of them.

    Until a first block was packed, one batch compressed alone stands in for it: too careful, never too
    hopeful.
    """

    def __init__(self, now: float) -> None:
        self._steps: deque[tuple[float, int]] = deque([(now, 0)])  # since when, bytes
        self._ratio: float | None = None

    def came(self, body: bytes, now: float) -> None:
        if self._ratio is None and body:
            self._ratio = len(zlib.compress(body)) / len(body)
        if now - self._steps[-1][0] > STEP_S:
            self._steps.append((now, 0))
        while self._steps[0][0] < now - WINDOW_S:
            self._steps.popleft()
        since, total = self._steps[-1]
        self._steps[-1] = since, total + len(body)

    def packed(self, before: int, after: int) -> None:
        self._ratio = after / before

    def hours(self, free_bytes: int, now: float) -> float | None:
        """Hours until `free_bytes` are used up; None as long as nothing can be said."""
        total = sum(size for _, size in self._steps)
        lasted = now - self._steps[0][0]
        if not total or self._ratio is None or lasted < STEP_S:
            return None
        return max(free_bytes, 0) / (total * self._ratio / lasted) / 3600
