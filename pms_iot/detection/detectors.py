"""All detectors of all rule packs over all assets, behind one `Detector`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.detection.anomaly import Anomaly
from pms_iot.detection.columnar import ColumnarDetector, Watched
from pms_iot.detection.detector import Detector, Governed
from pms_iot.detection.drift import Drift
from pms_iot.detection.forecast import Forecast
from pms_iot.detection.missing import Missing
from pms_iot.detection.model import Models
from pms_iot.detection.rate import Rate
from pms_iot.detection.shares import Shares
from pms_iot.detection.spec import MODEL, SCORES, DetectorSpec
from pms_iot.detection.stuck import Stuck
from pms_iot.feedback.caps import Caps
from pms_iot.feedback.service import Limit
from pms_iot.kernel.arrays import bundle, parts_of
from pms_iot.kernel.errors import ConfigError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.gates import Lock

_VERSION = 4
_S = 1_000_000_000
_ALGORITHMS: Mapping[str, type[ColumnarDetector]] = {
    "anomaly": Anomaly,
    "drift": Drift,
    "rate": Rate,
    "stuck": Stuck,
    "forecast": Forecast,
    "missing": Missing,
}


class Detectors:
    """One detector per algorithm, each over the series of all assets whose rule pack asks for it.

    specs: kind -> its detectors. zones: site code -> IANA zone, for times of day; UTC for others.
    caps: what an asset and a site may raise in a month; their series share it. None: without caps.
    Raises ConfigError if the register lacks a derived point that a spec makes.
    """

    def __init__(
        self,
        specs: Mapping[str, Sequence[DetectorSpec]],
        catalog: SeriesSource,
        zones: Mapping[str, str] | None = None,
        caps: Caps | None = None,
    ) -> None:
        self._specs, self._catalog, self._caps = specs, catalog, caps
        self._zones = dict(zones or {})
        said = repr((_VERSION, sorted((k, tuple(s)) for k, s in specs.items() if s))).encode()
        self.config_hash = hashlib.sha256(said).hexdigest()[:16]
        self._models: Models | None = None
        self._build()

    @property
    def models(self) -> Models:
        """The detector named `model`."""
        assert self._models is not None
        return self._models

    def update(self, batch: Batch) -> Batch:
        """The scores of these samples; see `Detector`."""
        if self._catalog.generation != self._generation:
            state = self.snapshot()
            self._build()
            self.restore(state)
        return Batch.concat(detector.update(batch) for detector in self._detectors.values())

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        """As `Governed.judged`, for whichever detector made the series."""
        for detector in self._governed:
            detector.judged(series, outcome, at_ns)

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        """As `Governed.withdrawn`."""
        for detector in self._governed:
            detector.withdrawn(series, outcome, at_ns)

    def accept(self, series: int, at_ns: int) -> None:
        """As `Governed.accept`."""
        for detector in self._governed:
            detector.accept(series, at_ns)

    def limits(self) -> Mapping[int, Limit]:
        """Of every score that has a limit of its own: series -> limit."""
        return {k: v for detector in self._governed for k, v in detector.limits().items()}

    def snapshot(self) -> bytes:
        return bundle(self.parts())

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Each detector's name and state, made when it is asked for."""
        return ((name, detector.snapshot()) for name, detector in self._detectors.items())

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot made under the same specs (`config_hash`)."""
        for name, part in parts_of(state):
            self.restore_part(name, part)

    def restore_part(self, name: str, state: bytes) -> None:
        """Takes up one of `parts`."""
        self._detectors[name].restore(state)

    def _build(self) -> None:
        self._generation = self._catalog.generation
        infos = list(self._catalog.all())
        ids = {(info.asset, info.point): info.id for info in infos}
        self._shares = Shares(self._caps, infos)
        beside: dict[str, list[int]] = {}
        for info in infos:
            if not info.derived:
                beside.setdefault(info.asset, []).append(info.id)
        self._beside = {asset: tuple(sorted(series)) for asset, series in beside.items()}
        self._detectors: dict[str, Detector] = {
            name: make(self._watched(name, infos, ids)) for name, make in _ALGORITHMS.items()
        }
        self._models = Models(self._specs, infos, self._zones, self._models)
        self._detectors[MODEL] = self._models
        self._governed = [d for d in self._detectors.values() if isinstance(d, Governed)]

    def _watched(
        self, name: str, infos: list[SeriesInfo], ids: Mapping[tuple[str, str], int]
    ) -> list[Watched]:
        wanted = {
            (kind, point.key): spec
            for kind, specs in self._specs.items()
            for spec in specs
            if spec.detector == name
            for point in spec.points
        }
        return [
            self._watch(info, wanted[info.kind, info.point], ids)
            for info in infos
            if (info.kind, info.point) in wanted
        ]

    def _watch(
        self, info: SeriesInfo, spec: DetectorSpec, ids: Mapping[tuple[str, str], int]
    ) -> Watched:
        made = [f"{info.point}.{score.suffix}" for score in SCORES[spec.detector]]
        for key in made:
            if (info.asset, key) not in ids:
                place = f"rules/{info.kind}/detectors.yaml"
                raise ConfigError(place, f"the register of asset {info.asset} lacks point {key!r}")
        known = info.low is not None and info.high is not None
        return Watched(
            series=info.id,
            scores=tuple(ids[info.asset, key] for key in made),
            spec=replace(spec, budget=self._shares.of(info, spec.budget)),
            period_s=info.period_s or 1.0,
            span=(info.high or 0.0) - (info.low or 0.0) if known else 0.0,
            zone=self._zones.get(info.site, "UTC"),
            gate=tuple(
                Lock(ids.get((info.asset, g.point), -1), g.condition, int(g.for_s * _S))
                for g in spec.when
            ),
            state=ids.get((info.asset, spec.by), -1) if spec.by else -1,
            beside=self._beside[info.asset] if spec.detector == "missing" else (),
        )
