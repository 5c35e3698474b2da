"""A unit behind an endpoint: its breaker, its time-outs and the devices that share it."""

from collections.abc import Sequence

from pms_edge.feed import DeviceFeed
from pms_edge.polling.breaker import Breaker
from pms_edge.polling.timeouts import Timeouts


class Unit:
    """One unit of one endpoint; the same number behind another endpoint is a stranger."""

    def __init__(
        self, number: int, feeds: Sequence[DeviceFeed], *, timeout_s: float | None, shared: bool
    ) -> None:
        self.number, self.feeds = number, feeds
        self.breaker = Breaker(shared=shared)
        self.timeouts = Timeouts(timeout_s)
        self.said_bad = False  # its points were sent as bad, and nothing was read since

    @property
    def devices(self) -> str:
        return ",".join(feed.device.id for feed in self.feeds)

    def failed(self, error: str) -> None:
        for feed in self.feeds:
            feed.health.failed(error)

    def show(self, state: str) -> None:
        for feed in self.feeds:
            feed.health.breaker = state

    def send_bad(self, at_ns: int) -> None:
        """One bad line for each device that falls silent, then nothing until it answers."""
        if not self.said_bad:
            for feed in self.feeds:
                feed.send_bad([point.name for point in feed.device.profile.points], at_ns)
        self.said_bad = True


def units_of(feeds: Sequence[DeviceFeed], timeout_s: float | None) -> dict[int, Unit]:
    sharing: dict[int, list[DeviceFeed]] = {}
    for feed in feeds:
        sharing.setdefault(feed.device.unit, []).append(feed)
    shared = len(sharing) > 1
    return {
        number: Unit(number, of, timeout_s=timeout_s, shared=shared)
        for number, of in sharing.items()
    }
