"""Gathers what speaks for the cause of a gap: outages, what gateways told, steps of their clocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Asset, Gateway, Site
from pms_iot.kernel.clock import to_ns
from pms_iot.telemetry.ledger import outages
from pms_iot.telemetry.ledger.causes import Evidence, Gap, name_causes, outside
from pms_iot.telemetry.ledger.holes import Hole
from pms_iot.telemetry.ledger.tables import LedgerHour, LedgerOutage
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.tables import TelemetryGap

HOUR = timedelta(hours=1)
TOLD_WITHIN = timedelta(days=1)  # a loss without a time is told when the gateway is back
_UNSURE_NS = 15 * 10**9  # around each report of a clock that is not trusted; one comes every 10 s


@dataclass(frozen=True, slots=True)
class NamedGap:
    """A gap with its causes, the main one first, and the words that gateways had for them."""

    start_ns: int
    end_ns: int
    causes: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Supply:
    """What an asset hangs on."""

    site: str
    asset: str
    gateway: str | None  # its code in the register; None for an asset that publishes by itself
    gateway_asset: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """All that speaks for a cause in a window. `undated`: (told at, cause) of losses without a time."""

    evidence: tuple[Evidence, ...]
    undated: tuple[tuple[int, str], ...]

    def judge(self, hole: Hole) -> NamedGap:
        """The hole with the names of its causes."""
        gap, within = hole.gap, round(TOLD_WITHIN.total_seconds() * 1e9)
        items = (*hole.evidence, *self.evidence)
        undated = [cause for told, cause in self.undated if 0 <= told - gap.end_ns <= within]
        causes = name_causes(gap, items, undated)
        return NamedGap(gap.start_ns, gap.end_ns, causes, _words(gap, items))


def _words(gap: Gap, items: Iterable[Evidence]) -> tuple[str, ...]:
    touching = (i for i in items if i.start_ns < gap.end_ns and i.end_ns > gap.start_ns and i.why)
    return tuple(dict.fromkeys(f"{item.cause}: {item.why}" for item in touching))


def supply_of(session: Session, code: str) -> Supply | None:
    """Which gateway an asset speaks through; None for an asset that the register does not know."""
    asset = session.exec(select(Asset).where(Asset.code == code)).one_or_none()
    if asset is None:
        return None
    site = session.get_one(Site, asset.site_id)
    above = asset.id if asset.kind == "gateway" else asset.supply_id
    found = session.exec(
        select(Gateway, Asset)
        .join(Asset, col(Gateway.asset_id) == col(Asset.id))
        .where(Gateway.asset_id == above)
    ).first()
    if found is None:
        return Supply(site.code, code, None, None)
    return Supply(site.code, code, found[0].code, found[1].code)


def gather(session: Session, supply: Supply, start: datetime, end: datetime, now: datetime) -> Case:
    """What the core store knows of the window that may explain gaps of the asset."""
    engine = _away(session, "engine", "", "", start, end, now)
    found = [*engine, *_away(session, "device", supply.site, supply.asset, start, end, now)]
    if supply.gateway is None:
        return Case(tuple(found), ())
    gateway = _away(session, "gateway", supply.site, supply.gateway, start, end, now)
    found += _heard_of(engine, [*gateway, *_silent_now(session, supply, now)])
    told = _told(session, supply, start)
    found += [
        Evidence(gap.cause, to_ns(gap.first_at), to_ns(gap.last_at) + 1)
        for gap in told
        if gap.first_at is not None and gap.last_at is not None
    ]
    undated = [(to_ns(gap.noted_at), gap.cause) for gap in told if gap.first_at is None]
    undated += [(to_ns(at), "evicted") for at in _skipped(session, supply, start, end)]
    return Case(tuple(found), tuple(undated))


def _away(
    session: Session,
    kind: str,
    site: str,
    name: str,
    start: datetime,
    end: datetime,
    now: datetime,
) -> list[Evidence]:
    rows = outages.between(session, kind, site, name, start, end)
    return [_as_evidence(row, now) for row in rows]


def _heard_of(engine: Sequence[Evidence], gateway: Iterable[Evidence]) -> list[Evidence]:
    """Silence says something of a gateway only while the engine was listening."""
    deaf = [(item.start_ns, item.end_ns) for item in engine]
    found: list[Evidence] = []
    for item in gateway:
        found += outside(item, deaf) if item.why == "silent" else [item]
    return [item for item in found if item.why != "silent" or _is_silence(item)]


def _is_silence(item: Evidence) -> bool:
    return item.end_ns - item.start_ns > outages.SILENT_AFTER.total_seconds() * 1e9


def _as_evidence(row: LedgerOutage, now: datetime) -> Evidence:
    return Evidence(row.kind, to_ns(row.start), to_ns(row.end or now), row.why)


def _silent_now(session: Session, supply: Supply, now: datetime) -> list[Evidence]:
    """A gateway whose silence has not ended yet has no row of it, unless the broker said so."""
    chosen = (
        select(Gateway)
        .join(Site, col(Gateway.site_id) == col(Site.id))
        .where(col(Site.code) == supply.site, Gateway.code == supply.gateway)
    )
    gateway = session.exec(chosen).first()
    seen = gateway.last_seen_at if gateway else None
    if seen is None or now - seen <= outages.SILENT_AFTER:
        return []
    return [Evidence("gateway", to_ns(seen), to_ns(now), "silent")]


def _told(session: Session, supply: Supply, start: datetime) -> Sequence[TelemetryGap]:
    chosen = select(TelemetryGap).where(
        TelemetryGap.site == supply.site,
        TelemetryGap.gateway == supply.gateway,
        TelemetryGap.lane == "data",
        col(TelemetryGap.noted_at) >= start,
    )
    return session.exec(chosen.order_by(col(TelemetryGap.id))).all()


def _skipped(
    session: Session, supply: Supply, start: datetime, end: datetime
) -> Sequence[datetime]:
    """Hours in which numbers jumped: an agent that tells nothing of it lost batches before."""
    chosen = select(LedgerHour.hour).where(
        LedgerHour.site == supply.site,
        LedgerHour.gateway == supply.gateway,
        LedgerHour.lane == "data",
        LedgerHour.skipped > 0,
        col(LedgerHour.hour) > start - HOUR,
        col(LedgerHour.hour) < end + TOLD_WITHIN,
    )
    return [hour + HOUR for hour in session.exec(chosen)]


def clock_steps(
    store: SampleStore, catalog: SeriesCatalog, gateway: str, start_ns: int, end_ns: int
) -> list[Evidence]:
    """What a gateway said of its clock. `gateway`: its asset. Raises StoreUnavailableError.

    A step forward leaves out the time it jumped over; a clock that is not trusted may stamp anything.
    """
    found: list[Evidence] = []
    if (steps := catalog.lookup(gateway, "clock_step_s")) is not None:
        batch = store.read(steps, start_ns, end_ns + _UNSURE_NS)
        for at, step_s in zip(batch.at.tolist(), batch.value.tolist(), strict=True):
            if step_s > 0:
                found.append(Evidence("clock", at - int(step_s * 1e9), at, f"{step_s:+.1f} s"))
    if (unsure := catalog.lookup(gateway, "clock_uncertain")) is not None:
        batch = store.read(unsure, start_ns, end_ns + _UNSURE_NS)
        for at in batch.at[batch.value > 0].tolist():
            found.append(Evidence("clock", at - _UNSURE_NS, at + _UNSURE_NS, "uncertain"))
    return found
