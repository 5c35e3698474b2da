"""`/metrics` in the text format of Prometheus, made of what is there when it is asked for.

Labels are the codes of sites and gateways of the register and small fixed sets: never a person, a series or
an address. Durations are in seconds, sizes in bytes. The whole list is in docs/operations.md.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pms_iot.kernel.clock import Clock
from pms_iot.operations import names
from pms_iot.operations.gateway_metrics import of_gateways
from pms_iot.operations.ledger_metrics import LedgerMetrics
from pms_iot.operations.survey import Survey, survey
from pms_iot.operations.vitals import Vitals
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.disk import DiskStatus
from pms_iot.telemetry.meters import Distribution
from pms_iot.workorders.order import ENDED, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SEVERITIES = ("P1", "P2", "P3", "P4")
STORE_STATS = {
    "spool_rows": "Batches that wait in the engine for the sample store.",
    "spool_bytes": "Bytes that wait in the engine for the sample store.",
    "spool_samples": "Samples that wait in the engine for the sample store.",
    "influxdb_away": "Whether InfluxDB is away; its samples wait in the spool.",
    "spool_oldest_age_seconds": "Age of the oldest batch that waits for the sample store.",
}


@runtime_checkable
class ReportsStats(Protocol):
    """A sample store with figures of its own; each becomes the gauge `pms_store_<name>`."""

    def stats(self) -> Mapping[str, float]:
        """Cheap, from memory: asked at every scrape."""
        ...


@dataclass(frozen=True, eq=False)  # a registry keeps collectors by identity
class EngineCollector(Collector):
    """Reads memory, and the core store in one short view, when it is scraped."""

    engine: Engine
    clock: Clock
    counters: Counters
    vitals: Callable[[], Vitals]
    store: object
    store_kind: str  # embedded | influxdb
    ledger: LedgerMetrics

    def collect(self) -> Iterator[Metric]:
        vitals = self.vitals()
        yield InfoMetricFamily(
            "pms_build",
            "Version of the engine and of Python.",
            {"version": version("pms-iot"), "python": platform.python_version()},
        )
        yield from _counters(self.counters.snapshot())
        yield from _path(vitals)
        yield from self._store(vitals)
        yield from _disk(vitals.disk)
        try:
            seen = survey(self.engine)
        except SQLAlchemyError:
            seen = None
        yield _gauge("pms_core_store_up", "Whether the core store answered.", seen is not None)
        if seen is not None:
            yield from of_gateways(seen, vitals.newest_ns, self.clock.now())
            yield from self.ledger.of(seen.gateways, self.clock.now())
            yield from _work(seen)

    def _store(self, vitals: Vitals) -> Iterator[Metric]:
        kind = {"kind": self.store_kind}
        yield InfoMetricFamily("pms_store", "Which kind of sample store is in use.", kind)
        yield _histogram("pms_store_write_seconds", "Time of one write.", vitals.write_s)
        yield _histogram("pms_store_write_samples", "Samples in one write.", vitals.write_samples)
        stats = dict.fromkeys(STORE_STATS, 0.0)
        if isinstance(self.store, ReportsStats):
            stats |= self.store.stats()
        for name, value in stats.items():
            help_text = STORE_STATS.get(name, "A figure of the sample store; see its sources.")
            yield _gauge(names.metric_of(f"store_{name}"), help_text, value)


def exposition(collector: EngineCollector) -> Callable[[], bytes]:
    """A function that returns the text of one scrape, the figures of the process included."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=float(value))


def _labelled(
    name: str, help_text: str, label: str, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for text, value in values:
        family.add_metric([text], float(value))
    return family


def _histogram(name: str, help_text: str, seen: Distribution) -> HistogramMetricFamily:
    bounds = [*(f"{bound:g}" for bound in seen.bounds), "+Inf"]
    below = [float(count) for count in accumulate(seen.counts)]
    buckets = list(zip(bounds, below, strict=True))
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=seen.total)


def _counters(counts: Mapping[str, int]) -> Iterator[Metric]:
    """Those that have not counted yet as 0, so that rates begin at once; those not known here too."""
    refused = CounterMetricFamily("pms_samples_refused", names.REFUSED_HELP, labels=["reason"])
    verdicts = CounterMetricFamily("pms_detector_verdicts", names.VERDICTS_HELP, labels=["outcome"])
    known = [*names.COUNTERS, *(names.REFUSED + reason for reason in names.REASONS)]
    known += (names.VERDICTS + outcome for outcome in names.OUTCOMES)
    for counter, count in (dict.fromkeys(known, 0) | dict(counts)).items():
        if counter.startswith(names.REFUSED):
            refused.add_metric([counter.removeprefix(names.REFUSED)], count)
        elif counter.startswith(names.VERDICTS):
            verdicts.add_metric([counter.removeprefix(names.VERDICTS)], count)
        else:
            help_text = names.COUNTERS.get(counter, names.OTHER_HELP)
            yield CounterMetricFamily(names.metric_of(counter), help_text, value=count)
    yield refused
    yield verdicts


def _path(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("pms_broker_connected", "Whether gateways are heard.", vitals.connected)
    yield _gauge("pms_pipeline_alive", "Whether the main path's thread runs.", vitals.alive)
    yield _gauge("pms_pipeline_waiting", "Whether it waits for a store.", vitals.waiting)
    yield _gauge("pms_pipeline_busy_seconds", "Time on what is at hand.", vitals.busy_s)
    yield _gauge("pms_pipeline_queue_messages", "Messages not yet taken.", vitals.queued)
    yield _gauge(
        "pms_pipeline_queue_oldest_seconds",
        "How long the first of them has waited.",
        vitals.oldest_wait_s,
    )


def _disk(disk: DiskStatus | None) -> Iterator[Metric]:
    if disk is None:
        return
    yield _gauge("pms_disk_free_bytes", "Free bytes of the data directory.", disk.free)
    yield _gauge("pms_disk_size_bytes", "Size of the data directory's disk.", disk.total)
    yield _gauge("pms_disk_reserve_bytes", "Bytes that samples never take.", disk.reserve)
    states = ((state, disk.state == state) for state in ("ok", "low", "full"))
    yield _labelled("pms_disk_state", "1 for the state the disk is in.", "state", states)
    if disk.hours_left is not None:
        left_s = disk.hours_left * 3600
        yield _gauge("pms_disk_left_seconds", "Time until the reserve is reached.", left_s)


def _work(seen: Survey) -> Iterator[Metric]:
    alerts = ((severity, seen.alerts.get(severity, 0)) for severity in SEVERITIES)
    yield _labelled("pms_alerts_live", "Alerts that fire, by severity.", "severity", alerts)
    states = (status.value for status in Status if status not in ENDED)
    orders = ((status, seen.orders.get(status, 0)) for status in states)
    yield _labelled("pms_work_orders_open", "Open work orders, by status.", "status", orders)
    messages = (("waiting", seen.outbox_waiting), ("given_up", seen.outbox_given_up))
    yield _labelled(
        "pms_outbox_undelivered", "Messages to people not delivered.", "state", messages
    )
