"""The main path with all its real parts in one process: a small rule pack, SQLite, the embedded store."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, text

from pms_iot import recovery
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.bootstrap import import_site
from pms_iot.derived.derived import Derived
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.judged import Judgeable
from pms_iot.feedback.caps import Caps
from pms_iot.kernel import migrations
from pms_iot.kernel.clock import ManualClock, to_ns
from pms_iot.kernel.db import open_engine
from pms_iot.pipeline import Pipeline
from pms_iot.rulepacks import RulePack, load_packs
from pms_iot.telemetry.consumer import Received
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.foreign import Foreign
from pms_iot.telemetry.sources import Source
from pms_iot.telemetry.store import SampleStore
from pms_iot.web.live import LiveFeed
from pms_iot.web.message import teller

RULES = Path(__file__).parent / "rules"
S = 1_000_000_000
T0 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
EPOCH = "9f3a1c2b"
SITE = """
site: {code: riverside, name: {zh: 滨河, en: Riverside}, timezone: UTC}
gateways: [{id: gw-01, name: {zh: 网关, en: Gateway}}]
assets:
  - {id: PU-01, kind: pump, name: {zh: 泵, en: Pump}, gateway: gw-01}
  - {id: PU-02, kind: pump, name: {zh: 泵, en: Pump}, gateway: gw-01}
"""

Read = tuple[str, float, Mapping[str, float]]  # asset, seconds after T0, values


def ns(seconds: float) -> int:
    return to_ns(T0) + round(seconds * S)


def lines(reads: Iterable[Read]) -> str:
    """Line protocol of some reads of devices."""
    return "".join(
        f"pump,site=riverside,asset={asset} "
        f"{','.join(f'{point}={value}' for point, value in values.items())},q=192i {ns(at)}\n"
        for asset, at, values in reads
    )


def payload(
    seq: int, reads: Sequence[Read], *, base: int = 1, n: int | None = None, epoch: str = EPOCH
) -> bytes:
    count = sum(len(values) for _, _, values in reads) if n is None else n
    head = f"#pms1 gw=gw-01 epoch={epoch} seq={seq} n={count} base={base}\n"
    return (head + lines(reads)).encode()


def prepare(directory: Path, rules: Path = RULES) -> None:
    """An empty engine's files: the core store with two pumps behind one gateway."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "site.yaml").write_text(SITE)
    engine = open_engine(f"sqlite:///{directory / 'core.db'}")
    migrations.upgrade(engine)
    import_site(engine, load_packs(rules), directory / "site.yaml", ManualClock(T0))
    engine.dispose()


def _detectors(packs: Mapping[str, RulePack], catalog: SeriesCatalog) -> Detectors:
    return Detectors({kind: pack.detectors for kind, pack in packs.items()}, catalog)


@dataclass
class Acks:
    """What gateways are told, kept in a list."""

    told: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])  # lane, seq
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # for their births

    def publish_ack(self, site: str, gateway: str, lane: str, epoch: str, seq: int) -> None:
        assert (site, gateway, epoch) == ("riverside", "gw-01", EPOCH)
        self.told.append((lane, seq))

    def ask_rebirth(self, site: str, gateway: str) -> None:
        self.asked.append((site, gateway))

    def upto(self, lane: str = "data") -> int:
        return max((seq for told, seq in self.told if told == lane), default=0)


class Rig:
    """One engine on its files; `start()` again is what a new process does."""

    def __init__(self, template: Path, directory: Path, rules: Path = RULES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(template / "core.db", directory / "core.db")
        self.directory = directory
        self.clock = ManualClock(T0 + timedelta(hours=1))
        self.acks, self.mqtt_acked = Acks(), list[str]()
        self.packs = load_packs(rules)
        self.core = open_engine(f"sqlite:///{directory / 'core.db'}")
        self.samples = self.open_samples()
        self.seq = 0
        self.sources: Sequence[Source] = ()  # of third parties
        self.caps = Caps()
        self.detectors_of: Callable[[Mapping[str, RulePack], SeriesCatalog], Judgeable] = _detectors

    def open_samples(self) -> EmbeddedStore:
        return EmbeddedStore(self.directory / "samples.db", synchronous="NORMAL")

    def start(
        self,
        *,
        engine: Engine | None = None,
        store: SampleStore | None = None,
        packs: Mapping[str, RulePack] | None = None,
    ) -> Pipeline:
        """A new process, state restored."""
        path = self.build(engine=engine, store=store, packs=packs)
        recovery.restore(path)
        return path

    def build(
        self,
        *,
        engine: Engine | None = None,
        store: SampleStore | None = None,
        packs: Mapping[str, RulePack] | None = None,
    ) -> Pipeline:
        packs = packs or self.packs
        rules = [rule for pack in packs.values() for rule in pack.rules]
        catalog = SeriesCatalog(self.core)
        return Pipeline(
            engine=engine or self.core,
            store=store or self.samples,
            catalog=catalog,
            derived=Derived({kind: pack.derived for kind, pack in packs.items()}, catalog),
            detectors=self.detectors_of(packs, catalog),
            rules=RuleEngine(rules, catalog),
            silence=SilenceWatch(rules, catalog),
            rule_by_id={rule.id: rule for rule in rules},
            tell=teller(packs),
            plans=[],
            channels=["webhook"],
            clock=self.clock,
            counters=Counters(),
            acks=self.acks,
            live=LiveFeed(),
            verify_after_s=300,
            foreign=Foreign(self.sources, catalog),
            caps=self.caps,
        )

    def received(
        self, body: bytes, lane: str = "data", gateway: str = "gw-01", *, retained: bool = False
    ) -> Received:
        topic = f"pms/v1/riverside/{gateway}/{lane}"
        return Received(topic, body, retained, lambda: self.mqtt_acked.append(lane))

    def send(self, path: Pipeline, reads: Sequence[Read]) -> None:
        """The gateway's next batch."""
        self.seq += 1
        path.process(self.received(payload(self.seq, reads)))

    def say(self, path: Pipeline, lane: str, **body: Any) -> None:
        """The gateway's birth or health."""
        path.process(self.received(orjson.dumps(body), lane))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.core.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def alerts(self) -> list[tuple[Any, ...]]:
        """(rule, asset, state), in order of opening."""
        return self.rows(
            "select l.rule, a.code, l.state from alert l join asset a on a.id = l.asset_id"
            " order by l.opened_at, l.key"
        )

    def outcome(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that must not depend on how often the engine was interrupted."""
        order = "join work_order o on o.id ="
        return {
            "alerts": self.rows(
                "select key, state, severity, opened_at, since, resolved_at, value, why from alert"
                " order by key, opened_at"
            ),
            "alert events": self.rows(
                "select l.key, e.kind, e.detail from alert_event e join alert l on l.id = e.alert_id"
                " where e.kind != 'work_order' order by l.key, e.at, e.kind"
            ),
            "orders": self.rows(
                "select origin, priority, status, title_en, opened_at from work_order order by origin"
            ),
            "order alerts": self.rows(
                "select o.origin, l.key, x.recovered_at from order_alert x"
                f" {order} x.work_order_id join alert l on l.id = x.alert_id order by l.key, l.opened_at"
            ),
            "messages": self.rows(
                "select m.event, m.subject, json_extract(m.body, '$.rule'), o.origin"
                f" from outbox_message m {order} json_extract(m.body, '$.work_order')"
                " order by o.origin, m.event, json_extract(m.body, '$.opened_at')"
            ),
            "watermarks": self.rows(
                "select lane, epoch, seq, batches, samples, skipped from watermark order by lane"
            ),
            "samples": self.stored(),
        }

    def stored(self) -> list[tuple[Any, ...]]:
        """Every sample of every series, scores included: asset, point, seconds, value."""
        infos = {info.id: info for info in SeriesCatalog(self.core).all()}
        batch = self.samples.read_many(list(infos), 0, ns(10**6))
        columns = zip(batch.series.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True)
        return sorted((infos[s].asset, infos[s].point, (at - ns(0)) / S, v) for s, at, v in columns)

    def close(self) -> None:
        self.samples.close()
        self.core.dispose()
