"""The agent's clock: wall time anchored once, then carried by the monotonic counter.

A step of the operating system's clock therefore moves no sample by itself: `wall.py` looks at the
wall clock and moves the anchor, for what is stamped afterwards.
"""

import os
import time
from collections.abc import Callable, Mapping

NS = 1_000_000_000


class Clock:
    """UTC in int64 nanoseconds, `factor` times as fast as real time (1 outside demos and tests).

    `simulated`: it has nothing to do with the operating system's clock.
    """

    def __init__(
        self,
        now_ns: int,
        *,
        factor: float = 1.0,
        simulated: bool = False,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.factor, self.simulated = factor, simulated
        self._anchor_ns = self._start_ns = now_ns
        self._counter = monotonic_ns
        self._counter_ns = monotonic_ns()

    def now_ns(self) -> int:
        elapsed = self._counter() - self._counter_ns
        return self._anchor_ns + (elapsed if self.factor == 1.0 else int(elapsed * self.factor))

    def steady_ns(self) -> int:
        """As `now_ns` when the agent started, but never moved: for schedules."""
        elapsed = self._counter() - self._counter_ns
        return self._start_ns + (elapsed if self.factor == 1.0 else int(elapsed * self.factor))

    def move(self, by_ns: int) -> None:
        self._anchor_ns += by_ns

    def steady_after(self, real_s: float) -> int:
        """What `steady_ns` will be in `real_s` real seconds."""
        return self.steady_ns() + int(real_s * NS * self.factor)

    def real_seconds_until(self, steady_ns: int) -> float:
        """Real seconds to wait until `steady_ns()` shows this; negative when that is past."""
        return (steady_ns - self.steady_ns()) / NS / self.factor


def clock_from(env: Mapping[str, str] = os.environ) -> Clock:
    """The clock that PMS_CLOCK_ANCHOR_NS, PMS_CLOCK_START_NS and PMS_CLOCK_FACTOR describe.

    Raises ValueError naming the variable when one of them is not a usable number.
    """
    real_ns = time.time_ns()
    factor = _number(env, "PMS_CLOCK_FACTOR", 1.0)
    if not 0 < factor <= 100_000:
        raise ValueError(f"PMS_CLOCK_FACTOR: {factor} is not between 0 and 100000")
    anchor_ns = int(_number(env, "PMS_CLOCK_ANCHOR_NS", real_ns))
    start_ns = int(_number(env, "PMS_CLOCK_START_NS", anchor_ns))
    simulated = factor != 1.0 or start_ns != anchor_ns
    return Clock(start_ns + int((real_ns - anchor_ns) * factor), factor=factor, simulated=simulated)


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None
