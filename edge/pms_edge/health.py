"""What the agent knows of each device, published with `health`."""

import resource
import sys
import threading
from pathlib import Path
from typing import Any


class DeviceHealth:
    """State of one device; a device is ok until it fails and after it answers again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ok, self._errors, self._late = False, 0, 0
        self._last_error = ""
        self._last_good_ns: int | None = None

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
                "late": self._late,
            }


def resident_bytes() -> int:
    """Resident memory of this process; its peak where /proc is not available."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
