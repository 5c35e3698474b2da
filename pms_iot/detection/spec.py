"""What a rule pack asks a detector to watch: `rules/<kind>/detectors.yaml`, read by `pms_iot.rulepacks`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pms_iot.assets.points import PointDef
from pms_iot.kernel.text import Text
from pms_iot.telemetry.condition import Gate


@dataclass(frozen=True, slots=True)
class Score:
    """One output of a detector: the point `<point>.<suffix>`, its words, and its unit made from the point's."""

    suffix: str
    label: Text
    unit: str = ""
    per_window: int = 0  # so many times in `window_s`; 0 = as often as the point
    values: Mapping[int, Text] = field(default_factory=dict[int, Text])


_ANOMALY = Score("anomaly", Text("异常度", "anomaly score"))
_EXCESS = Score("excess", Text("异常度超限比", "anomaly score over limit"))
_CAUSE = Score(
    "cause",
    Text("异常类型", "kind of anomaly"),
    values={
        1: Text("尖峰", "spike"),
        2: Text("水平突变", "level shift"),
        3: Text("漂移", "drift"),
        4: Text("时段异常", "unusual for the time"),
        5: Text("波动变化", "change of variance"),
        6: Text("超出历史范围", "beyond all before"),
    },
)
_DRIFT = Score("drift", Text("漂移度", "drift score"))
_LO = Score("lo", Text("预期下限", "expected low"), "{unit}")
_HI = Score("hi", Text("预期上限", "expected high"), "{unit}")
_RATE = Score("rate", Text("变化率", "rate of change"), "{unit}/s")
_RATE_ANOMALY = Score("rate_anomaly", Text("变化率异常度", "rate of change, anomaly score"))
_MISSING = Score("missing", Text("缺数据时间比", "silence over its longest usual interval"))
_STUCK = Score("stuck", Text("无变化时间", "time without change"), "s")
_DAYS_LEFT = Score("days_left", Text("预计达到限值的剩余天数", "days until its limit"), "d", 120)
_DAYS_LO = Score("days_lo", Text("剩余天数下限", "days until its limit, at least"), "d", 120)
_DAYS_HI = Score("days_hi", Text("剩余天数上限", "days until its limit, at most"), "d", 120)

SCORES: Mapping[str, tuple[Score, ...]] = {
    "anomaly": (_ANOMALY, _EXCESS, _LO, _HI, _CAUSE),
    "drift": (_DRIFT,),
    "rate": (_RATE, _RATE_ANOMALY),
    "stuck": (_STUCK,),
    "forecast": (_DAYS_LEFT, _DAYS_LO, _DAYS_HI),
    "missing": (_MISSING,),
}
"""Detector name -> the derived points it makes of each point it watches."""

MODEL = "model"
"""The detector that watches the points of a spec together: one verdict on the asset."""

NAMES = (*SCORES, MODEL)
"""Of all detectors."""

_EXPECTED = Score("expected", Text("预期值", "expected"), "{unit}")
_SHARE = Score("share", Text("偏差占比", "share of the departure"))
_STATUS_TYPES = ("bool", "enum")
_NO_LABEL = Text("", "")


def _no_params() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One detector over some points of a kind.

    warmup_s: seconds of data before a learned detector knows what to expect. quiet_s: seconds of
    data before it may say that something is unusual, longer where days differ. window_s: span of `rate`
    and `forecast`.
    min_change: what counts as change for `stuck`, in the point's unit. when: the detector sees only
    samples at which all gates are open. by: key of the point that tells the operating state; what is
    learned is learned for each state. blank_s: seconds after a change of state whose samples count for
    nothing. budget: false alarms a month that this detector may give of each point. params: see the
    detector of that name. limit, rising, horizon_s: of `forecast`: where the point must not get to, from
    which side it comes, and how far ahead anybody wants to know. name and label: of a model,
    what its verdicts are called.
    """

    detector: str
    points: tuple[PointDef, ...]
    warmup_s: float = 0.0
    quiet_s: float = 0.0
    window_s: float = 60.0
    min_change: float = 0.0
    when: tuple[Gate, ...] = ()
    params: Mapping[str, float] = field(default_factory=_no_params)
    by: str = ""
    blank_s: float = 0.0
    budget: float = 1.0
    limit: float = 0.0
    rising: bool = True
    horizon_s: float = 90 * 86_400.0
    name: str = ""
    label: Text = _NO_LABEL

    def targets(self) -> list[PointDef]:
        """Of a model: the points that it judges; the others, states, only help to judge them."""
        return [point for point in self.points if point.type not in _STATUS_TYPES]

    def derived_points(self) -> list[PointDef]:
        """The points that hold this detector's scores."""
        if self.detector == MODEL:
            return self._of_asset() + [
                _derived(point, score, self.window_s)
                for point in self.targets()
                for score in (_EXPECTED, _SHARE)
            ]
        return [
            _derived(point, score, self.window_s)
            for point in self.points
            for score in SCORES[self.detector]
        ]

    def _of_asset(self) -> list[PointDef]:
        periods = [point.period_s for point in self.targets() if point.period_s is not None]
        asset = PointDef(self.name, self.label, period_s=max(periods, default=None))
        return [_derived(asset, score, self.window_s) for score in (_ANOMALY, _EXCESS)]


def _derived(point: PointDef, score: Score, window_s: float) -> PointDef:
    return PointDef(
        key=f"{point.key}.{score.suffix}",
        label=Text(f"{point.label.zh}{score.label.zh}", f"{point.label.en}, {score.label.en}"),
        type="enum" if score.values else "number",
        unit=score.unit.format(unit=point.unit),
        values=score.values,
        period_s=window_s / score.per_window if score.per_window else point.period_s,
        derived=True,
    )
