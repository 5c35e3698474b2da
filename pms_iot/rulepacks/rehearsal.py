"""Assets of a kind, as its rule pack describes it, with the real detectors and the real rule engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.derived.derived import Derived
from pms_iot.detection.detectors import Detectors
from pms_iot.feedback.caps import Caps
from pms_iot.rulepacks.pack import RulePack
from pms_iot.telemetry.batch import Batch

Columns = tuple[Sequence[int], Sequence[float]]
"""Times (Unix ns) and values of one point; NaN is a bad sample."""


SITE = "rehearsal"


class PackCatalog:
    """The series of assets that exist only in a rule pack; numbers count from 1.

    `ids` holds those of the first asset by point, `ids_of` those of each by asset and point.
    """

    generation = 1

    def __init__(self, pack: RulePack, *assets: str) -> None:
        self._infos = [
            SeriesInfo.of(
                point,
                id=nth * len(pack.points) + i + 1,
                asset_id=nth + 1,
                asset=asset,
                site=SITE,
                kind=pack.kind,
            )
            for nth, asset in enumerate(assets)
            for i, point in enumerate(pack.points.values())
        ]
        self.ids_of: dict[str, dict[str, int]] = {asset: {} for asset in assets}
        for info in self._infos:
            self.ids_of[info.asset][info.point] = info.id
        self.ids = self.ids_of[assets[0]]

    def all(self) -> Iterable[SeriesInfo]:
        return self._infos


class Judged(NamedTuple):
    """What came of some samples: the scores that the detectors made, and what the rules said."""

    scores: Batch
    transitions: list[Transition]


class Rehearsal:
    """What the pipeline asks of a pack's derived points, detectors and rules, piece by piece.

    zones: site -> IANA zone. given: series whose samples are not computed, for they come with the others.
    caps: what the detectors of an asset and a site share, as `Detectors` has it.
    """

    def __init__(
        self,
        pack: RulePack,
        catalog: SeriesSource,
        *,
        zones: Mapping[str, str] | None = None,
        given: Sequence[int] = (),
        caps: Caps | None = None,
    ) -> None:
        self._given = np.asarray(given, np.int32)
        self._derived = Derived({pack.kind: pack.derived}, catalog, given)
        self._detectors = Detectors({pack.kind: pack.detectors}, catalog, zones, caps)
        self._rules = RuleEngine(pack.rules, catalog)

    def take(self, batch: Batch) -> Judged:
        """What follows from these samples, in order of time. Any cut of the samples gives the same."""
        joined = Batch.concat([batch, self._derived.update(batch)])
        scores = self._detectors.update(joined)
        scores = scores.take(~np.isin(scores.series, self._given))
        return Judged(scores, self._rules.update(Batch.concat([joined, scores])))


class Silences:
    """The dead-men of the assets of a catalog: judged wherever their data pause, not after their end."""

    def __init__(self, pack: RulePack, catalog: SeriesSource) -> None:
        self._of_assets = [_Silence(pack, infos) for infos in _by_asset(catalog)]

    def take(self, batch: Batch) -> list[Transition]:
        """What these samples, in order of time, begin and end."""
        return [step for silence in self._of_assets for step in silence.take(batch)]


def rehearse(pack: RulePack, asset: str, series: Mapping[str, Columns]) -> list[Transition]:
    """What the pack's rules say of these samples, scores of its detectors included, in time order.

    A point that is given stands for itself, so a test may give a score directly. Silence is judged
    wherever the data pause, not after their end. Raises KeyError for a point that the pack lacks.
    """
    catalog = PackCatalog(pack, asset)
    batch, given = _batch(catalog, series), [catalog.ids[point] for point in series]
    found = Rehearsal(pack, catalog, given=given).take(batch).transitions
    found += Silences(pack, catalog).take(batch)
    return sorted(found, key=lambda t: (t.at_ns, t.key))


def _batch(catalog: PackCatalog, series: Mapping[str, Columns]) -> Batch:
    parts = [
        Batch.of(
            np.full(len(at), catalog.ids[point]),
            at,
            value,
            np.where(np.isnan(np.asarray(value, np.float64)), 0, 192),
        )
        for point, (at, value) in series.items()
    ]
    return Batch.concat(parts).sorted_by_time()


def _by_asset(catalog: SeriesSource) -> Iterable[list[SeriesInfo]]:
    found: dict[str, list[SeriesInfo]] = {}
    for info in catalog.all():
        found.setdefault(info.asset, []).append(info)
    return found.values()


class _OneAsset:
    generation = 1

    def __init__(self, infos: list[SeriesInfo]) -> None:
        self._infos = infos

    def all(self) -> Iterable[SeriesInfo]:
        return self._infos


class _Silence:
    def __init__(self, pack: RulePack, infos: list[SeriesInfo]) -> None:
        rules = [rule for rule in pack.rules if rule.silent_for_s is not None]
        self._series = np.array([info.id for info in infos], np.int32)
        self._watch = SilenceWatch(rules, _OneAsset(infos))
        self._shortest_ns = min((rule.silent_for_s or 0.0 for rule in rules), default=np.inf) * 1e9
        self._start: int | None = None  # the first sample

    def take(self, batch: Batch) -> list[Transition]:
        if self._shortest_ns == np.inf:
            return []
        own = batch.take(np.isin(batch.series, self._series))
        if not len(own):
            return []
        self._start = int(own.at[0]) if self._start is None else self._start
        found: list[Transition] = []
        for part in self._without_pauses(own.take((own.quality > 0) & np.isfinite(own.value))):
            first = int(part.at[0])
            found += self._watch.check(first - 1, self._start)
            self._watch.heard(None, part.take(part.at == first))
            found += self._watch.check(first, self._start)
            self._watch.heard(None, part)
        return found + self._watch.check(int(own.at[-1]), self._start)

    def _without_pauses(self, good: Batch) -> Iterator[Batch]:
        if len(good):
            pauses = np.flatnonzero(np.diff(good.at) > self._shortest_ns) + 1
            yield from (good.take(part) for part in np.split(np.arange(len(good)), pauses))
