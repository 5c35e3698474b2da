"""The main path, top to bottom: a message comes in, people learn what must be repaired.

    decode -> judge -> store -> derived -> detectors -> store both -> rules -> alerts -> work orders -> outbox -> ack

One thread runs it. Samples are durable before anything is concluded from them; watermark, alert, work
order and outbox message are one transaction; the gateway is acknowledged last. A crash at any point is
healed by a repeat: stores are idempotent, detectors and rules drop what they have already seen, and the
database refuses a second live alert or order. How the state survives a restart is in recovery.py.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import compress, groupby, zip_longest
from operator import not_
from typing import Literal, Protocol

import structlog
from sqlalchemy import Engine, func
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, or_, select

from pms_iot.alerts import budget
from pms_iot.alerts import service as alerts
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.rule import Rule
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.tables import Alert
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Asset
from pms_iot.derived.derived import Derived
from pms_iot.detection.judged import Judgeable, JudgedDetectors
from pms_iot.feedback import service as feedback
from pms_iot.feedback.caps import Caps
from pms_iot.kernel.clock import Clock, from_ns
from pms_iot.kernel.db import reading, transaction
from pms_iot.kernel.errors import BadPayloadError, NotFoundError, StoreUnavailableError
from pms_iot.kernel.text import Text
from pms_iot.maintenance import service as maintenance
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.notify import outbox
from pms_iot.telemetry import gaps, gateways, parked, quarantine, watermarks
from pms_iot.telemetry.batch import GOOD, Batch
from pms_iot.telemetry.consumer import Received
from pms_iot.telemetry.counter_totals import CounterTotals
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.foreign import Foreign, merge
from pms_iot.telemetry.ledger.books import Books
from pms_iot.telemetry.ledger.outages import EnginePulse
from pms_iot.telemetry.meters import PathMeters
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.wire import Header, WireMessage, decode, hollow, join
from pms_iot.workorders import service as workorders

log = structlog.get_logger()

OURS = "pms/"  # what gateways' topics begin with; all others are third parties'
SAMPLES = ("/data", "/event")  # what topics with samples end with
AT_ONCE = 128  # messages
OF_A_STREAM = 32  # of them; half of a gateway's window, so that it goes on sending meanwhile
ROOM_EVERY = timedelta(seconds=10)  # between two looks whether the budget has room again
LIMITS_EVERY = timedelta(minutes=1)  # between two notes of the detectors' limits
LONG_AGO = datetime.min.replace(tzinfo=UTC)
AWAY = (StoreUnavailableError, OperationalError)  # a store that may come back: try again


class LiveFeed(Protocol):
    """Whoever shows the newest samples as they come."""

    def publish(self, batch: Batch) -> None: ...
    def changed(self, what: str) -> None: ...


class Acks(Protocol):
    """Tells a gateway how far its stream is committed, and what the engine lacks of it."""

    def publish_ack(self, site: str, gateway: str, lane: str, epoch: str, seq: int) -> None: ...
    def ask_rebirth(self, site: str, gateway: str) -> None: ...


@dataclass
class Pipeline:
    """The main path with what it needs; built in bootstrap."""

    engine: Engine
    store: SampleStore
    catalog: SeriesCatalog
    derived: Derived
    detectors: Judgeable
    rules: RuleEngine
    silence: SilenceWatch
    rule_by_id: Mapping[str, Rule]
    plans: Sequence[PlanTemplate]
    channels: Sequence[str]  # names of the notification channels in use
    clock: Clock
    counters: Counters
    acks: Acks
    live: LiveFeed
    verify_after_s: float
    foreign: Foreign  # whoever is no gateway
    meters: PathMeters = field(default_factory=PathMeters)
    totals: CounterTotals | None = None  # of the counters by which plans fall due
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while state changes
    pending: list[Transition] = field(default_factory=list[Transition])  # concluded, not committed
    scores: Batch = field(default_factory=Batch.empty)  # made or derived, not yet stored and judged
    disk_is_full: Callable[[], bool] = lambda: False
    tell: Callable[[Session, Alert], Text] | None = None  # why an alert fired, for messages
    _hearing_since_ns: int = 0  # when the last wait for a store was over
    waiting: bool = False  # for a store to come back; the gateways are not heard meanwhile
    books: Books = field(init=False)  # what came, hour by hour
    pulse: EnginePulse = field(default_factory=EnginePulse)
    caps: Caps = field(default_factory=Caps)  # of alarms of statistics
    judged: JudgedDetectors = field(
        init=False
    )  # the detectors, with what people say of their alarms
    _held: int = 0  # alerts that the budget held, not committed
    _look_for_room_at: datetime = LONG_AGO
    _note_limits_at: datetime = LONG_AGO

    def __post_init__(self) -> None:
        self.books = Books(self.catalog)
        self.judged = JudgedDetectors(self.detectors, self.catalog)

    # -- a message -------------------------------------------------------------------------

    def process(self, received: Received) -> None:
        """Takes one MQTT message all the way. Raises one of AWAY if it must be tried again."""
        if not received.topic.startswith(OURS):
            self._foreign([received])
            return
        try:
            if received.topic.endswith(SAMPLES):
                self._samples([self._decoded(received)])
            else:
                topic, payload = received.topic, received.payload
                self._report(gateways.decode_report(topic, payload, retained=received.retained))
        except BadPayloadError as problem:
            self.set_aside(received, problem)
        received.ack()

    def process_all(self, received: Sequence[Received]) -> None:
        """Messages in the order in which they came, as `process` does each.

        Those with samples are taken in together, of however many gateways: the work for each time is
        more than that for its samples.
        """
        for kind, run in groupby(received, key=_kind):
            messages = list(run)
            if kind == "foreign":
                self._foreign(messages)
            elif kind == "samples" and len(messages) > 1:
                self._streams(messages)
            else:
                for one in messages:
                    self.process(one)

    def _streams(self, received: Sequence[Received]) -> None:
        streams: dict[str, list[WireMessage]] = {}
        try:
            for one in received:
                streams.setdefault(one.topic, []).append(self._decoded(one))
        except BadPayloadError:  # the one at fault is set aside
            for one in received:
                self.process(one)
            return
        fresh, repeated = self._sorted_out(streams.values())
        for together in zip_longest(*map(join, fresh)):  # of each stream what continues itself
            self._samples([message for message in together if message is not None])
        for message in repeated:
            self._samples([message])
        for one in received:
            one.ack()

    def _sorted_out(
        self, streams: Iterable[Sequence[WireMessage]]
    ) -> tuple[list[list[WireMessage]], list[WireMessage]]:
        """Each stream without what came before, and the messages that did."""
        fresh: list[list[WireMessage]] = []
        repeated: list[WireMessage] = []
        with reading(self.engine) as session:
            for messages in streams:
                first, headers = messages[0], [message.header for message in messages]
                is_fresh = watermarks.fresh(session, first.site, first.lane, headers)
                fresh.append(list(compress(messages, is_fresh)))
                repeated += compress(messages, map(not_, is_fresh))
        return fresh, repeated

    def _decoded(self, received: Received) -> WireMessage:
        return decode(received.topic, received.payload, self.catalog, self.clock.now_ns())

    def _foreign(self, received: Sequence[Received]) -> None:
        """Third parties' messages: all of a site are taken in together."""
        by_site: dict[str, list[WireMessage]] = {}
        bad: list[tuple[Received, BadPayloadError]] = []
        for one in received:
            try:
                for message in self._decode_foreign(one):
                    by_site.setdefault(message.site, []).append(message)
            except BadPayloadError as problem:
                bad.append((one, problem))
        for messages in by_site.values():
            self._take_in([merge(messages)])
        for one, problem in bad:
            self.set_aside(one, problem)
        for one in received:
            one.ack()

    def _decode_foreign(self, received: Received) -> Sequence[WireMessage]:
        at_ns = self.clock.now_ns() if received.at_ns is None else received.at_ns
        topic, payload = received.topic, received.payload
        found = self.foreign.decode(topic, payload, at_ns, retained=received.retained)
        self.counters.add("foreign_messages")
        self.counters.add("foreign_unmapped", int(not found))  # by a subscription of the past
        return found

    def _samples(self, messages: Sequence[WireMessage], spoilt: "Spoilt | None" = None) -> None:
        """Messages of different streams."""
        accepted: list[WireMessage] = []
        repeated: list[tuple[WireMessage, Header]] = []
        with reading(self.engine) as session:
            for message in messages:
                header = message.header
                if header is None:  # without a stream: at least once, nothing to acknowledge
                    accepted.append(message)
                    continue
                verdict = watermarks.judge(session, message.site, message.lane, header)
                if verdict == "accept":
                    accepted.append(message)
                elif verdict == "duplicate":
                    repeated.append((message, header))
                else:  # one before it is missing; the gateway starts over by itself
                    self.counters.add("batches_ahead", header.batches)
        if accepted:
            self._take_in(accepted, spoilt)
        for message in accepted:
            if message.header is not None:
                self._acknowledge(message, message.header, message.header.seq)
        for message, header in repeated:
            self._acknowledge_again(message, header)

    def _take_in(self, messages: Sequence[WireMessage], spoilt: "Spoilt | None" = None) -> None:
        """Samples first, then what follows from them, in one transaction."""
        if self.disk_is_full():  # what is left is for alerts, orders and an orderly end
            raise StoreUnavailableError("the reserve of the disk is reached, no samples are taken")
        batch = Batch.concat(message.batch for message in messages)
        with self.lock:
            self._write(batch)
            # The data lane has every event too, among its neighbours.
            self.conclude([_heard(message) for message in messages if message.lane == "data"])
            with transaction(self.engine) as session:
                now = self.clock.now()
                self.books.begin()
                for message in messages:
                    self._account(session, message, now, spoilt=spoilt is not None)
                if spoilt is not None:
                    _keep(session, spoilt, now)
                self.follow(session, now)
            self.books.committed()
            self.committed()
        for message in messages:
            if message.lane == "data":
                self.meters.committed(message.site, message.gateway, message.batch)
            self.counters.add_all(message.refused, prefix="refused_")
        self.counters.add("samples", len(batch))
        self.counters.add("messages_quarantined", int(spoilt is not None))
        self.live.publish(batch)

    def _account(
        self, session: Session, message: WireMessage, now: datetime, *, spoilt: bool
    ) -> None:
        """Watermark, ledger, and what the register does not know."""
        header = message.header
        skipped = self._advance(session, message, header, now) if header is not None else 0
        late = self.books.accept(session, message, now, skipped=skipped, spoilt=spoilt)
        self.counters.add("samples_late", late)
        if message.unknown:
            quarantine.record_unknown(session, message.site, message.unknown, now)
            if message.lane == "data":  # where every event stands too
                evicted = parked.park(session, message.site, message.unknown)
                self.counters.add("samples_parked_evicted", evicted)

    def _write(self, batch: Batch) -> None:
        with self.meters.writing(batch):
            self.store.write(batch)

    def _advance(
        self, session: Session, message: WireMessage, header: Header, now: datetime
    ) -> int:
        where = message.site, message.gateway, header.epoch, header.seq
        gaps.record_gaps(session, *where, message.gaps, now)
        lost = any(gap.last == header.seq for gap in message.gaps)
        skipped = watermarks.advance(session, message.site, message.lane, header, now, lost=lost)
        self.counters.add("batches_evicted_by_gateways", skipped)
        self.counters.add("gaps_told", len(message.gaps))
        self.counters.add("gaps_malformed", message.malformed_gaps)
        return skipped

    def conclude(self, heard: Sequence[tuple[str | None, Batch]]) -> None:
        """Derived points, detectors, then rules, on what came through which gateway (None: through none);
        what they find waits in `pending` for the next transaction."""
        batch = Batch.concat(part for _, part in heard)
        derived = self.derived.update(batch)
        scores = self.judged.update(Batch.concat([batch, derived]))
        # A sample is scored once: if the store is away now, the repeat finds here what came of it.
        self.scores = Batch.concat([self.scores, derived, scores])
        self._write(self.scores)
        for gateway, part in heard:
            self.silence.heard(gateway, part, now_ns=self.clock.now_ns())
        self.pending += self.rules.update(Batch.concat([batch, self.scores]))
        self.scores = Batch.empty()

    def follow(self, session: Session, now: datetime) -> None:
        """Alerts, work orders and messages to people, for all that is concluded and not yet committed."""
        self._held = 0
        for step in self.pending:
            try:
                with session.begin_nested():
                    self._follow_one(session, step, now)
            except AWAY:
                raise
            except Exception:  # supervisor: one broken alert must not hold back the others
                log.exception("alert failed", key=step.key, step=step.kind)
                self.counters.add("alerts_failed")

    def _follow_one(self, session: Session, step: Transition, now: datetime) -> None:
        for change in alerts.record(session, [step], now):
            alert = change.alert
            assert alert.id is not None
            if change.kind == "resolved":
                ended_at = alert.resolved_at or now
                workorders.telemetry_recovered(session, alert_id=alert.id, at=ended_at)
                continue
            if budget.hold(session, alert, self.caps) is not None:
                self._held += 1
            elif step.rule.work_order and not alerts.is_shelved(alert, now):
                self._order_work(session, alert, step.rule, step.asset, now)

    def _order_work(
        self, session: Session, alert: Alert, rule: Rule, asset: str, now: datetime
    ) -> None:
        assert alert.id is not None
        began_at = alert.released_at or alert.opened_at  # nobody could have come before
        outcome = workorders.raise_fault(
            session,
            alert_id=alert.id,
            asset_id=alert.asset_id,
            asset_code=asset,
            rule_id=rule.id,
            label=rule.label,
            severity=rule.severity,
            safety=rule.safety,
            link=rule.silent_for_s is not None,
            skill=rule.skill,
            at=began_at,
            series=alert.point_id,
        )
        alerts.attach_order(session, alert, outcome.order_id, outcome.verdict, now)
        if outcome.verdict == "folded" and not rule.safety:
            return  # people know of the order already
        outbox.enqueue(
            session,
            self.channels,
            event=f"work_order.{outcome.verdict}",
            key=f"work_order.{outcome.verdict}:{outcome.order_id}:{alert.id}",
            subject=outbox.order_subject(outcome.verdict, asset, rule.label, rule.severity),
            body={
                "work_order": outcome.order_id,
                "alert": alert.id,
                "asset": asset,
                "rule": rule.id,
                "severity": rule.severity,
                "opened_at": alert.opened_at.isoformat(),
                **self._told(session, alert),
            },
            now=now,
        )

    def _told(self, session: Session, alert: Alert) -> dict[str, object]:
        if self.tell is None:
            return {}
        why = self.tell(session, alert)
        return {"why": {"zh": why.zh, "en": why.en}}

    def committed(self) -> None:
        """What was concluded is on record now."""
        for step in self.pending:
            log.info("alert", step=step.kind, rule=step.rule.id, asset=step.asset, value=step.value)
        self.counters.add("alerts_held_by_budget", self._held)
        self._held = 0
        if self.pending:
            self.pending = []
            self.live.changed("alerts")
            self.live.changed("orders")

    def _acknowledge(self, message: WireMessage, header: Header, seq: int) -> None:
        self.acks.publish_ack(message.site, message.gateway, message.lane, header.epoch, seq)

    def _acknowledge_again(self, message: WireMessage, header: Header) -> None:
        with transaction(self.engine) as session:
            now = self.clock.now()
            seq = watermarks.count_duplicate(session, message.site, message.lane, header, now)
            self.books.repeat(session, message, now)
        self.counters.add("batches_duplicate")
        self._acknowledge(message, header, seq)

    # -- what gateways say of themselves ---------------------------------------------------

    def _report(self, report: gateways.Report) -> None:
        """`state`, `birth` and `health`."""
        with transaction(self.engine) as session:
            gateway = gateways.record_report(session, report, self.clock.now())
            is_born = gateway is not None and gateway.birth is not None
            marks = watermarks.of_gateway(session, report.site, report.gateway)
        if gateway is None:
            self.counters.add("reports_of_unknown_gateways")
            return
        if report.kind == "birth":  # tell it what it may free from its spool
            started_ns = min(gateways.started_ns(report), self.clock.now_ns())
            with self.lock:
                self.silence.started(report.gateway, started_ns)
            for mark in marks:
                if mark.epoch == report.body.get("epoch"):
                    self.acks.publish_ack(mark.site, mark.gateway, mark.lane, mark.epoch, mark.seq)
        else:
            if report.kind == "health" and not is_born:  # its birth came before it was registered
                self.acks.ask_rebirth(report.site, report.gateway)
            self._own_figures(report)

    def _own_figures(self, report: gateways.Report) -> None:
        now_ns = self.clock.now_ns()
        batch = gateways.gateway_samples(report, self.catalog, now_ns)
        with self.lock:
            self._write(batch)
            if report.kind == "health":
                # As of when it was said: samples read since then may still be on their way.
                said_ns = gateways.said_ns(report, now_ns)
                rows = gateways.spool_rows(report)
                self.silence.health(report.gateway, said_ns, rows, now_ns=now_ns)
            self.pending += self.rules.update(batch)
            with transaction(self.engine) as session:
                self.books.begin()
                self.books.meet(session, batch)
                self.follow(session, self.clock.now())
            self.books.committed()
            self.committed()
        self.live.publish(batch)

    # -- what cannot be understood ---------------------------------------------------------

    def set_aside(self, received: Received, problem: BadPayloadError) -> None:
        """Keeps a bad message with its reason, and counts its place in the stream as done, so that the
        gateway sends what comes after it."""
        log.warning(
            "message set aside", topic=received.topic, reason=problem.reason, detail=problem.detail
        )
        spoilt, empty = Spoilt(received, problem), hollow(received.topic, received.payload)
        if empty is not None:
            self._samples([empty], spoilt)
        else:
            with transaction(self.engine) as session:
                _keep(session, spoilt, self.clock.now())
            self.counters.add("messages_quarantined")

    # -- the clock -------------------------------------------------------------------------

    def tick(self, connected_since_ns: int | None) -> None:
        """What the passing of time alone makes true: silence, and repairs that have stayed healthy."""
        now = self.clock.now()
        self._hear_verdicts(now)
        self._note_limits(now)
        self._let_go(now)
        with reading(self.engine) as session:  # mostly there is nothing, and nobody has to wait
            is_due = self._awaits_order(session, now) or workorders.awaits_verdict(
                session, now, self.verify_after_s
            )
        judged: Sequence[workorders.Verification] = ()
        with self.lock:
            hearing_since_ns = None
            if connected_since_ns is not None and not self.waiting:
                hearing_since_ns = max(connected_since_ns, self._hearing_since_ns)
                self.pending += self.silence.check(self.clock.now_ns(), hearing_since_ns)
            since = None if hearing_since_ns is None else from_ns(hearing_since_ns)
            if is_due or self.pending or self.pulse.is_due(now, since):
                with transaction(self.engine) as session:
                    self.pulse.beat(session, now, since, "store" if self.waiting else "broker")
                    self.follow(session, now)
                    self._order_what_was_shelved(session, now)
                    judged = workorders.verify(session, now, self.verify_after_s)
                self.pulse.committed()
            self.committed()
        if judged:
            self.live.changed("orders")

    def _hear_verdicts(self, now: datetime) -> None:
        """What people have said since of the detectors' alarms, from whatever process, and what came of it.

        A verdict gets its number and its time on record first and is heard then: whoever starts again
        after a crash hears it at the same sample.
        """
        with reading(self.engine) as session:
            is_new = feedback.waits(session, self.judged.heard)
        with self.lock:
            effects = self.judged.effects
            if not (is_new or effects):
                return
            with transaction(self.engine) as session:
                feedback.number_new(session, self._newest_of_asset)
                feedback.note_effects(session, effects)
                said = feedback.said_after(session, self.judged.heard)
            self.judged.hear(said)
            self.judged.recorded(effects)
        for one in said:
            self.counters.add(f"verdicts_{one.outcome if one.kind == 'judged' else one.kind}")

    def _newest_of_asset(self, series: int) -> int:
        """Time of the newest sample of the asset of this series that was concluded from."""
        last_at = self.rules.last_at
        try:
            own = self.catalog.of_asset(self.catalog.info(series).asset).values()
        except NotFoundError:  # the register was changed by other hands; nothing waits for it
            return 0
        return max((int(last_at[one]) for one in own if one < len(last_at)), default=0)

    def _note_limits(self, now: datetime) -> None:
        """For the pages, which do not see the detectors."""
        if now < self._note_limits_at:
            return
        self._note_limits_at = now + LIMITS_EVERY
        with self.lock:
            limits = self.detectors.limits()
        with reading(self.engine) as session:
            moved = feedback.moved(session, limits)
        if moved:
            with transaction(self.engine) as session:
                feedback.note_limits(session, moved, now)

    def _let_go(self, now: datetime) -> None:
        """Alerts that the budget held and for which there is room again, if they still fire.

        Work is ordered for them as for those that come back from the shelf.
        """
        if now < self._look_for_room_at:
            return
        self._look_for_room_at = now + ROOM_EVERY
        with reading(self.engine) as session:
            ids = budget.with_room(session, now, self.caps)
        if ids:
            with self.lock, transaction(self.engine) as session:
                for alert_id in ids:
                    budget.release(session, alert_id, now, self.caps)
            self.live.changed("alerts")

    def maintain(self) -> None:
        """Maintenance by the calendar and by use; needs no hurry, so it is looked at less often."""
        if self.totals is not None:
            with suppress(StoreUnavailableError):  # plans by the calendar do not wait for it
                self.totals.look(self.clock.now_ns())
        now = self.clock.now()

        def tell(session: Session, opened: maintenance.OpenedOccurrence) -> None:
            self._tell_of_maintenance(session, opened, now)

        if maintenance.tick(self.engine, self.plans, now, self._readings, tell):
            self.live.changed("orders")

    def _awaits_order(self, session: Session, now: datetime) -> bool:
        """Whether `_order_what_was_shelved` has any work."""
        query = select(Alert.rule).where(
            Alert.state == "firing",
            func.coalesce(Alert.work_order_id, 0) == 0,  # so that the index of the state is used
            col(Alert.suppressed_by).is_(None),
            or_(col(Alert.shelved_until).is_(None), col(Alert.shelved_until) <= now),
        )
        rules = set(session.exec(query.distinct()))
        return any(rule in self.rule_by_id and self.rule_by_id[rule].work_order for rule in rules)

    def _order_what_was_shelved(self, session: Session, now: datetime) -> None:
        """An alert that came back from the shelf and still fires is work after all."""
        for alert in alerts.without_order(session, now):
            rule = self.rule_by_id.get(alert.rule)
            if rule is not None and rule.work_order:
                asset = session.get_one(Asset, alert.asset_id).code
                self._order_work(session, alert, rule, asset, now)

    def wait(self) -> None:
        """A store is away. What gateways say now is heard later, so nobody is silent meanwhile."""
        self.waiting = True

    def resume(self) -> None:
        """The wait is over; those who spoke during it have their time to be heard."""
        if self.waiting:
            self._hearing_since_ns = self.clock.now_ns()
            self.waiting = False

    def _readings(self, places: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], float]:
        """How far counters have run, for plans that fall due by use; without those that cannot be read."""
        series = {place: self.catalog.lookup(*place) for place in places}
        values: dict[int, float | None] = {}
        others: list[int] = []
        for number in series.values():
            if number is None:
                continue
            if self.totals is not None and self.totals.covers(number):
                values[number] = self.totals.total(number)
            else:
                others.append(number)
        if others:
            with suppress(StoreUnavailableError):  # plans by the calendar do not wait for it
                newest = self.store.latest(others)
                good = newest.take(newest.quality == GOOD)
                values |= zip(good.series.tolist(), good.value.tolist(), strict=True)
        found = {
            place: values.get(number) for place, number in series.items() if number is not None
        }
        return {place: value for place, value in found.items() if value is not None}

    def _tell_of_maintenance(
        self, session: Session, occurrence: maintenance.OpenedOccurrence, now: datetime
    ) -> None:
        plan = next(plan for plan in self.plans if plan.id == occurrence.template)
        outbox.enqueue(
            session,
            self.channels,
            event="work_order.opened",
            key=f"work_order.opened:{occurrence.work_order_id}:{occurrence.occurrence_id}",
            subject=outbox.order_subject("opened", occurrence.asset, plan.label, plan.priority),
            body={
                "work_order": occurrence.work_order_id,
                "asset": occurrence.asset,
                "plan": plan.id,
                "due_on": occurrence.due_on.isoformat(),
            },
            now=now,
        )


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A message that cannot be used, and why."""

    received: Received
    problem: BadPayloadError


def _keep(session: Session, spoilt: Spoilt, now: datetime) -> None:
    message = spoilt.received
    quarantine.quarantine(session, message.topic, message.payload, spoilt.problem, now)


def _kind(received: Received) -> Literal["samples", "report", "foreign"]:
    if not received.topic.startswith(OURS):
        return "foreign"
    return "samples" if received.topic.endswith(SAMPLES) else "report"


def _heard(message: WireMessage) -> tuple[str | None, Batch]:
    return message.gateway if message.header else None, message.batch


def run(
    pipeline: Pipeline, take: Callable[[float], Received | None], stop: threading.Event
) -> None:
    """Processes messages until told to stop. A store that is away is waited for; nothing is skipped."""
    pipeline.meters.begin()
    while not stop.is_set():
        received = take(0.2)
        if received is not None:
            _until_done(pipeline, _with_those_behind(received, take), stop)
            pipeline.meters.at_rest()


def _with_those_behind(first: Received, take: Callable[[float], Received | None]) -> list[Received]:
    """What is there already, up to the most that is taken at a time."""
    taken, of_stream = [first], Counter([first.topic])
    while len(taken) < AT_ONCE and of_stream[taken[-1].topic] < OF_A_STREAM:
        received = take(0)
        if received is None:
            break
        taken.append(received)
        of_stream[received.topic] += 1
    return taken


def _until_done(pipeline: Pipeline, received: Sequence[Received], stop: threading.Event) -> None:
    wait_s = 0.2
    while not stop.is_set():
        pipeline.meters.at_work()
        try:
            _guarded(pipeline, received)
            if pipeline.waiting:
                log.warning("store is back")
                pipeline.resume()
            return
        except AWAY as problem:
            if not pipeline.waiting:
                log.error("store away, waiting for it", problem=str(problem))
                pipeline.wait()
            pipeline.counters.add("store_retries")
        stop.wait(wait_s)
        wait_s = min(wait_s * 2, 10.0)


def _guarded(pipeline: Pipeline, received: Sequence[Received]) -> None:
    """The supervisor of the queue: a message that breaks the code is set aside as well."""
    try:
        pipeline.process_all(received)
    except AWAY:
        raise
    except Exception as problem:  # whatever it is, the messages behind it must go on
        if len(received) > 1:
            for one in received:
                _guarded(pipeline, [one])
            return
        log.exception("message failed", topic=received[0].topic)
        pipeline.counters.add("messages_failed")
        pipeline.set_aside(received[0], BadPayloadError("failed", repr(problem)[:200]))
        received[0].ack()
