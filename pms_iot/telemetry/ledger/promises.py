"""What gateways promise of their points, which the register can only guess.

A register knows every point that a kind of equipment can have, at the pace that its rule pack assumes. A
gateway knows which of them its device has, how often it reads them, and which it sends by exception.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlmodel import Session, select

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.assets.tables import Gateway
from pms_iot.telemetry.ledger.completeness import Catalog

Promises = Mapping[str, Mapping[str, float]]  # asset -> point -> longest silence, s


def read_promises(session: Session) -> Promises:
    """By asset, from the last birth of each gateway; an asset of whose profile none speaks is left out."""
    found: dict[str, Mapping[str, float]] = {}
    for birth in session.exec(select(Gateway.birth)):
        found.update(_of_birth(birth or {}))
    return found


def _of_birth(birth: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, float]]]:
    """What does not look like a promise is none: births come from agents of any age."""
    profiles = birth.get("profiles")
    for device in birth.get("devices") or ():
        if not isinstance(device, dict) or not isinstance(profiles, dict):
            continue
        points = profiles.get(device.get("profile"))
        if isinstance(points, dict):
            yield str(device.get("id")), _periods(points)


def _periods(points: Mapping[str, Any]) -> Mapping[str, float]:
    return {
        point: float(period_s)
        for point, period_s in points.items()
        if isinstance(period_s, int | float) and 0 < period_s < 86_400 * 366
    }


def as_promised(info: SeriesInfo, promises: Promises) -> SeriesInfo:
    """The point with the period that its gateway promises; None if it does not promise any."""
    if info.asset not in promises:
        return info
    return replace(info, period_s=promises[info.asset].get(info.point))


class PromisedCatalog:
    """A catalog whose periods are what gateways promise, where they do."""

    def __init__(self, catalog: Catalog, promises: Promises) -> None:
        self._catalog, self._promises = catalog, promises

    def info(self, series: int) -> SeriesInfo:
        """Raises NotFoundError for a number that no point has."""
        return as_promised(self._catalog.info(series), self._promises)


def all_promised(catalog: SeriesSource, promises: Promises) -> Iterable[SeriesInfo]:
    """Every series, with the period that is to be expected of it."""
    return (as_promised(info, promises) for info in catalog.all())
