"""The composition root: the only place that names concrete classes."""

import difflib
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog
from alembic.util import CommandError
from apscheduler.schedulers.background import BackgroundScheduler
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session, col, select

from pms_iot import adoption, pipeline, recovery
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.register import Applied, apply_site, load_site
from pms_iot.assets.tables import Asset, Site
from pms_iot.detection.detectors import Detectors
from pms_iot.ingestfile import load_sources
from pms_iot.kernel import auth
from pms_iot.kernel.clock import Clock, SystemClock, clock_from, to_ns
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.errors import ConfigError, StoreUnavailableError
from pms_iot.kernel.migrations import upgrade
from pms_iot.kernel.users import Account, Role
from pms_iot.maintenance import due
from pms_iot.maintenance import service as maintenance
from pms_iot.notify import outbox
from pms_iot.notify.channels import Channel, Email, Webhook
from pms_iot.rulepacks import RulePack, load_packs, rules_root
from pms_iot.settings import Settings, names_of
from pms_iot.telemetry import parked
from pms_iot.telemetry.consumer import Consumer
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.foreign import Foreign
from pms_iot.telemetry.influx import InfluxStore
from pms_iot.telemetry.store import SampleStore
from pms_iot.web import LiveFeed, WebDeps, create_app
from pms_iot.workorders.technicians import apply_technicians

log = structlog.get_logger()


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
    except (SQLAlchemyError, CommandError) as problem:
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


def open_store(settings: Settings, catalog: SeriesCatalog, counters: Counters) -> SampleStore:
    """InfluxDB where one is configured, else the embedded store."""
    if settings.influx.url:
        return InfluxStore(settings.influx, catalog)
    return EmbeddedStore(settings.data_dir / "samples.db", counters)


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


ADOPTED_S = 3.0  # real seconds between two looks at what was registered meanwhile


@dataclass
class Runtime:
    """The engine, built and ready to start."""

    settings: Settings
    clock: Clock
    engine: Engine
    store: SampleStore
    channels: Sequence[Channel]
    consumer: Consumer
    path: pipeline.Pipeline
    app: FastAPI

    def start(self) -> None:
        """Restores the state, then listens to the broker and to the clock.

        Raises StoreUnavailableError if a store does not answer; nothing is running then.
        """
        try:
            recovery.restore(self.path)
        except StoreUnavailableError as problem:
            place = self.settings.influx.url or str(self.settings.data_dir / "samples.db")
            raise StoreUnavailableError(f"sample store {place}: {problem}") from problem
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
        self._every(self.settings.tick_s, self._tick)
        self._every(self.settings.tick_s, self._deliver)
        self._every(self.settings.snapshot_s, self._save)
        self._every(3600.0, self._prune)
        self._every(ADOPTED_S, self._take_up)
        self._scheduler.start()

    def stop(self) -> None:
        """Finishes the message at hand, saves the state, closes everything."""
        self._scheduler.shutdown(wait=True)
        self._stopping.set()
        self._worker.join()
        self.consumer.stop()
        self._supervised(self._save)
        self.store.close()
        self.engine.dispose()

    def _supervised(self, job: Callable[[], object]) -> None:
        """A tick that fails is tried at its next time; an outage is logged by whoever waits for it."""
        try:
            job()
        except pipeline.AWAY as problem:
            log.info("tick without its store", problem=str(problem))
            self.path.counters.add("ticks_store_away")
        except Exception:  # the clock goes on
            log.exception("tick failed", job=job.__name__)
            self.path.counters.add("ticks_failed")

    def _every(self, seconds: float, job: Callable[[], object]) -> None:
        self._scheduler.add_job(
            self._supervised,
            "interval",
            args=(job,),
            seconds=seconds,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def _tick(self) -> None:
        self.path.tick(self.consumer.connected_since_ns)

    def _save(self) -> None:
        recovery.save(self.path)

    def _deliver(self) -> None:
        outbox.deliver(self.engine, self.channels, self.clock.now())

    def _take_up(self) -> None:
        """What was registered meanwhile, by whatever process: it is known from now on, and so is its past."""
        if self.path.catalog.is_behind():
            self.path.catalog.refresh()
        released = parked.release(self.engine, self.store, self.path.catalog.series_at)
        self.path.counters.add("samples_released", released)

    def _prune(self) -> None:
        if isinstance(self.store, EmbeddedStore):
            oldest = self.clock.now() - timedelta(days=self.settings.raw_days)
            self.store.prune(to_ns(oldest))


def build(
    settings: Settings, clock: Clock, packs: Mapping[str, RulePack], engine: Engine
) -> Runtime:
    """Everything of `pms-iot serve`, wired and not yet running. Raises PmsError for what is misconfigured."""
    catalog = SeriesCatalog(engine)
    counters = Counters()
    store = open_store(settings, catalog, counters)
    channels = open_channels(settings)
    sources = load_sources(settings.ingest_file) if settings.ingest_file else ()
    topics = [source.topic.filter for source in sources]
    consumer = Consumer(settings.mqtt, clock, counters, topics=topics)
    live = LiveFeed()
    rules = [rule for pack in packs.values() for rule in pack.rules]
    path = pipeline.Pipeline(
        engine=engine,
        store=store,
        catalog=catalog,
        detectors=Detectors(
            {kind: pack.detectors for kind, pack in packs.items()}, catalog, _zones(engine)
        ),
        rules=RuleEngine(rules, catalog),
        silence=SilenceWatch(rules, catalog),
        rule_by_id={rule.id: rule for rule in rules},
        plans=[plan for pack in packs.values() for plan in pack.plans],
        channels=[channel.name for channel in channels],
        clock=clock,
        counters=counters,
        acks=consumer,
        live=live,
        verify_after_s=settings.verify_after_s,
        foreign=Foreign(sources, catalog),
    )
    deps = WebDeps(
        engine=engine,
        store=store,
        catalog=catalog,
        packs=packs,
        clock=clock,
        settings=settings,
        live=live,
        not_ready=lambda: _not_ready(consumer, path),
        counters=counters.snapshot,
    )
    return Runtime(settings, clock, engine, store, channels, consumer, path, create_app(deps))


def _zones(engine: Engine) -> dict[str, str]:
    with transaction(engine) as session:
        return {site.code: site.timezone for site in session.exec(select(Site))}


def _not_ready(consumer: Consumer, path: pipeline.Pipeline) -> dict[str, str]:
    """Part -> reason; shown to everybody, so without addresses."""
    found: dict[str, str] = {}
    if consumer.connected_since_ns is None:
        found["broker"] = "not connected"
    if path.waiting:
        found["pipeline"] = "waiting for a store to come back"
    return found
