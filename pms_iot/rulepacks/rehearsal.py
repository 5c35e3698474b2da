"""One asset of a kind, as its rule pack describes it, with the real detectors and the real rule engine."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.derived.derived import Derived
from pms_iot.detection.detectors import Detectors
from pms_iot.rulepacks.pack import RulePack
from pms_iot.telemetry.batch import Batch

Columns = tuple[Sequence[int], Sequence[float]]
"""Times (Unix ns) and values of one point; NaN is a bad sample."""


class PackCatalog:
    """The series of one asset that exists only in a rule pack; numbers count from 1."""

    generation = 1

    def __init__(self, pack: RulePack, asset: str) -> None:
        self._infos = [
            SeriesInfo(
                id=i + 1,
                asset_id=1,
                asset=asset,
                site="rehearsal",
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
            for i, point in enumerate(pack.points.values())
        ]
        self.ids = {info.point: info.id for info in self._infos}

    def all(self) -> Iterable[SeriesInfo]:
        return self._infos


def rehearse(pack: RulePack, asset: str, series: Mapping[str, Columns]) -> list[Transition]:
    """What the pack's rules say of these samples, scores of its detectors included, in time order.

    A point that is given stands for itself, so a test may give a score directly. Silence is judged
    wherever the data pause, not after their end. Raises KeyError for a point that the pack lacks.
    """
    catalog = PackCatalog(pack, asset)
    batch = _batch(catalog, series)
    given = [catalog.ids[point] for point in series]
    derived = Derived({pack.kind: pack.derived}, catalog, given).update(batch)
    joined = Batch.concat([batch, derived])
    scores = Detectors({pack.kind: pack.detectors}, catalog).update(joined)
    scores = scores.take(~np.isin(scores.series, given))
    found = RuleEngine(pack.rules, catalog).update(Batch.concat([joined, scores]))
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
