"""Who was away from when to when: gateways and devices by what gateways report, the engine by its own pulse.

The evidence for the causes of gaps (causes.py). Only changes are written, never a row for each report.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, or_, select

from pms_iot.assets.tables import Gateway
from pms_iot.kernel.clock import from_ns
from pms_iot.telemetry.ledger.tables import LedgerOutage, LedgerPulse

SILENT_AFTER = timedelta(seconds=60)  # a gateway says every 10 s how it is
PULSE_EVERY = timedelta(seconds=10)
WHY_LETTERS = 200
_ENGINE = "engine"


def note_report(
    session: Session, site: str, gateway: Gateway, kind: str, body: Mapping[str, Any], now: datetime
) -> None:
    """What a report of `kind` changes; call before `gateway` takes it up.

    A birth that is known already says nothing: the broker repeats it whenever we subscribe.
    """
    if kind == "state" and body["state"] == "offline":
        if not _open(session, "gateway", site, gateway.code):
            start = gateway.last_seen_at or now
            _begin(session, "gateway", site, gateway.code, start, "offline")
        return
    restarted = kind == "birth" and _is_another(body, gateway.birth)
    if kind == "birth" and not restarted:
        return
    _end_gateway(session, site, gateway, now, restarted=restarted)
    if kind == "health":
        _note_devices(session, site, body, gateway.health, now)


def _is_another(birth: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is not None and birth.get("started_ns") != before.get("started_ns")


def _end_gateway(
    session: Session, site: str, gateway: Gateway, now: datetime, *, restarted: bool
) -> None:
    running = _open(session, "gateway", site, gateway.code)
    for row in running:
        row.end = now
        session.add(row)
    seen = gateway.last_seen_at
    if running or seen is None or not (restarted or now - seen > SILENT_AFTER):
        return
    why = "restarted" if restarted else "silent"
    _begin(session, "gateway", site, gateway.code, seen, why, end=now)


def _note_devices(
    session: Session,
    site: str,
    health: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Devices that stopped or began to answer since the last health."""
    earlier = (before or {}).get("devices", {})
    said = min(from_ns(health["at_ns"]), now) if "at_ns" in health else now
    for name, device in health.get("devices", {}).items():
        ok = bool(device.get("ok"))
        if ok == bool(earlier.get(name, {"ok": True}).get("ok")):
            continue
        running = _open(session, "device", site, name)
        if ok:
            for row in running:
                row.end = max(said, row.start)
                session.add(row)
        elif not running:
            heard = device.get("last_good_ns")
            start = min(from_ns(heard), said) if isinstance(heard, int) else said
            why = str(device.get("last_error") or device.get("breaker") or "")[:WHY_LETTERS]
            _begin(session, "device", site, name, start, why)


class EnginePulse:
    """Remembers in the database when gateways were last heard, so that a restart knows how long it was away."""

    def __init__(self) -> None:
        self._why = "stopped"
        self._has_beaten = False
        self._written: datetime | None = None  # the beat in the transaction at hand
        self._at: datetime | None = None  # the last one that is committed

    def is_due(self, now: datetime, hearing_since: datetime | None) -> bool:
        """Whether `beat` has anything to do; else its transaction can be saved."""
        if hearing_since is None or self._at is None:
            return True
        return hearing_since > self._at or now - self._at >= PULSE_EVERY

    def committed(self) -> None:
        """The last beat is on record now."""
        self._at = self._written

    def beat(
        self, session: Session, now: datetime, hearing_since: datetime | None, why: str
    ) -> None:
        """hearing_since: since when gateways are heard without a break; None while they are not, for `why`."""
        if hearing_since is None:
            self._why = why if self._has_beaten else "stopped"
            return
        row = session.get(LedgerPulse, _ENGINE)
        if row is None:
            row = LedgerPulse(name=_ENGINE, at=now)
            session.add(row)
        elif hearing_since > row.at:
            _begin(session, _ENGINE, "", "", row.at, self._why, end=hearing_since)
            row.at = now
        elif now - row.at >= PULSE_EVERY:
            row.at = now
        self._written = row.at
        self._why, self._has_beaten = "broker", True


def between(
    session: Session, kind: str, site: str, name: str, start: datetime, end: datetime
) -> Sequence[LedgerOutage]:
    """The outages of one gateway, device or of the engine that touch [start, end), the earliest first."""
    chosen = select(LedgerOutage).where(
        LedgerOutage.kind == kind,
        LedgerOutage.site == site,
        LedgerOutage.name == name,
        col(LedgerOutage.start) < end,
        or_(col(LedgerOutage.end).is_(None), col(LedgerOutage.end) > start),
    )
    return session.exec(chosen.order_by(col(LedgerOutage.start))).all()


def _open(session: Session, kind: str, site: str, name: str) -> Sequence[LedgerOutage]:
    chosen = select(LedgerOutage).where(
        LedgerOutage.kind == kind,
        LedgerOutage.site == site,
        LedgerOutage.name == name,
        col(LedgerOutage.end).is_(None),
    )
    return session.exec(chosen).all()


def _begin(
    session: Session,
    kind: str,
    site: str,
    name: str,
    start: datetime,
    why: str,
    end: datetime | None = None,
) -> None:
    session.add(LedgerOutage(kind=kind, site=site, name=name, start=start, end=end, why=why))
