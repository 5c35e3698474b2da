"""The metrics of each gateway of the register: site and gateway are their labels."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pms_iot.kernel.clock import to_ns
from pms_iot.operations.survey import Survey
from pms_iot.telemetry.meters import GatewayKey

GATEWAY, LANE = ("site", "gateway"), ("site", "gateway", "lane")
SPOOL = {
    "rows": ("rows", "Batches in the gateway's spool, as it last said."),
    "bytes": ("bytes", "Bytes in the gateway's spool, as it last said."),
    "oldest_age_s": ("oldest_age_seconds", "Age of the oldest batch in it when it said so."),
    "left_s": ("left_seconds", "How long the gateway's spool can still hold what comes in."),
}


def of_gateways(
    seen: Survey, newest_ns: Mapping[GatewayKey, int], now: datetime
) -> Iterator[Metric]:
    """What gateways say, and how far each is committed. `newest_ns`: newest committed sample time."""
    reports, lanes = seen.gateways.items(), seen.lanes.items()
    now_ns = to_ns(now)
    yield _gauge(
        "pms_gateway_online",
        "Whether the gateway says that it is online.",
        GATEWAY,
        ((key, report.state == "online") for key, report in reports),
    )
    yield _gauge(
        "pms_gateway_last_seen_timestamp_seconds",
        "When the gateway last said anything of itself.",
        GATEWAY,
        ((key, r.last_seen_at.timestamp()) for key, r in reports if r.last_seen_at),
    )
    yield _gauge(
        "pms_gateway_ingest_lag_seconds",
        "Now minus the time of the newest committed sample; negative with a gateway clock that is fast.",
        GATEWAY,
        ((key, (now_ns - newest_ns[key]) / 1e9) for key in seen.gateways if key in newest_ns),
    )
    for figure, (name, help_text) in SPOOL.items():
        yield _gauge(
            f"pms_gateway_spool_{name}",
            help_text,
            GATEWAY,
            ((key, report.spool[figure]) for key, report in reports if figure in report.spool),
        )
    yield _gauge(
        "pms_gateway_watermark_seq",
        "Everything up to this batch of the newest epoch is committed.",
        LANE,
        ((key, lane.seq) for key, lane in lanes),
    )
    yield _gauge(
        "pms_gateway_ack_lag_seconds",
        "Time since a batch of the lane was last committed and acknowledged.",
        LANE,
        ((key, (now - lane.committed_at).total_seconds()) for key, lane in lanes),
    )
    totals = {
        "samples": "Samples committed.",
        "batches": "Batches committed.",
        "duplicates": "Batches that had come before.",
        "lost": "Batches that the gateway had to give up.",
    }
    for name, help_text in totals.items():
        yield _counter(
            f"pms_gateway_{name}", help_text, ((key, getattr(lane, name)) for key, lane in lanes)
        )


def _gauge(
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for key, value in values:
        family.add_metric(key, float(value))
    return family


def _counter(
    name: str, help_text: str, values: Iterable[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=LANE)
    for key, value in values:
        family.add_metric(key, value)
    return family
