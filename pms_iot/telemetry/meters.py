"""How the main path is doing: how long the store takes, how far each gateway is committed, what is at hand."""

import threading
import time
from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pms_iot.telemetry.batch import Batch

WRITE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WRITE_SAMPLES = (1, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
MAX_GATEWAYS = 10_000  # a broker without an ACL lets anybody be one

GatewayKey = tuple[str, str]  # site, gateway


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values by size: `counts[i]` of them at most `bounds[i]` and above the bound before; one more at the end."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def at_most(self, share: float) -> float | None:
        """A bound that at least this share of the values keeps; None without values or above all bounds."""
        seen, wanted = 0, share * self.count
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return None


class Histogram:
    """Counts values by size, in constant memory; safe to share between threads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._lock = threading.Lock()
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._total += value

    def snapshot(self) -> Distribution:
        with self._lock:
            return Distribution(self._bounds, tuple(self._counts), self._total)


class PathMeters:
    """Kept by the main path, read by whoever shows them. Durations are of the monotonic clock."""

    def __init__(self) -> None:
        self.write_s = Histogram(WRITE_S)
        self.write_samples = Histogram(WRITE_SAMPLES)
        self._newest: dict[GatewayKey, int] = {}
        self._since: float | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Called by the thread that runs the main path, first of all."""
        self._thread = threading.current_thread()

    def is_alive(self) -> bool:
        """False once that thread has ended."""
        return self._thread is None or self._thread.is_alive()

    @contextmanager
    def writing(self, batch: Batch) -> Generator[None]:
        """Around a write to the sample store; one that fails is not counted, nor an empty one."""
        began = time.monotonic()
        yield
        if len(batch):
            self.write_s.observe(time.monotonic() - began)
            self.write_samples.observe(len(batch))

    def committed(self, site: str, gateway: str, batch: Batch) -> None:
        """These samples of a gateway are durable, and what follows from them is on record."""
        key = site, gateway
        if len(batch) and (key in self._newest or len(self._newest) < MAX_GATEWAYS):
            self._newest[key] = max(int(batch.at.max()), self._newest.get(key, 0))

    def newest_ns(self) -> Mapping[GatewayKey, int]:
        """Per gateway the newest sample time that is committed; empty after a start."""
        return self._newest.copy()

    def at_work(self) -> None:
        """A message is taken up, or tried again."""
        self._since = time.monotonic()

    def at_rest(self) -> None:
        """Nothing is at hand."""
        self._since = None

    def busy_s(self) -> float:
        """How long the present try has lasted; 0 at rest."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since
