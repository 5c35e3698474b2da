"""Restart: the state is saved every few seconds, and what was stored after it is concluded again.

Detectors and rules drop what they have seen, alerts are keyed by their opening time, so an overlap is
harmless: any kill -9 comes to the alerts and orders of a run without it (docs/adr/0003).
"""

from collections.abc import Collection, Sequence

import structlog
from sqlmodel import Session

from pms_iot.alerts import service as alerts
from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Firing
from pms_iot.derived.derived import Derived
from pms_iot.detection.judged import JudgedDetectors
from pms_iot.feedback import service as feedback
from pms_iot.feedback.caps import WINDOW
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.kernel.snapshots import State, load_snapshot, save_snapshots
from pms_iot.pipeline import Pipeline
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.store import SampleStore
from pms_iot.workorders import service as workorders

log = structlog.get_logger()

DAY_NS = 86_400 * 10**9
WARM_UP_NS = 2 * DAY_NS  # history that new detectors learn from
WARM_UP_STEP_NS = 3600 * 10**9  # read at once; a whole history would not fit into memory
EDGE_NS = 60 * 10**9  # what only the server has grows with time: it must not catch up with a read
AHEAD_NS = DAY_NS  # no stored sample is further in the future


def save(path: Pipeline) -> None:
    """Writes the state of derived points, detectors, rules and silence watch into the core store.

    Samples wait only while it is copied. What is committed while it is written is newer than the
    state, so a restart concludes it again.
    """
    with path.lock:
        if path.pending or len(path.scores):
            return  # not committed yet: a restart must conclude it again
        now = path.clock.now()
        states = {name: State(part.config_hash, part.snapshot()) for name, part in _stateful(path)}
    save_snapshots(path.engine, now, states)


def restore(path: Pipeline) -> None:
    """Puts the last state back, then feeds it the samples that were stored after it."""
    with transaction(path.engine) as session:
        known = {name for name, part in _stateful(path) if _restored(session, name, part)}
        _adopt(path, session)
        _hear(path, session, has_past="detectors" in known)
    if not {"derived", "detectors"} <= known:
        _warm_up(path, known)
    if "rules" not in known:
        _begin(path)
    _replay(path)
    save(path)  # what is stored from now on is newer than this state


Stateful = Derived | JudgedDetectors | RuleEngine | SilenceWatch


def _stateful(path: Pipeline) -> list[tuple[str, Stateful]]:
    return [
        ("derived", path.derived),
        ("detectors", path.judged),
        ("rules", path.rules),
        ("silence", path.silence),
    ]


def _restored(session: Session, name: str, part: Stateful) -> bool:
    state = load_snapshot(session, name, part.config_hash)
    if state is not None:
        part.restore(state)
    return state is not None


def _hear(path: Pipeline, session: Session, *, has_past: bool) -> None:
    """Verdicts that were taken since the state was saved; detectors without one hear those of a month."""
    if not has_past:
        path.judged.begin_after(feedback.last_before(session, path.clock.now(), WINDOW))
    path.judged.hear(feedback.said_after(session, path.judged.heard))


def _adopt(path: Pipeline, session: Session) -> None:
    """Alerts that fire in the database fire here too; those that no rule watches any more end."""
    live = [Firing(alert.key, to_ns(alert.since)) for alert in alerts.live_alerts(session)]
    orphans = set(path.rules.adopt(live)) & set(path.silence.adopt(live))
    now = path.clock.now()
    for alert_id in alerts.retire(session, orphans, now):
        workorders.telemetry_recovered(session, alert_id=alert_id, at=now)


def _warm_up(path: Pipeline, known: Collection[str]) -> None:
    """What is without a past learns from what the store holds; nothing is concluded from it.

    Detectors alone without one see the derived points as they would have been made then.
    """
    derived = path.derived.anew() if "derived" in known else path.derived
    oldest_ns = path.clock.now_ns() - WARM_UP_NS
    for series in _measured_by_asset(path).values():
        newest = path.store.latest(series)
        end_ns = int(newest.at.max()) + 1 if len(newest) else oldest_ns
        for start_ns in range(oldest_ns, end_ns, WARM_UP_STEP_NS):
            stop_ns = min(start_ns + WARM_UP_STEP_NS, end_ns)
            batch = _readable(path.store, series, start_ns, stop_ns)
            joined = Batch.concat([batch, derived.update(batch)])
            if "detectors" not in known:
                path.judged.update(joined)


def _begin(path: Pipeline) -> None:
    """Rules without a past start from the newest sample of each series."""
    newest = path.store.latest([info.id for info in path.catalog.all()])
    path.pending += path.rules.update(newest.sorted_by_time())
    _follow(path)


def _replay(path: Pipeline) -> None:
    """Concludes from what was stored after the state was saved, asset by asset."""
    replayed = 0
    for asset, series in _measured_by_asset(path).items():
        batch = _not_seen(path, series)
        replayed += len(batch)
        path.conclude([(path.silence.gateway_of(asset), batch)])
    path.pending.sort(
        key=lambda step: (step.at_ns, step.key)
    )  # a site's budget is spent in time order
    _follow(path)
    log.info("state restored", samples_replayed=replayed)


def _follow(path: Pipeline) -> None:
    with transaction(path.engine) as session:
        path.follow(session, path.clock.now())
    path.committed()


def _not_seen(path: Pipeline, series: Sequence[int]) -> Batch:
    """What the store holds of these series and the rules have not seen; each from its own last."""
    last_at, alike = path.rules.last_at, dict[int, list[int]]()
    for number in series:
        last = int(last_at[number]) if number < len(last_at) else 0
        alike.setdefault(max(last, 0), []).append(number)
    end_ns = path.clock.now_ns() + AHEAD_NS
    parts = [_readable(path.store, group, last + 1, end_ns) for last, group in alike.items()]
    return Batch.concat(parts).sorted_by_time()


def _readable(store: SampleStore, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
    """What can be read: no start waits for a server that only has what is older than the state saved."""
    try:
        return store.read_many(series, start_ns, end_ns)
    except StoreUnavailableError as problem:
        since_ns = store.local_since_ns()
        if start_ns >= since_ns:
            raise
        log.warning("older history cannot be read now", problem=str(problem))
        since_ns += EDGE_NS
        return store.read_many(series, since_ns, max(since_ns, end_ns))


def _measured_by_asset(path: Pipeline) -> dict[str, list[int]]:
    by_asset: dict[str, list[int]] = {}
    for info in path.catalog.all():
        if not info.derived:
            by_asset.setdefault(info.asset, []).append(info.id)
    return by_asset
