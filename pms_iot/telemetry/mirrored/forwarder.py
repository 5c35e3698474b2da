"""Brings what is outgoing to the server, in a thread of its own."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import structlog

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.influx import InfluxStore, SamplesRejectedError
from pms_iot.telemetry.mirrored.outgoing import Outgoing

_SAMPLES = 50_000  # in one go
_RETRY_S = (0.5, 30.0)
log = structlog.get_logger(__name__)


class Forwarder:
    """Counts `influx_samples_written`, `influx_samples_rejected`, `influx_retries`, `influx_forwarder_failed`.

    `finished`: forwards the roll-ups of windows that are closed, if there are any; returns whether there
    may be more.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        remote: InfluxStore,
        counters: Counters,
        finished: Callable[[], bool],
    ) -> None:
        self._outgoing = outgoing
        self._remote = remote
        self._counters = counters
        self._finished = finished
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self.is_away = False
        self._thread = threading.Thread(target=self._run, name="influx-forwarder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """There is something."""
        self._hurry.set()

    @contextmanager
    def asking(self) -> Generator[None]:
        """Around a read. While the server is known to be away it is not asked: nobody waits for a time-out."""
        if self.is_away:
            raise StoreUnavailableError("InfluxDB is away")
        try:
            yield
        except StoreUnavailableError as problem:
            self._note(problem)
            raise

    def stop(self) -> None:
        """After the request at hand; what is left is sent by the next run."""
        self._stopping.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        retry_s = _RETRY_S[0]
        while not self._stopping.is_set():
            try:
                if self.is_away:
                    self._remote.ping()
                more = self._outgoing.is_mine() and (self._forward() or self._finished())
            except StoreUnavailableError as problem:
                self._note(problem)
                self._counters.add("influx_retries")
                self._stopping.wait(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S[1])
                continue
            except Exception:  # supervisor: nobody else would send what waits
                log.exception("forwarder failed, tries again")
                self._counters.add("influx_forwarder_failed")
                self._stopping.wait(_RETRY_S[1])
                continue
            if self.is_away:
                log.warning("InfluxDB is back", waiting=self._outgoing.waiting.samples)
            self.is_away, retry_s = False, _RETRY_S[0]
            if not more:
                self._hurry.wait(1.0)
                self._hurry.clear()

    def _note(self, problem: StoreUnavailableError) -> None:
        if not self.is_away:
            url = self._remote.url
            log.error("InfluxDB away, samples wait in the spool", server=url, problem=str(problem))
        self.is_away = True

    def _forward(self) -> bool:
        """Whether there was something."""
        waiting = self._outgoing.oldest(_SAMPLES)
        if not waiting:
            return False
        try:
            self._remote.write(Batch.concat(batch for _, batch in waiting))
        except SamplesRejectedError:
            self._one_by_one(waiting)
        else:
            self._outgoing.done([number for number, _ in waiting])
            self._counters.add("influx_samples_written", sum(len(batch) for _, batch in waiting))
        return True

    def _one_by_one(self, waiting: list[tuple[int, Batch]]) -> None:
        """The batch at fault is set aside, its neighbours are not."""
        for number, batch in waiting:
            try:
                self._remote.write(batch)
            except SamplesRejectedError as problem:
                self._series_by_series(batch)
                self._outgoing.reject(number, str(problem))
            else:
                self._outgoing.done([number])
                self._counters.add("influx_samples_written", len(batch))

    def _series_by_series(self, batch: Batch) -> None:
        """A point that is refused takes all with it that share its line."""
        for series in np.unique(batch.series).tolist():
            part = batch.take(batch.series == series)
            try:
                self._remote.write(part)
            except SamplesRejectedError as problem:
                log.error("InfluxDB refuses samples", problem=str(problem)[:500], n=len(part))
                self._counters.add("influx_samples_rejected", len(part))
            else:
                self._counters.add("influx_samples_written", len(part))
