"""A store that goes away is waited for."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.store import Buckets, SampleStore

_T = TypeVar("_T")
_LONGEST_PAUSE_S = 15.0


class PatientStore:
    """A SampleStore whose calls are repeated, with growing pauses, until they succeed.

    `StoreUnavailableError` is raised only when the store has been away for `limit_s`. `say` hears of each
    outage once, and of its end.
    """

    def __init__(
        self,
        store: SampleStore,
        name: str,
        limit_s: float,
        say: Callable[[str], None],
        *,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._name = name
        self._limit_s = limit_s
        self._say = say
        self._pause = pause
        self._monotonic = monotonic

    def write(self, batch: Batch) -> None:
        self._patiently(lambda: self._store.write(batch))

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        return self._patiently(lambda: self._store.read(series, start_ns, end_ns))

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        return self._patiently(lambda: self._store.read_many(series, start_ns, end_ns))

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        return self._patiently(lambda: self._store.downsample(series, start_ns, end_ns, buckets))

    def latest(self, series: Sequence[int]) -> Batch:
        return self._patiently(lambda: self._store.latest(series))

    def local_since_ns(self) -> int:
        return self._store.local_since_ns()

    def close(self) -> None:
        self._store.close()

    def _patiently(self, call: Callable[[], _T]) -> _T:
        pause_s, since = 0.2, None
        while True:
            try:
                result = call()
            except StoreUnavailableError as problem:
                now = self._monotonic()
                if since is None:
                    since = now
                    self._say(f"{self._name} is away, waiting up to {self._limit_s:g} s: {problem}")
                if now - since + pause_s > self._limit_s:
                    raise
                self._pause(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                if since is not None:
                    self._say(f"{self._name} is back")
                return result
