"""On which day what wears will reach its limit, as pages say it: dates in the site's zone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pms_iot.alerts.tables import Alert
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.maintenance.forecast import CalendarEntry
from pms_iot.telemetry.batch import Batch
from pms_iot.web.deps import WebDeps
from pms_iot.web.formats import local_date, number
from pms_iot.web.i18n import N_
from pms_iot.web.visit import Visit

_LEFT, _PARTS = ".days_left", ("days_left", "days_lo", "days_hi")
_DAY_S = 86_400.0
_FRESH_BINS = 3  # as old as that a forecast is not shown
_WILL = N_("{point} will reach its limit of {limit} about {date}, between {early} and {late}.")
_HAS = N_("{point} has reached its limit of {limit}.")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one point: about when, and between which days (80 %), in the site's zone.

    is_there: the limit has been reached already.
    """

    info: SeriesInfo  # of the measured point
    limit: float
    made_at: datetime
    about: date
    early: date
    late: date
    is_there: bool


def forecasts_of(visit: Visit, zones: Mapping[str, str], *, asset: str = "") -> list[Forecast]:
    """The forecasts in force, the nearest first; none while the sample store does not answer.

    zones: site -> IANA zone. asset: only of this one.
    """
    catalog = visit.deps.catalog
    infos = [info for info in catalog.all() if info.point.endswith(_LEFT)]
    wanted = [info for info in infos if asset in ("", info.asset)]
    series = {info: _series(visit.deps, info.asset, info.point) for info in wanted}
    asked = [number for numbers in series.values() for number in numbers]
    try:
        newest = visit.deps.store.latest(asked)
    except StoreUnavailableError:
        return []
    values = _values(newest)
    found = [
        forecast
        for info, numbers in series.items()
        if (forecast := _forecast(visit, info, numbers, values, zones)) is not None
        and _is_fresh(visit, info, forecast)
    ]
    return sorted(found, key=lambda f: (f.about, f.info.asset, f.info.point))


def forecast_of_alert(visit: Visit, alert: Alert, asset: str, zone: str) -> Forecast | None:
    """What is forecast of the point of a firing alert; of one that has cleared, what was when it fired."""
    key = str(alert.why.get("point", ""))
    if not key.endswith(_LEFT):
        return None
    info = _info(visit.deps, asset, key)
    if info is None:
        return None
    numbers, at_ns = _series(visit.deps, asset, key), to_ns(alert.opened_at)
    try:
        if alert.state == "firing":
            batch = visit.deps.store.latest(numbers)
        else:  # databases keep microseconds
            batch = visit.deps.store.read_many(numbers, at_ns, at_ns + 1000)
    except StoreUnavailableError:
        return None
    return _forecast(visit, info, numbers, _values(batch), {info.site: zone})


def said(visit: Visit, forecast: Forecast) -> str:
    """The forecast in a sentence."""
    info = forecast.info
    point = visit.label(info, "label")
    limit = number(forecast.limit) + (f" {info.unit}" if info.unit else "")
    if forecast.is_there:
        return visit.say(_HAS, point=point, limit=limit)
    days = {"date": forecast.about, "early": forecast.early, "late": forecast.late}
    return visit.say(_WILL, point=point, limit=limit, **days)


def on_calendar(visit: Visit, forecasts: Iterable[Forecast]) -> list[CalendarEntry]:
    """Predicted works as entries of the maintenance calendar, each on its day."""
    return [
        CalendarEntry(
            f.about, "predicted", 0, visit.label(f.info, "label"), f.info.asset_id, f.info.asset
        )
        for f in forecasts
    ]


Values = Mapping[int, tuple[int, float]]


def _values(batch: Batch) -> Values:
    columns = batch.series.tolist(), batch.at.tolist(), batch.value.tolist()
    return {series: (at, value) for series, at, value in zip(*columns, strict=True)}


def _series(deps: WebDeps, asset: str, key: str) -> Sequence[int]:
    base, points = key.removesuffix(_LEFT), deps.catalog.of_asset(asset)
    return [points[f"{base}.{part}"] for part in _PARTS if f"{base}.{part}" in points]


def _info(deps: WebDeps, asset: str, key: str) -> SeriesInfo | None:
    series = deps.catalog.lookup(asset, key)
    return None if series is None else deps.catalog.info(series)


def _forecast(
    visit: Visit,
    info: SeriesInfo,
    numbers: Sequence[int],
    values: Values,
    zones: Mapping[str, str],
) -> Forecast | None:
    """None where there is none, or none within the horizon (see `detection.forecast`)."""
    base = info.point.removesuffix(_LEFT)
    measured, spec = _info(visit.deps, info.asset, base), _spec(visit.deps, info.kind, base)
    if measured is None or spec is None or any(n not in values for n in numbers):
        return None
    found = [values[n] for n in numbers]
    (at_ns, days), (_, low), (_, high) = found
    if len({at for at, _ in found}) > 1 or days >= spec.horizon_s / _DAY_S:
        return None
    made_at, zone = from_ns(at_ns), zones.get(info.site, "UTC")
    about, early, late = (local_date(made_at + timedelta(days=d), zone) for d in (days, low, high))
    return Forecast(measured, spec.limit, made_at, about, early, late, days <= 0)


def _spec(deps: WebDeps, kind: str, point: str) -> DetectorSpec | None:
    pack = deps.packs.get(kind)
    specs = [spec for spec in pack.detectors if spec.detector == "forecast"] if pack else []
    return next((s for s in specs if any(p.key == point for p in s.points)), None)


def _is_fresh(visit: Visit, info: SeriesInfo, forecast: Forecast) -> bool:
    age_s = (visit.now - forecast.made_at).total_seconds()
    return age_s <= _FRESH_BINS * (info.period_s or _DAY_S)
