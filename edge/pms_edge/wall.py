"""Whether the wall clock can be believed: steps, and starts before it was ever set."""

import ctypes
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pms_edge.clock import NS, Clock
from pms_edge.logs import kv
from pms_edge.spool.file import LANES

log = logging.getLogger(__name__)

STEP_NS = NS // 2
# Before 2025 there was no such agent: a clock that shows less was never set.
RELEASED_NS = 1_735_689_600 * NS
STA_UNSYNC, TIME_ERROR = 0x0040, 5  # adjtimex(2)


class WallWatch:
    """Compares the agent's clock with the wall clock, and moves it when that stepped.

    A wall clock that starts before `floor_ns` was never set: the agent's clock goes on from the
    floor, and is uncertain until the wall clock has passed it or the kernel says that it is
    synchronised. `require_sync`: uncertain also while the kernel says that it is not.
    `synchronised` None: unknown. A simulated clock is never uncertain and never moved.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        floor_ns: int,
        require_sync: bool = False,
        wall_ns: Callable[[], int] = time.time_ns,
        kernel: Callable[[], bool | None] | None = None,
    ) -> None:
        self._clock, self._wall_ns = clock, wall_ns
        self._kernel = kernel or kernel_synchronised
        self._require_sync = require_sync
        self.steps, self.last_step_s = 0, 0.0
        self.synchronised = None if clock.simulated else self._kernel()
        behind_ns = floor_ns - clock.now_ns()
        self._behind = not clock.simulated and behind_ns > 0 and not self.synchronised
        if self._behind:
            clock.move(behind_ns)
            log.warning("wall clock is behind what was recorded", extra=kv(s=behind_ns / NS))

    @property
    def uncertain(self) -> bool:
        unsure = self._require_sync and self.synchronised is False
        return not self._clock.simulated and (self._behind or unsure)

    def check(self) -> float | None:
        """To be called about once a second: seconds by which the clock was moved, if it was."""
        if self._clock.simulated:
            return None
        self.synchronised = self._kernel()
        step_ns = self._wall_ns() - self._clock.now_ns()
        if self._behind and step_ns < 0 and not self.synchronised:
            return None
        was_behind, self._behind = self._behind, False
        if abs(step_ns) <= STEP_NS and not was_behind:
            return None
        self._clock.move(step_ns)
        self.steps, self.last_step_s = self.steps + 1, round(step_ns / NS, 3)
        log.warning("clock stepped", extra=kv(s=self.last_step_s))
        return self.last_step_s

    def report(self) -> dict[str, Any]:
        return {
            "synchronised": self.synchronised,
            "uncertain": self.uncertain,
            "steps": self.steps,
            "last_step_s": self.last_step_s,
        }


def recorded_ns(spool: Path) -> int:
    """No earlier than this it can be: the newest instant in the spool, or when it was written.

    To be asked before the spool is opened, which writes to it.
    """
    return max(RELEASED_NS, _written_ns(spool), _newest_ns(spool))


def _written_ns(spool: Path) -> int:
    files = [Path(f"{spool}{suffix}") for suffix in ("", "-wal", ".reserve")]
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)


def _newest_ns(spool: Path) -> int:
    if not spool.exists():
        return 0
    query = "SELECT t1 FROM batch WHERE lane = ? ORDER BY seq DESC LIMIT 1"
    try:
        with closing(sqlite3.connect(f"{spool.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = [row for lane in LANES for row in db.execute(query, (lane,)).fetchall()]
    except sqlite3.Error:  # Spool says what is wrong with it
        return 0
    return max((t1 for (t1,) in rows if isinstance(t1, int)), default=0)


class _Timex(ctypes.Structure):
    """The head of struct timex (adjtimex(2)); the rest is not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined (adjtimex(2)); None where it cannot say."""
    if sys.platform != "linux":
        return None
    try:
        timex = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        log.debug("adjtimex", extra=kv(error=os.strerror(ctypes.get_errno())))
        return None
    return state != TIME_ERROR and not timex.status & STA_UNSYNC
