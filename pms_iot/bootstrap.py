"""The composition root: the only place that names concrete classes."""

import difflib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.background import BackgroundScheduler
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session, col, select

from pms_iot import adoption, pipeline, recovery
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.related import related_by
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.register import Applied, apply_site, load_site, zones_of
from pms_iot.assets.tables import Asset, Site
from pms_iot.derived.derived import Derived
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.fitting import ModelFitting
from pms_iot.feedback.caps import Caps
from pms_iot.ingestfile import load_sources
from pms_iot.kernel import auth
from pms_iot.kernel.clock import Clock, SystemClock, clock_from, to_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.db import reading as read_only
from pms_iot.kernel.errors import ConfigError, MigrationError, StoreUnavailableError
from pms_iot.kernel.migrations import upgrade
from pms_iot.kernel.users import Account, Role
from pms_iot.maintenance import due
from pms_iot.maintenance import service as maintenance
from pms_iot.notify import outbox
from pms_iot.notify.channels import Channel, Email, Webhook
from pms_iot.operations.disk import DiskTick
from pms_iot.operations.ledger_metrics import LedgerMetrics
from pms_iot.operations.metrics import EngineCollector, exposition
from pms_iot.operations.ticks import Supervisor
from pms_iot.operations.vitals import Vitals, why_not_ready
from pms_iot.rulepacks import RulePack, counters_of_plans, load_packs, rules_root
from pms_iot.settings import Settings, names_of
from pms_iot.telemetry import parked
from pms_iot.telemetry.consumer import Consumer
from pms_iot.telemetry.counter_totals import CounterTotals
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.disk import MB
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.embedded.summary import STEPS_NS
from pms_iot.telemetry.foreign import Foreign
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.ledger import days
from pms_iot.telemetry.mirrored import MirroredStore
from pms_iot.telemetry.mirrored.outgoing import Outgoing
from pms_iot.telemetry.store import SampleStore
from pms_iot.web import LiveFeed, WebDeps, create_app
from pms_iot.web.message import teller
from pms_iot.workorders.technicians import apply_technicians

log = structlog.get_logger()
DISK_S = 10.0  # real seconds between two looks at the disk


def read_settings() -> Settings:
    """The settings of the environment. Raises ConfigError with a line for each variable that is wrong."""
    _refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as problem:  # its own text would show secrets
        wrong = [(map(str, item["loc"]), item["msg"]) for item in problem.errors()]
        lines = [f"PMS_{'__'.join(place).upper()}: {said}" for place, said in wrong]
        raise ConfigError("settings", f"{len(lines)} problem(s)\n" + "\n".join(lines)) from None
    except (SettingsError, OSError, UnicodeDecodeError) as problem:
        raise ConfigError("settings", str(problem)) from problem


OTHERS = ("PMS_CLOCK_", "PMS_EDGE_", "PMS_SIM_", "PMS_TEST_")  # not the engine's settings


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    """A misspelt setting would silently leave its default in force."""
    known = names_of()
    given = {name for name in environ if name.startswith("PMS_") and not name.startswith(OTHERS)}
    unknown = sorted(name for name in given if not {name, name.removesuffix("_FILE")} & known)
    if unknown:
        lines = [f"{name}: no such setting{_did_you_mean(name, known)}" for name in unknown]
        raise ConfigError("settings", f"{len(lines)} problem(s)\n" + "\n".join(lines))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def read_clock() -> Clock:
    """The clock of the environment. Raises ConfigError."""
    try:
        return clock_from()
    except ValueError as problem:
        given = {name: text for name, text in os.environ.items() if name.startswith("PMS_CLOCK_")}
        raise ConfigError("settings", f"not numbers: {given}") from problem


def open_core(settings: Settings) -> Engine:
    """The core store, with its schema brought up to date. Raises StoreUnavailableError, naming it."""
    place = core_place(settings)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError("PMS_DATA_DIR", str(problem)) from problem
    try:
        engine = open_engine(settings.core_url)
        upgrade(engine)
    except (SQLAlchemyError, MigrationError) as problem:
        raise StoreUnavailableError(f"core store {place}: {_one_line(problem)}") from problem
    return engine


def open_core_for_reading(settings: Settings) -> Engine:
    """The core store as it is: not made, and its schema not brought up to date.

    Raises ConfigError if there is none, StoreUnavailableError if it does not answer or is of another version.
    """
    place, address = core_place(settings), make_url(settings.core_url)
    if address.drivername.startswith("sqlite") and not Path(address.database or "").is_file():
        raise ConfigError("core store", f"no file {address.database}")
    try:
        engine = open_engine(settings.core_url)
        with read_only(engine) as session:
            session.exec(select(Site.id).limit(1)).first()
    except SQLAlchemyError as problem:
        raise StoreUnavailableError(f"core store {place}: {_one_line(problem)}") from problem
    return engine


def core_place(settings: Settings) -> str:
    """The address of the core store without its password. Raises ConfigError if it is none."""
    try:
        return make_url(settings.core_url).render_as_string()
    except SQLAlchemyError as problem:
        raise ConfigError("PMS_DATABASE_URL", "not the address of a database") from problem


def _one_line(problem: Exception) -> str:
    """What the database says, without the statement that it says it of."""
    said = str(problem.orig if isinstance(problem, DBAPIError) else problem)
    return " ".join(said.split())


def open_store(
    settings: Settings, catalog: SeriesCatalog, counters: Counters, clock: Clock
) -> EmbeddedStore | MirroredStore:
    """The embedded store; where an InfluxDB is configured, in front of it."""
    if settings.influx.url is None:
        return EmbeddedStore(settings.data_dir / "samples.db", counters, now_ns=clock.now_ns)
    local = EmbeddedStore(
        settings.data_dir / "samples.db", counters, now_ns=clock.now_ns, tell_finished=True
    )
    remote = InfluxStore(settings.influx, catalog)
    outgoing = Outgoing(settings.data_dir / "outgoing.db", settings.influx.spool_mb * 2**20)
    return MirroredStore(
        local,
        remote,
        outgoing,
        counters,
        local_ns=int(settings.influx.local_hours * 3600e9),
        now_ns=clock.now_ns,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A sample store with the register that its series numbers belong to."""

    name: str
    store: SampleStore
    register: SeriesCatalog


def open_place(
    settings: Settings, register: SeriesCatalog, name: str, *, exists: bool, reading: bool = False
) -> Place:
    """The store that `engine`, `influx`, `embedded` or `embedded:PATH` names.

    PATH is a file, or a data directory whose `core.db`, if it has one, then is the register. `exists`: it
    has to be there already. reading: nothing is tidied up or forwarded, for an engine may be serving
    from it; with an InfluxDB, `engine` then is that. Raises ConfigError for a name that leads nowhere.
    """
    kind, _, path = name.partition(":")
    address = f"influx:{settings.influx.url}/{settings.influx.bucket}"
    if name == "influx":
        if not settings.influx.url:
            raise ConfigError(name, "PMS_INFLUX__URL is not set")
        return Place(address, InfluxStore(settings.influx, register), register)
    if name == "engine" and settings.influx.url and reading:
        return Place(address, InfluxStore(settings.influx, register), register)
    if name == "engine" and settings.influx.url:
        return Place(address, open_store(settings, register, Counters(), SystemClock()), register)
    if name != "engine" and kind != "embedded":
        raise ConfigError(name, "no such store; engine, influx, embedded or embedded:PATH")
    place = Path(path).resolve() if path else settings.data_dir.resolve()
    file = place / "samples.db" if place.is_dir() else place
    if exists and not file.is_file():
        raise ConfigError(name, f"no file {file}")
    own = place / "core.db"
    if place != settings.data_dir.resolve() and own.is_file():
        register = _register_of(own)
    store = EmbeddedStore(file, housekeeping=not reading)
    return Place(f"embedded:{file}", store, register)


def _register_of(core: Path) -> SeriesCatalog:
    """The register of another installation's core store, which is read and not migrated."""
    try:
        return SeriesCatalog(open_engine(f"sqlite:///{core}"))
    except SQLAlchemyError as problem:
        raise ConfigError(str(core), f"not a register: {_one_line(problem)}") from problem


def open_channels(settings: Settings) -> list[Channel]:
    """The notification channels that are configured."""
    channels: list[Channel] = []
    if settings.webhook.url:
        secret = settings.webhook.secret.get_secret_value()
        channels.append(Webhook(settings.webhook.url, secret, SystemClock()))
    if settings.email.host:
        mail = settings.email
        channels.append(
            Email(
                mail.host or "",
                mail.port,
                sender=mail.sender,
                recipients=mail.recipients,
                username=mail.username,
                password=mail.password.get_secret_value() if mail.password else None,
                starttls=mail.starttls,
            )
        )
    return channels


@dataclass(frozen=True, slots=True)
class Imported:
    """What a site file changed in the register, and the passwords of the accounts that it made."""

    register: Applied
    passwords: Mapping[str, str]  # user name -> password; shown once, kept nowhere


def read_packs(settings: Settings) -> dict[str, RulePack]:
    """The rule packs in use. Raises PackError with all their mistakes."""
    return load_packs(rules_root(settings.rules_dir))


def import_site(
    engine: Engine, packs: Mapping[str, RulePack], file: Path, clock: Clock
) -> Imported:
    """Brings the register up to a site file: equipment, points, plans, technicians."""
    site_file = load_site(file, packs)
    now = clock.now()
    points = {kind: list(pack.points.values()) for kind, pack in packs.items()}
    templates = [plan for pack in packs.values() for plan in pack.plans]
    with transaction(engine) as session:
        register = apply_site(session, site_file, points, now)
        today = due.today_in(site_file.site.timezone, now)
        assets = _assets_of(session, site_file.site.code)
        maintenance.sync_plans(session, templates, assets, today, site_file.last_done)
        passwords = apply_technicians(session, site_file.technicians, now)
    return Imported(register, passwords)


def _assets_of(session: Session, site: str) -> Sequence[Asset]:
    query = select(Asset).join(Site, col(Asset.site_id) == col(Site.id)).where(Site.code == site)
    return session.exec(query).all()


def ensure_manager(engine: Engine, settings: Settings, clock: Clock) -> str | None:
    """Makes the first manager; returns its password if it had to be made up, to be shown once."""
    given = settings.admin_password
    password = given.get_secret_value() if given else secrets.token_urlsafe(9)
    with transaction(engine) as session:
        query = select(Account).where(Account.role == Role.MANAGER)
        if session.exec(query).first() is not None:
            return None
        auth.create_account(
            session, username="manager", password=password, role=Role.MANAGER, now=clock.now()
        )
    return None if given else password


def set_account(engine: Engine, username: str, password: str, role: Role, clock: Clock) -> None:
    """Adds an account, or gives it a new password and role."""
    with transaction(engine) as session:
        account = session.exec(select(Account).where(Account.username == username)).one_or_none()
        if account is None:
            auth.create_account(
                session, username=username, password=password, role=role, now=clock.now()
            )
        else:
            account.role = role
            auth.set_password(session, account, password)


def adopt(
    engine: Engine, packs: Mapping[str, RulePack], wish: adoption.Wish, who: str, clock: Clock
) -> None:
    """Registers a field that arrives unasked; a running engine takes it up within seconds."""
    with transaction(engine) as session:
        adoption.adopt(session, packs, wish, who, clock.now())


MAINTAIN_S = 10.0  # real seconds between two looks at maintenance
SAVE_SHARE = 0.02  # of the time, at most, goes into saving the state
ADOPTED_S = 3.0  # real seconds between two looks at what was registered meanwhile


@dataclass
class Runtime:
    """The engine, built and ready to start."""

    settings: Settings
    clock: Clock
    engine: Engine
    catalog: SeriesCatalog
    store: EmbeddedStore | MirroredStore
    channels: Sequence[Channel]
    consumer: Consumer
    path: pipeline.Pipeline
    app: FastAPI
    disk: DiskTick
    supervise: Supervisor
    fitting: ModelFitting
    _channels_away: set[str] = field(default_factory=set[str])
    _save_not_before_s: float = 0.0  # of the monotonic clock

    def start(self) -> None:
        """Restores the state, then listens to the broker and to the clock.

        Raises StoreUnavailableError if a store does not answer; nothing is running then.
        """
        self.fitting.resume()
        try:
            recovery.restore(self.path)
        except StoreUnavailableError as problem:
            place = self.settings.data_dir / "samples.db"
            raise StoreUnavailableError(f"sample store {place}: {problem}") from problem
        self.path.counters.add("models_damaged", self.fitting.detectors.models.damaged)
        self.fitting.start()
        self.supervise(self._watch_disk)  # before the first sample
        self.consumer.start()
        self._stopping = threading.Event()
        self._worker = threading.Thread(
            target=pipeline.run,
            args=(self.path, self.consumer.receive, self._stopping),
            name="pipeline",
        )
        self._worker.start()
        # One in-memory scheduler of a few ticks; what is due stands in the database.
        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._scheduler.add_listener(self._count_skipped, EVENT_JOB_MAX_INSTANCES)
        self._every(self.settings.tick_s, self._tick)
        self._every(MAINTAIN_S, self._maintain)
        self._every(self.settings.tick_s, self._deliver)
        self._every(self.settings.snapshot_s, self._save_in_time)
        self._every(3600.0, self._prune)
        self._every(DISK_S, self._watch_disk)
        self._every(ADOPTED_S, self._take_up)
        self._scheduler.add_job(self.supervise, args=(self._maintain,))  # the first look at once
        self._scheduler.start()

    def stop(self) -> None:
        """Finishes the message at hand, saves the state, closes everything."""
        self._scheduler.shutdown(wait=True)
        self.fitting.stop()
        self._stopping.set()
        self._worker.join()
        self.consumer.stop()
        self.supervise(self._save)
        self.store.close()
        self.engine.dispose()

    def _count_skipped(self, _event: object) -> None:
        self.path.counters.add("ticks_skipped")

    def _every(self, seconds: float, job: Callable[[], object]) -> None:
        self._scheduler.add_job(
            self.supervise,
            "interval",
            args=(job,),
            seconds=seconds,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def _tick(self) -> None:
        self.path.tick(self.consumer.connected_since_ns)

    def _maintain(self) -> None:
        self.path.maintain()

    def _save_in_time(self) -> None:
        """A state that takes long to save is saved less often; a restart then has more to replay."""
        began_s = time.monotonic()
        if began_s >= self._save_not_before_s:
            self._save()
            took_s = time.monotonic() - began_s
            self._save_not_before_s = began_s + took_s / SAVE_SHARE

    def _save(self) -> None:
        recovery.save(self.path)

    def _deliver(self) -> None:
        outbox.deliver(self.engine, self.channels, self.clock.now(), self._channels_away)

    def _watch_disk(self) -> None:
        self.disk(time.monotonic())

    def _take_up(self) -> None:
        """What was registered meanwhile, by whatever process: it is known from now on, and so is its past."""
        if self.path.catalog.is_behind():
            self.path.catalog.refresh()
        released = parked.release(self.engine, self.store, self.path.catalog.series_at)
        self.path.counters.add("samples_released", released)

    def _prune(self) -> None:
        with transaction(self.engine) as session:
            days.prune(session, self.clock.now())
        if isinstance(self.store, MirroredStore):
            self.store.prune()
            return
        settings, now = self.settings, self.clock.now()

        def before(days: float) -> int:
            return to_ns(now - timedelta(days=days))

        scores = [info.id for info in self.catalog.all() if info.derived]
        self.store.prune(before(settings.raw_days))
        self.store.prune(before(settings.score_days), scores)
        kept_days = settings.minute_days, settings.quarter_days, settings.hour_days
        for step_ns, kept in zip(STEPS_NS, kept_days, strict=True):
            self.store.prune_summaries(before(kept), [step_ns])


def build(
    settings: Settings, clock: Clock, packs: Mapping[str, RulePack], engine: Engine
) -> Runtime:
    """Everything of `pms-iot serve`, wired and not yet running. Raises PmsError for what is misconfigured."""
    catalog = SeriesCatalog(engine)
    counters = Counters()
    store = open_store(settings, catalog, counters, clock)
    channels = open_channels(settings)
    sources = load_sources(settings.ingest_file) if settings.ingest_file else ()
    topics = [source.topic.filter for source in sources]
    consumer = Consumer(settings.mqtt, clock, counters, topics=topics)
    live = LiveFeed()
    plans = [plan for pack in packs.values() for plan in pack.plans]
    points = {kind: pack.points for kind, pack in packs.items()}
    rules = [rule for pack in packs.values() for rule in pack.rules]
    caps = Caps(settings.budget.asset_month, settings.budget.site_month)
    detectors = Detectors(
        {kind: pack.detectors for kind, pack in packs.items()}, catalog, _zones(engine), caps
    )
    path = pipeline.Pipeline(
        engine=engine,
        store=store,
        catalog=catalog,
        derived=Derived({kind: pack.derived for kind, pack in packs.items()}, catalog),
        detectors=detectors,
        rules=RuleEngine(
            rules, catalog, {kind: related_by(pack.detectors) for kind, pack in packs.items()}
        ),
        silence=SilenceWatch(rules, catalog),
        rule_by_id={rule.id: rule for rule in rules},
        plans=plans,
        channels=[channel.name for channel in channels],
        clock=clock,
        counters=counters,
        acks=consumer,
        live=live,
        verify_after_s=settings.verify_after_s,
        totals=CounterTotals(engine, store, catalog, counters_of_plans(plans, points)),
        foreign=Foreign(sources, catalog),
        caps=caps,
        tell=teller(packs),
    )
    reserve = int(settings.disk_reserve_mb * MB)
    disk = DiskTick(settings.data_dir, reserve, engine, path.channels, clock)
    path.disk_is_full = disk.watch.is_full

    def vitals() -> Vitals:
        return _vitals(path, consumer, disk)

    kind = "influxdb" if settings.influx.url else "embedded"
    ledger = LedgerMetrics(engine, catalog)
    metrics = EngineCollector(engine, clock, counters, vitals, store, kind, ledger)
    deps = WebDeps(
        engine=engine,
        store=store,
        catalog=catalog,
        packs=packs,
        clock=clock,
        settings=settings,
        live=live,
        not_ready=lambda: why_not_ready(vitals()),
        counters=counters.snapshot,
        vitals=vitals,
        metrics=exposition(metrics),
    )
    app = create_app(deps)
    supervise = Supervisor(counters, pipeline.AWAY)
    days = settings.model_history_days
    fitting = ModelFitting(detectors, store, engine, clock, counters, path.lock, days)
    return Runtime(
        settings,
        clock,
        engine,
        catalog,
        store,
        channels,
        consumer,
        path,
        app,
        disk,
        supervise,
        fitting,
    )


def _zones(engine: Engine) -> dict[str, str]:
    with transaction(engine) as session:
        return zones_of(session)


def _vitals(path: pipeline.Pipeline, consumer: Consumer, disk: DiskTick) -> Vitals:
    meters = path.meters
    return Vitals(
        alive=meters.is_alive(),
        waiting=path.waiting,
        connected=consumer.connected_since_ns is not None,
        busy_s=meters.busy_s(),
        queued=consumer.waiting,
        oldest_wait_s=consumer.oldest_wait_s(),
        write_s=meters.write_s.snapshot(),
        write_samples=meters.write_samples.snapshot(),
        newest_ns=meters.newest_ns(),
        disk=disk.watch.status,
        store=path.store.problem if isinstance(path.store, MirroredStore) else None,
    )
