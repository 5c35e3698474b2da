"""Assets of a kind, as their rule pack describes them, with the real detectors and the real rule engine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.detectors import Detectors
from pms_iot.rulepacks.pack import RulePack
from pms_iot.telemetry.batch import Batch

SITE = "rehearsal"
Columns = tuple[Sequence[int], Sequence[float]]
"""Times (Unix ns) and values of one point; NaN is a bad sample."""


class PackCatalog:
    """The series of assets that exist only in a rule pack; numbers count from 1.

    `ids` holds those of the first asset by point, `ids_of` those of each by asset and point.
    """

    generation = 1

    def __init__(self, pack: RulePack, *assets: str) -> None:
        self._infos = [
            SeriesInfo(
                id=nth * len(pack.points) + i + 1,
                asset_id=nth + 1,
                asset=asset,
                site=SITE,
                kind=pack.kind,
                point=point.key,
                type=point.type,
                unit=point.unit,
                label_zh=point.label.zh,
                label_en=point.label.en,
                low=point.low,
                high=point.high,
                period_s=point.period_s,
                derived=point.derived,
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
    """What the pipeline asks of a pack's detectors and rules, piece by piece.

    zone: IANA zone of the assets' site, for times of day. given: series whose samples come from
    outside although a detector would make them.
    """

    def __init__(
        self,
        pack: RulePack,
        catalog: PackCatalog,
        *,
        zone: str = "UTC",
        given: Sequence[int] = (),
    ) -> None:
        self._given = list(given)
        self._detectors = Detectors({pack.kind: pack.detectors}, catalog, {SITE: zone})
        self._rules = RuleEngine(pack.rules, catalog)

    def take(self, batch: Batch) -> Judged:
        """Scores these samples and judges both; transitions in time order."""
        scores = self._detectors.update(batch)
        scores = scores.take(~np.isin(scores.series, self._given))
        return Judged(scores, self._rules.update(Batch.concat([batch, scores])))


def rehearse(pack: RulePack, asset: str, series: Mapping[str, Columns]) -> list[Transition]:
    """What the pack's rules say of these samples, scores of its detectors included, in time order.

    A point that is given stands for itself, so a test may give a score directly. Silence is judged
    wherever the data pause, not after their end. Raises KeyError for a point that the pack lacks.
    """
    catalog = PackCatalog(pack, asset)
    batch = _batch(catalog, series)
    given = [catalog.ids[point] for point in series]
    found = Rehearsal(pack, catalog, given=given).take(batch).transitions
    found += _silences(pack, catalog, batch)
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


def _silences(pack: RulePack, catalog: PackCatalog, batch: Batch) -> list[Transition]:
    rules = [rule for rule in pack.rules if rule.silent_for_s is not None]
    watch, found = SilenceWatch(rules, catalog), list[Transition]()
    if not rules or not len(batch):
        return found
    shortest_ns = min(rule.silent_for_s or 0.0 for rule in rules) * 1e9
    pauses = np.flatnonzero(np.diff(batch.at) > shortest_ns) + 1
    start = int(batch.at[0])
    for part in np.split(np.arange(len(batch)), pauses):
        slice_ = batch.take(part)
        found += watch.check(int(slice_.at[0]) - 1, start)
        watch.heard(None, slice_)
        found += watch.check(int(slice_.at[-1]), start)
    return found
