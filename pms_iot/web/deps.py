"""What the pages need, built in bootstrap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.clock import Clock
from pms_iot.operations.vitals import Vitals
from pms_iot.rulepacks import RulePack
from pms_iot.settings import Settings
from pms_iot.telemetry.store import SampleStore
from pms_iot.web.live import LiveFeed


def _nothing() -> dict[str, str]:
    return {}


def _no_counts() -> dict[str, int]:
    return {}


def _no_vitals() -> Vitals | None:
    return None


def _no_metrics() -> bytes:
    return b""


@dataclass(frozen=True)
class WebDeps:
    """Everything a request may use.

    not_ready() -> part -> reason, for parts the pages cannot see by themselves (the broker); empty when well.
    counters() -> name -> count, of the running pipeline; empty when the pages run without one.
    vitals() and metrics() (the text that Prometheus reads) likewise: None and empty.
    """

    engine: Engine
    store: SampleStore
    catalog: SeriesCatalog
    packs: Mapping[str, RulePack]
    clock: Clock
    settings: Settings
    live: LiveFeed
    not_ready: Callable[[], Mapping[str, str]] = field(default=_nothing)
    counters: Callable[[], Mapping[str, int]] = field(default=_no_counts)
    vitals: Callable[[], Vitals | None] = field(default=_no_vitals)
    metrics: Callable[[], bytes] = field(default=_no_metrics)
