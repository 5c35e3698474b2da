"""The clock of a transmission device against ours, and what its time stamps are worth."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pms_edge.decode.decoder import GOOD, UNCERTAIN

NS = 1_000_000_000
OLD_S = 60.0  # a report this old was kept back by the device
GOOD_CLOCK_S = 300.0


class Now(NamedTuple):
    """One instant: `ns` is UTC and may be moved by a clock step, `steady_ns` never is.

    Not `sure`: the gateway's own clock was not set since it started.
    """

    ns: int
    steady_ns: int
    sure: bool = True

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.ns / NS, UTC)

    def since(self, steady_ns: int) -> float:
        """Seconds since `steady_ns`."""
        return (self.steady_ns - steady_ns) / NS


class DeviceClock:
    """`offset_s` is how far the device is ahead of us; None while it has shown no valid time."""

    def __init__(self) -> None:
        self.offset_s: float | None = None

    def note(self, sent: datetime | None, now: Now, *, fresh: bool) -> None:
        """A frame that says it was `sent` then. One that was kept back shows an older time.

        `fresh` frames (heartbeats) are never kept back.
        """
        if sent is None:
            return
        offset_s = round(sent.timestamp() - now.ns / NS, 1)
        if fresh or self.offset_s is None or offset_s > self.offset_s - OLD_S:
            self.offset_s = offset_s

    def instant(self, at: datetime | None, sent: datetime | None, now: Now) -> tuple[int, int]:
        """When something reported `at` was so, as UTC nanoseconds, and the quality of that.

        Panels' clocks are poor, so a report counts from its arrival, unless it is clearly older:
        then from the device's own time less its clock's error, if that is below 5 minutes. An old
        report of a clock that is worse counts from its arrival, uncertain.
        """
        if at is None:
            return now.ns, GOOD
        if self.offset_s is not None and abs(self.offset_s) < GOOD_CLOCK_S:
            true_ns = int((at.timestamp() - self.offset_s) * NS)
            return (true_ns if now.ns - true_ns > OLD_S * NS else now.ns), GOOD
        old = sent is not None and sent - at > timedelta(seconds=OLD_S)
        return now.ns, UNCERTAIN if old else GOOD
