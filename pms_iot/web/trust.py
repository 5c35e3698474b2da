"""How far the detectors can be trusted: their alarms of the last 30 days against what people found."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, or_, select

from pms_iot.alerts.budget import HELD
from pms_iot.alerts.tables import Alert
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import STATISTICAL, is_statistical
from pms_iot.assets.tables import Point
from pms_iot.feedback.caps import WINDOW
from pms_iot.feedback.service import TRUE
from pms_iot.feedback.tables import DetectorLimit, Feedback
from pms_iot.web.deps import WebDeps

OUTCOMES = ("true_fault", "sensor_fault", "false_alarm", "no_fault_found")


@dataclass(slots=True)
class Tally:
    """Alarms of a month, and what people said of them.

    alarms: those that people were told of. held: those that they were not, for the budget was used up.
    verdicts: of the alarms of that month, by outcome.
    """

    alarms: int = 0
    held: int = 0
    verdicts: Counter[str] = field(default_factory=Counter[str])

    @property
    def judged(self) -> int:
        return sum(self.verdicts.values())

    @property
    def right(self) -> int:
        return sum(self.verdicts[outcome] for outcome in TRUE)

    @property
    def precision(self) -> float | None:
        """Share of the judged alarms at which something was wrong indeed; None while none is judged."""
        return self.right / self.judged if self.judged else None

    @property
    def unconfirmed(self) -> int:
        """Alarms that count against the budget."""
        return max(self.alarms - self.right, 0)

    def add(self, *, held: bool, verdict: str | None) -> None:
        self.alarms += not held
        self.held += held
        if verdict is not None:
            self.verdicts[verdict] += 1


@dataclass(frozen=True, slots=True)
class PointTrust:
    """One computed point. limit: of its score now; target: false alarms a month; None: it has none."""

    info: SeriesInfo
    tally: Tally
    limit: float | None
    target: float | None
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PlaceTrust:
    """The alarms of statistics of an asset or a site, against its cap."""

    code: str
    tally: Tally
    cap: float


@dataclass(frozen=True, slots=True)
class Trust:
    """Points that raised an alarm in the window; `silent` others watch and have raised none."""

    since: datetime
    points: Sequence[PointTrust]
    assets: Sequence[PlaceTrust]
    sites: Sequence[PlaceTrust]
    silent: int


def _precision(point: PointTrust) -> float:
    return 2.0 if point.tally.precision is None else point.tally.precision


ORDERS: Mapping[str, Callable[[PointTrust], Any]] = {
    "worst": lambda p: (-p.tally.unconfirmed, -p.tally.held, _precision(p)),
    "alarms": lambda p: -p.tally.alarms,
    "precision": _precision,
    "held": lambda p: -p.tally.held,
    "asset": lambda p: (p.info.asset, p.info.point),
}
"""What the points can be sorted by; the first is the usual one."""


def trust(deps: WebDeps, session: Session, now: datetime, order: str = "worst") -> Trust:
    """Raises KeyError for an order that is none of ORDERS."""
    since = now - WINDOW
    points: dict[int, Tally] = defaultdict(Tally)
    assets: dict[str, Tally] = defaultdict(Tally)
    sites: dict[str, Tally] = defaultdict(Tally)
    last_at: dict[int, datetime] = {}
    infos = {info.id: info for info in deps.catalog.all() if info.derived}
    for alarm in _alarms(session, since):
        info = infos.get(alarm.series)
        if info is None:  # registered since the catalog was read
            continue
        tallies = [points[info.id]]
        if is_statistical(info.point) and not alarm.safety:
            tallies += [assets[info.asset], sites[info.site]]
        for tally in tallies:
            tally.add(held=alarm.held, verdict=alarm.verdict)
        last_at[info.id] = max(alarm.at, last_at.get(info.id, alarm.at))
    limits = _limits(session, infos)
    found = [
        PointTrust(infos[series], tally, *limits.get(series, (None, None)), last_at[series])
        for series, tally in points.items()
    ]
    found.sort(key=lambda p: (p.info.asset, p.info.point))
    caps = deps.settings.budget
    watched = {(i.asset, i.point.rpartition(".")[0]) for i in infos.values() if is_statistical(i.point)}  # fmt: skip
    loud = {(p.info.asset, p.info.point.rpartition(".")[0]) for p in found}
    return Trust(
        since=since,
        points=sorted(found, key=ORDERS[order]),
        assets=_places(assets, caps.asset_month),
        sites=_places(sites, caps.site_month),
        silent=len(watched - loud),
    )


def _places(tallies: Mapping[str, Tally], cap: float) -> list[PlaceTrust]:
    """The worst first."""
    places = [PlaceTrust(code, tally, cap) for code, tally in tallies.items()]
    return sorted(places, key=lambda p: (-p.tally.unconfirmed, -p.tally.held, p.code))


@dataclass(frozen=True, slots=True)
class _Alarm:
    series: int
    at: datetime  # when people were told; when it began, if they were not
    safety: bool
    held: bool
    verdict: str | None


def _alarms(session: Session, since: datetime) -> Iterable[_Alarm]:
    """All alarms on computed points that people were told of since then, or were not told of."""
    recent = or_(col(Alert.opened_at) > since, col(Alert.released_at) > since)
    of_computed = (
        select(Alert)
        .join(Point, col(Point.id) == col(Alert.point_id))
        .where(col(Point.derived).is_(True), recent)
    )
    verdicts = _verdicts(session, since)
    for alert in session.exec(of_computed):
        assert alert.point_id is not None
        yield _Alarm(
            series=alert.point_id,
            at=alert.released_at or alert.opened_at,
            safety=alert.safety,
            held=alert.suppressed_by in HELD,
            verdict=verdicts.get(alert.id or 0),
        )


def _verdicts(session: Session, since: datetime) -> dict[int, str]:
    """Alert -> the outcome that holds now."""
    said = (
        select(Feedback)
        .join(Alert, col(Alert.id) == col(Feedback.alert_id))
        .where(
            col(Feedback.kind).in_(("judged", "withdrawn")),
            or_(col(Alert.opened_at) > since, col(Alert.released_at) > since),
        )
        .order_by(col(Feedback.id))
    )
    found: dict[int, str] = {}
    for row in session.exec(said):
        if row.kind == "judged":
            found[row.alert_id] = row.outcome
        else:
            found.pop(row.alert_id, None)
    return found


def _limits(session: Session, infos: Mapping[int, SeriesInfo]) -> dict[int, tuple[float, float]]:
    """(limit, target) of each score, and of the other points that say the same of the same input."""
    ids = {(info.asset, info.point): info.id for info in infos.values()}
    found: dict[int, tuple[float, float]] = {}
    for row in session.exec(select(DetectorLimit)):
        info = infos.get(row.series)
        base = info.point.rpartition(".")[0] if info is not None else ""
        alike = [ids.get((info.asset, f"{base}.{end}")) for end in STATISTICAL] if info else []
        for series in (row.series, *(one for one in alike if one is not None)):
            found.setdefault(series, (row.limit, row.target))
    return found


def as_json(found: Trust) -> dict[str, Any]:
    """For the API; times as Unix seconds."""
    return {
        "since": found.since.timestamp(),
        "silent": found.silent,
        "points": [
            {
                "site": point.info.site,
                "asset": point.info.asset,
                "point": point.info.point,
                **_tally_json(point.tally),
                "limit": point.limit,
                "target": point.target,
                "last_at": point.last_at.timestamp(),
            }
            for point in found.points
        ],
        "assets": [_place_json(place, "asset") for place in found.assets],
        "sites": [_place_json(place, "site") for place in found.sites],
    }


def _tally_json(tally: Tally) -> dict[str, Any]:
    return {
        "alarms": tally.alarms,
        "unconfirmed": tally.unconfirmed,
        "held": tally.held,
        "verdicts": {outcome: tally.verdicts[outcome] for outcome in OUTCOMES},
        "precision": tally.precision,
    }


def _place_json(place: PlaceTrust, kind: str) -> dict[str, Any]:
    return {kind: place.code, **_tally_json(place.tally), "cap": place.cap}
