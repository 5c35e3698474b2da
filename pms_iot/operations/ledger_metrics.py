"""The ledger of each gateway over the last 24 hours that are over, as metrics."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Engine

from pms_iot.assets.series import SeriesSource
from pms_iot.kernel.db import reading
from pms_iot.telemetry.ledger.days import GatewayDay, gateway_days
from pms_iot.telemetry.meters import GatewayKey

_KEPT = timedelta(minutes=5)  # what is over changes only by what comes late
_FIGURES = {
    "expected": "Samples that the declared periods promise",
    "values": "Of these, samples stored with a value",
    "missing": "Samples stored as known to be missing",
    "late": "Samples committed late",
    "duplicate_samples": "Samples that had come before",
    "refused": "Samples that came and are not stored",
}


class LedgerMetrics:
    """Read at most every five minutes: it counts every point of the register."""

    def __init__(self, engine: Engine, catalog: SeriesSource) -> None:
        self._engine, self._catalog = engine, catalog
        self._read_at: datetime | None = None
        self._days: list[GatewayDay] = []

    def of(self, gateways: Collection[GatewayKey], now: datetime) -> Iterator[Metric]:
        """Of these gateways only. Raises sqlalchemy.exc.SQLAlchemyError."""
        found = [day for day in self._read(now) if (day.site, day.gateway) in gateways]
        for name, help_text in _FIGURES.items():
            family = _family(f"pms_gateway_ledger_{name}", f"{help_text}, last 24 h that are over.")
            for day in found:
                value = day.expected if name == "expected" else getattr(day.sums, name)
                family.add_metric((day.site, day.gateway), float(value))
            yield family
        ratio = _family(
            "pms_gateway_ledger_completeness_ratio",
            "Stored over expected samples, each hour at most 1, last 24 h that are over.",
        )
        for day in found:
            if day.ratio is not None:
                ratio.add_metric((day.site, day.gateway), day.ratio)
        yield ratio

    def _read(self, now: datetime) -> list[GatewayDay]:
        if self._read_at is None or not timedelta() <= now - self._read_at < _KEPT:
            end = now.replace(minute=0, second=0, microsecond=0)
            with reading(self._engine) as session:
                start = end - timedelta(days=1)
                self._days = gateway_days(session, self._catalog, start, end, now)
            self._read_at = now
        return self._days


def _family(name: str, help_text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=("site", "gateway"))
