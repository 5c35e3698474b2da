"""SampleStore on InfluxDB behind the embedded store.

A sample counts as stored when it is on this disk twice: in the embedded store, which keeps the newest
`local_ns`, and among what is outgoing to the server. So neither acknowledgements nor alerts wait for the
server, and what people look at most is read here. History before that is read from the server; a sample
that comes too late for this store is seen once the server has it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.blocks import WINDOW_NS
from pms_iot.telemetry.embedded.summary import STEPS_NS
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.mirrored.forwarder import Forwarder
from pms_iot.telemetry.mirrored.outgoing import Outgoing
from pms_iot.telemetry.mirrored.rollups import Rollups
from pms_iot.telemetry.store import Buckets, bucket_width, joined_buckets


class MirroredStore:
    """All of `remote`, the newest of it in `local`; both are closed with it."""

    def __init__(
        self,
        local: EmbeddedStore,
        remote: InfluxStore,
        outgoing: Outgoing,
        counters: Counters,
        *,
        local_ns: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._local = local
        self._remote = remote
        self._outgoing = outgoing
        self._local_ns = local_ns
        self._now_ns = now_ns
        self._since_ns = local.since_ns()
        self._rollups = Rollups(local, remote, counters, self.local_since_ns)
        self._forwarder = Forwarder(outgoing, remote, counters, self._rollups.forward)
        self._forwarder.start()
        self._older: dict[
            int, Batch
        ] = {}  # by series: the server's newest, where there is none here

    def write(self, batch: Batch) -> None:
        if not len(batch):
            return
        if self._outgoing.is_full:
            self._outgoing.append(batch)  # which says so
        late = batch.at < self.local_since_ns()
        self._local.write(batch.take(~late) if late.any() else batch)
        self._outgoing.append(batch)
        if late.any():  # the server alone keeps such windows, and rolls them up anew
            self._local.note_finished(batch.series[late], batch.at[late] // WINDOW_NS)
        self._forwarder.hurry()

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        return self.read_many([series], start_ns, end_ns)

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        cut = min(max(self.local_since_ns(), start_ns), end_ns)
        parts: list[Batch] = []
        if start_ns < cut:
            with self._forwarder.asking():
                parts.append(self._remote.read_many(series, start_ns, cut))
        if cut < end_ns:
            parts.append(self._local.read_many(series, cut, end_ns))
        return Batch.concat(parts)

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        width = bucket_width(start_ns, end_ns, buckets)
        since = self.local_since_ns()
        # The bucket that this store has only the end of is the server's.
        cut = min(
            max(-(-since // width) * width if since > start_ns else start_ns, start_ns), end_ns
        )
        parts: list[Buckets] = []
        if start_ns < cut:
            with self._forwarder.asking():
                parts += self._at_server(series, start_ns, cut, width)
        if cut < end_ns:
            parts.append(self._local.in_buckets(series, cut, end_ns, width))
        return joined_buckets(parts, width)

    def _at_server(self, series: int, start_ns: int, end_ns: int, width: int) -> list[Buckets]:
        """From its roll-ups, as far as it has them, and from its samples before that."""
        step = next((step for step in reversed(STEPS_NS) if width % step == 0), None)
        since = self._rollups.complete_since_ns
        if step is None or since is None:
            return [self._remote.in_buckets(series, start_ns, end_ns, width)]
        first = min(-(-max(start_ns, since) // width) * width, end_ns)
        last = max(end_ns - end_ns % width, first)  # a bucket that the window cuts needs samples
        return [
            self._remote.in_buckets(series, start, end, width, step_ns=step_ns)
            for start, end, step_ns in (
                (start_ns, first, 0),
                (first, last, step),
                (last, end_ns, 0),
            )
            if start < end
        ]

    def latest(self, series: Sequence[int]) -> Batch:
        found = self._local.latest(series)
        missing = sorted(set(np.asarray(series, np.int32).tolist()) - set(found.series.tolist()))
        older = [self._older_of(missing)] if missing else []
        both = Batch.concat([found, *older])
        return both.take(np.argsort(both.series, kind="stable"))

    def _older_of(self, series: Sequence[int]) -> Batch:
        """What only the server has. It is asked once: nothing gets there but by way of here."""
        unknown = [number for number in series if number not in self._older]
        if unknown:
            try:
                with self._forwarder.asking():
                    newest = self._remote.latest(unknown)
            except StoreUnavailableError:  # nothing is known of them now; asked again next time
                unknown, newest = [], Batch.empty()
            self._older |= {n: newest.take(newest.series == n) for n in unknown}
        return Batch.concat(self._older[n] for n in series if n in self._older)

    def local_since_ns(self) -> int:
        return max(self._since_ns, self._now_ns() - self._local_ns)

    def prune(self) -> None:
        """Deletes here what only the server need keep."""
        before_ns = self._now_ns() - self._local_ns
        self._local.prune(before_ns)
        self._local.prune_summaries(before_ns)

    def stats(self) -> dict[str, float]:
        """For who watches: what waits for the server, and the local store."""
        batches, samples, size = self._outgoing.waiting
        return {
            **self._local.stats(),
            "spool_rows": batches,
            "spool_samples": samples,
            "spool_bytes": size,
            "spool_oldest_age_seconds": self._outgoing.oldest_age_s(),
            "influxdb_away": float(self._forwarder.is_away),
        }

    @property
    def problem(self) -> str | None:
        """What people must know; None when all is well."""
        if self._outgoing.is_full:
            return "InfluxDB is away and the spool is full: gateways keep their samples"
        return "InfluxDB is away; samples wait in the spool" if self._forwarder.is_away else None

    def close(self) -> None:
        self._forwarder.stop()
        self._local.close()
        self._outgoing.close()
        self._remote.close()
