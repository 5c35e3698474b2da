"""Roll-ups of closed windows on their way to the server: buckets `<bucket>_1m`, `_15m`, `_1h`.

The local store notes in its own transaction which windows it has finished, so none is forgotten over a
restart; sending one again overwrites it with the same.
"""

from collections.abc import Callable

import structlog

from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.blocks import WINDOW_NS
from pms_iot.telemetry.embedded.summary import STEPS_NS
from pms_iot.telemetry.influx import BucketMissingError, InfluxStore, SamplesRejectedError
from pms_iot.telemetry.store import Buckets

_WINDOWS = 200  # in one go
_log = structlog.get_logger(__name__)


class Rollups:
    """Counts `influx_rollups_written` and `influx_rollups_refused`, both windows.

    `whole_since_ns`: from when on the local store has all samples; older windows, which something late
    has touched, are rolled up from what the server has.
    """

    def __init__(
        self,
        local: EmbeddedStore,
        remote: InfluxStore,
        counters: Counters,
        whole_since_ns: Callable[[], int],
    ) -> None:
        self._local = local
        self._remote = remote
        self._counters = counters
        self._whole_since_ns = whole_since_ns
        self._refused = False
        self._complete = False

    @property
    def complete_since_ns(self) -> int | None:
        """From here on every closed window's roll-ups are at the server; None while some are on their way."""
        if self._refused or not self._complete or not self._local.keeper.has_finished:
            return None
        return -(-self._local.since_ns() // WINDOW_NS) * WINDOW_NS

    def forward(self) -> bool:
        """Sends some; whether there were any."""
        finished = [] if self._refused else self._local.finished(_WINDOWS)
        self._complete = not finished
        if not finished:
            return False
        try:
            for step_ns in STEPS_NS:
                places = {(series, window) for _, series, window in finished}
                rows = [(series, self._of(series, window, step_ns)) for series, window in places]
                self._remote.write_buckets(rows, step_ns)
        except (BucketMissingError, SamplesRejectedError) as problem:
            self._refused = True  # until the next start; the notes stay
            self._counters.add("influx_rollups_refused", len(finished))
            _log.error("InfluxDB takes no roll-ups", problem=str(problem)[:500])
            return False
        self._local.forget_finished([number for number, _, _ in finished])
        self._counters.add("influx_rollups_written", len(finished))
        return True

    def _of(self, series: int, window: int, step_ns: int) -> Buckets:
        start_ns, end_ns = window * WINDOW_NS, (window + 1) * WINDOW_NS
        if start_ns >= self._whole_since_ns():
            return self._local.in_buckets(series, start_ns, end_ns, step_ns)
        return self._remote.in_buckets(series, start_ns, end_ns, step_ns)
