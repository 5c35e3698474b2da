"""The ledger of one asset: its points side by side, and the gaps of one of them by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine

from pms_iot.assets.catalog import SeriesCatalog, SeriesInfo
from pms_iot.kernel.clock import from_ns, to_ns
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.telemetry.ledger.completeness import Catalog, Completeness, completeness
from pms_iot.telemetry.ledger.days import PointTally, expected_until_ns, first_heard, point_tallies
from pms_iot.telemetry.ledger.evidence import NamedGap, clock_steps, gather, supply_of
from pms_iot.telemetry.ledger.holes import holes
from pms_iot.telemetry.ledger.promises import PromisedCatalog, as_promised, read_promises
from pms_iot.telemetry.store import SampleStore


@dataclass(frozen=True, slots=True)
class PointLine:
    """One point over a window. `complete` is None for a point that never spoke: nothing is expected of it."""

    info: SeriesInfo
    complete: Completeness | None
    tally: PointTally

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where nothing was expected."""
        return self.complete.ratio if self.complete else None


@dataclass(frozen=True, slots=True)
class Sources:
    """What the ledger of an asset is read from."""

    engine: Engine
    store: SampleStore
    catalog: SeriesCatalog


def point_lines(
    sources: Sources, asset: str, start_ns: int, end_ns: int, now: datetime
) -> list[PointLine]:
    """The measured points of an asset, in the register's order.

    Late and double samples are counted by whole hours, those that begin in the window. Raises
    NotFoundError for an unknown asset, and StoreUnavailableError.
    """
    numbers = sources.catalog.of_asset(asset).values()
    series = [n for n in numbers if not sources.catalog.info(n).derived]
    with transaction(sources.engine) as session:
        supply = supply_of(session, asset)
        if supply is None:
            raise NotFoundError("asset", asset)
        window = from_ns(start_ns), from_ns(end_ns)
        tallies = point_tallies(session, series, supply.site, *window)
        known = PromisedCatalog(sources.catalog, read_promises(session))
    return [_line(sources.store, known, n, tallies[n], start_ns, end_ns, now) for n in series]


def _line(
    store: SampleStore,
    catalog: Catalog,
    series: int,
    tally: PointTally,
    start_ns: int,
    end_ns: int,
    now: datetime,
) -> PointLine:
    info = catalog.info(series)
    if tally.first_at is None:
        return PointLine(info, None, tally)
    begin, until = _due(info, tally.first_at, start_ns, end_ns, now)
    if until <= begin:
        return PointLine(info, Completeness(0.0, 0, 0.0), tally)
    return PointLine(info, completeness(store, catalog, series, begin, until), tally)


def point_ratio(
    sources: Sources, series: int, start_ns: int, end_ns: int, now: datetime
) -> float | None:
    """The completeness of one point, to stand beside a figure computed from it; None without an expectation.

    Raises NotFoundError and StoreUnavailableError.
    """
    with transaction(sources.engine) as session:
        tally = PointTally(first_heard(session, series).get(series), 0, 0)
        known = PromisedCatalog(sources.catalog, read_promises(session))
    return _line(sources.store, known, series, tally, start_ns, end_ns, now).ratio


def point_gaps(
    sources: Sources, series: int, start_ns: int, end_ns: int, now: datetime
) -> list[NamedGap]:
    """The gaps of one series with their causes, in order of time; none for a point without a period.

    Raises NotFoundError and StoreUnavailableError.
    """
    with transaction(sources.engine) as session:
        info = as_promised(sources.catalog.info(series), read_promises(session))
        supply = supply_of(session, info.asset)
        first_at = first_heard(session, series).get(series)
    if not info.period_s or info.derived or supply is None or first_at is None:
        return []
    begin, until = _due(info, first_at, start_ns, end_ns, now)
    if until <= begin:
        return []
    found = holes(sources.store, series, round(info.period_s * 1e9), begin, until)
    gateway = supply.gateway_asset or ""
    steps = clock_steps(sources.store, sources.catalog, gateway, begin, until) if found else []
    with transaction(sources.engine) as session:
        case = gather(session, supply, from_ns(begin), from_ns(until), now)
    whole = replace(case, evidence=(*case.evidence, *steps))
    return [whole.judge(hole) for hole in found]


def poorest(lines: Sequence[PointLine]) -> PointLine | None:
    """The point that lacks most; None where nothing was expected of any."""
    known = [line for line in lines if line.ratio is not None]
    return min(known, key=lambda line: line.ratio or 0.0, default=None)


def _due(
    info: SeriesInfo, first_at: datetime, start_ns: int, end_ns: int, now: datetime
) -> tuple[int, int]:
    """The part of the window in which samples of this point were to come and may have come."""
    return max(start_ns, to_ns(first_at)), min(end_ns, expected_until_ns(info.period_s, now))
