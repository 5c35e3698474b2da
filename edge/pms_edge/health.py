"""What the agent knows of each device, published with `health`."""

import resource
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pms_edge.polling.timeouts import RoundTrips, quantile

UTILISATION_S = 60.0


class DeviceHealth:
    """State of one device; a device is ok until it fails and after it answers again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ok, self._errors, self._late = False, 0, 0
        self._last_error = ""
        self._last_good_ns: int | None = None
        self.breaker: str | None = None  # closed, open, half_open; None without one

    def good(self, at_ns: int) -> None:
        with self._lock:
            self._ok, self._last_good_ns = True, at_ns

    def failed(self, error: str) -> None:
        with self._lock:
            self._ok, self._last_error = False, error
            self._errors += 1

    def late(self, count: int) -> None:
        with self._lock:
            self._late += count

    def report(self, now_ns: int, stale_after_s: float | None) -> dict[str, Any]:
        with self._lock:
            heard = self._last_good_ns
            stale = stale_after_s is not None and (
                heard is None or now_ns - heard > stale_after_s * 1e9
            )
            return {
                "ok": self._ok and not stale,
                "errors": self._errors,
                "last_error": "stale" if stale and not self._last_error else self._last_error,
                "last_good_ns": heard,
                "age_s": None if heard is None else round((now_ns - heard) / 1e9, 3),
                "late": self._late,
                "breaker": self.breaker,
            }


class EndpointHealth:
    """Counts and times of one endpoint. One thread counts, any thread may ask for the report."""

    def __init__(
        self,
        trips: Sequence[RoundTrips],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trips, self._monotonic = trips, monotonic
        self._causes: Counter[str] = Counter()
        self.requests = self.refused = self.late = 0
        self.busy_s = 0.0
        self._marks = deque([(monotonic(), 0.0)])

    def failed(self, cause: str) -> None:
        self._causes[cause] += 1

    def report(self) -> dict[str, Any]:
        """Round trips in ms, the share of the last minute with a request in flight, and counts."""
        causes = dict(self._causes)
        trips = [rtt_s for unit in self._trips for rtt_s in unit.all()]
        return {
            "rtt_p50_ms": _ms(quantile(trips, 0.5)),
            "rtt_p99_ms": _ms(quantile(trips, 0.99)),
            "utilisation": self._utilisation(),
            "requests": self.requests,
            "refused": self.refused,
            "timeouts": causes.pop("timeout", 0),
            "crc_errors": causes.pop("crc", 0),
            "other_failures": causes,
            "late": self.late,
        }

    def _utilisation(self) -> float:
        now_s, busy_s = self._monotonic(), self.busy_s
        while len(self._marks) > 1 and now_s - self._marks[1][0] >= UTILISATION_S:
            self._marks.popleft()
        since_s, before_s = self._marks[0]
        self._marks.append((now_s, busy_s))
        return round(min((busy_s - before_s) / max(now_s - since_s, 1e-9), 1.0), 4)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def resident_bytes() -> int:
    """Resident memory of this process; its peak where /proc is not available."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
