"""The detector `model`: every asset that a rule pack wants a model of, behind one `Detector`.

Of each spec it makes `<name>.anomaly` (how far out the asset is, over its limit), `<name>.excess` (the
same after people's verdicts; above 1 exactly while the asset is in alarm) and of each point `.expected`
and `.share` (of the departure, 0..1).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.asset_model import AssetModel, Modelled
from pms_iot.detection.model_file import Learned
from pms_iot.detection.spec import MODEL, DetectorSpec
from pms_iot.feedback.service import Limit
from pms_iot.kernel.arrays import opened, pack, sealed, unpack
from pms_iot.kernel.errors import ConfigError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.fresh import LastSeen

Key = tuple[str, str]  # kind, name of the model


class Models:
    """specs: kind -> its detectors, of which those named `model` count. zones: site code -> IANA zone.

    before: whose offered models pass to this one. `damaged` counts states that could not be restored:
    their assets say nothing until they have learned again. Raises ConfigError if the register lacks
    a point that a model makes.
    """

    def __init__(
        self,
        specs: Mapping[str, Sequence[DetectorSpec]],
        infos: Iterable[SeriesInfo],
        zones: Mapping[str, str],
        before: "Models | None" = None,
    ) -> None:
        assets: dict[str, dict[str, dict[str, SeriesInfo]]] = {}
        for info in infos:
            assets.setdefault(info.kind, {}).setdefault(info.asset, {})[info.point] = info
        self._models: dict[Key, AssetModel] = {
            (kind, spec.name): AssetModel(
                spec,
                [
                    _modelled(spec, asset, points, zones)
                    for asset, points in assets.get(kind, {}).items()
                    if any(point.key in points for point in spec.targets())
                ],
            )
            for kind, of_kind in specs.items()
            for spec in of_kind
            if spec.detector == MODEL
        }
        inputs = [
            series
            for model in self._models.values()
            for asset in model.watched
            for series in asset.inputs
        ]
        self._inputs = np.unique([series for series in inputs if series >= 0]).astype(np.int32)
        self._seen = LastSeen()
        self.damaged = before.damaged if before is not None else 0
        for key, model in (before.of() if before is not None else {}).items():
            for learned in model.offers.values():
                self.offer(key, learned)

    def update(self, batch: Batch) -> Batch:
        """See `Detector`."""
        mine = np.isin(batch.series, self._inputs)
        if not mine.any():
            return Batch.empty()
        usable = self._seen.usable(batch.take(mine))
        return Batch.concat(model.update(usable) for model in self._models.values())

    def snapshot(self) -> bytes:
        parts = [(key, sealed(model.snapshot())) for key, model in self._models.items()]
        head = pack([[*key, len(part)] for key, part in parts], {"seen": self._seen.at})
        return b"".join([len(head).to_bytes(8, "little"), head, *(part for _, part in parts)])

    def restore(self, state: bytes) -> None:
        """See `Detector`. A part that is damaged is counted and left out."""
        start = 8 + int.from_bytes(state[:8], "little")
        try:
            sizes, arrays = unpack(state[8:start])
        except ValueError:
            self.damaged += 1
            return
        self._seen = LastSeen(arrays["seen"])
        for kind, name, size in sizes:
            part, start = state[start : start + size], start + size
            if (kind, name) in self._models:
                self._restore_one(self._models[kind, name], part)

    def _restore_one(self, model: AssetModel, part: bytes) -> None:
        try:
            model.restore(opened(part))
        except ValueError:
            self.damaged += 1

    # -- people ------------------------------------------------------------------------------

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        """A person's verdict on an alert of this series: false alarms raise the asset's limits by a
        quarter, up to four times; true faults lower them towards 1."""
        del at_ns
        for model in self._models.values():
            model.judged(series, outcome)

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        """A verdict that was told does not hold."""
        del at_ns
        for model in self._models.values():
            model.withdrawn(series, outcome)

    def limits(self) -> Mapping[int, Limit]:
        """Of each series of `.excess` the level of `.anomaly` that is an alarm now."""
        return {k: v for model in self._models.values() for k, v in model.limits().items()}

    def accept(self, series: int, at_ns: int) -> None:
        """The present state of the asset of this series is normal: it is learned anew."""
        del at_ns
        for model in self._models.values():
            model.accept(series)

    # -- models fitted elsewhere -------------------------------------------------------------

    def of(self) -> Mapping[Key, AssetModel]:
        """The models by kind and name."""
        return self._models

    def offer(self, key: Key, learned: Learned) -> None:
        """A model of an asset, to be taken up at the first row at or after the time from which it holds,
        unless the asset has a newer one then. Called between two updates."""
        if key in self._models:
            self._models[key].offer(learned)


def _modelled(
    spec: DetectorSpec, asset: str, points: Mapping[str, SeriesInfo], zones: Mapping[str, str]
) -> Modelled:
    targets = spec.targets()
    statuses = [point for point in spec.points if point not in targets]
    site, kind = next((info.site, info.kind) for info in points.values())
    known = {point.key for point in targets if point.key in points}

    def series(key: str) -> int:
        return points[key].id if key in points else -1

    def made(key: str) -> int:
        if key not in points:
            place = f"rules/{kind}/detectors.yaml"
            raise ConfigError(place, f"the register of asset {asset} lacks point {key!r}")
        return points[key].id

    inputs = [*(point.key for point in targets), *(point.key for point in statuses), spec.by]
    return Modelled(
        asset=asset,
        points=tuple(series(point.key) for point in targets),
        statuses=tuple(series(point.key) for point in statuses),
        state=series(spec.by),
        periods_s=tuple((points[k].period_s or 1.0) if k in points else 1.0 for k in inputs),
        anomaly=made(f"{spec.name}.anomaly"),
        excess=made(f"{spec.name}.excess"),
        expected=tuple(made(f"{p.key}.expected") if p.key in known else -1 for p in targets),
        share=tuple(made(f"{p.key}.share") if p.key in known else -1 for p in targets),
        zone=zones.get(site, "UTC"),
    )
