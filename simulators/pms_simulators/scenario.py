"""Scenario files: YAML checked by pydantic; every mistake is named with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from pms_simulators.errors import ScenarioError
from pms_simulators.faults import (
    CATALOGUE,
    PUMPS,
    Burst,
    Exponential,
    Fault,
    FaultPlan,
    Law,
    Ramp,
    Step,
)
from pms_simulators.replay import AtEnd, Playback
from pms_simulators.signals import stream

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*([hd]))?")


def seconds(value: object) -> float:
    """`90s`, `5m`, `2h`, `3d` or plain seconds; raises ValueError."""
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"{value!r} is not a duration such as 90s, 5m, 2h or 3d")
    return float(found[1]) * _UNITS[found[2]]


def per_day(value: object) -> float:
    """`6/d`, `2/h` or plain episodes per day; raises ValueError."""
    found = _RATE.fullmatch(str(value).strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"{value!r} is not a rate such as 6/d or 2/h")
    return float(found[1]) * (24 if found[2] == "h" else 1)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name!r} is not a time zone") from error
    return name


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


Duration = Annotated[float, BeforeValidator(seconds)]
PositiveDuration = Annotated[float, BeforeValidator(seconds), AfterValidator(_positive)]
Rate = Annotated[float, BeforeValidator(per_day)]
AssetId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BrokerSpec(_Strict):
    host: str
    port: int = Field(default=1883, ge=1, le=65535)


class ModbusSpec(_Strict):
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    unit: int = Field(default=1, ge=1, le=247)


class TopicSpec(_Strict):
    topic: str = Field(pattern=r"^[^+#\s]+/telemetry$")
    period: PositiveDuration = 1.0


class AssetSpec(_Strict):
    id: AssetId
    kind: Literal["elevator", "booster_set", "fire_pump", "drainage_pump", "fire_panel", "replay"]
    modbus: ModbusSpec | None = None
    mqtt: TopicSpec | None = None
    # replay only
    file: str | None = None
    period: PositiveDuration = 1.0
    loop: bool = False
    skip: int = Field(default=0, ge=0)
    rows: int = Field(default=0, ge=0)
    at_end: AtEnd = "hold"

    @model_validator(mode="after")
    def _complete(self) -> AssetSpec:
        if self.modbus is None and self.mqtt is None:
            raise ValueError("needs modbus or mqtt")
        extra = self.model_fields_set & {"file", "period", "loop", "skip", "rows", "at_end"}
        if self.kind == "replay" and self.file is None:
            raise ValueError("a replay needs file")
        if self.kind != "replay" and extra:
            raise ValueError(f"{', '.join(sorted(extra))}: only for kind replay")
        return self

    @property
    def playback(self) -> Playback:
        return Playback(self.period, self.loop, self.skip, self.rows, self.at_end)


class GrowthSpec(_Strict):
    """Exactly one law; a fault without one is a step."""

    ramp: PositiveDuration | None = None
    exp: PositiveDuration | None = None
    burst: Rate | None = None

    @model_validator(mode="after")
    def _one(self) -> GrowthSpec:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of ramp, exp or burst, or the word step")
        return self


def _step_is_none(value: object) -> object:
    return None if value == "step" else value


class FaultSpec(_Strict):
    asset: str
    fault: str
    onset: Duration
    end: Duration | None = None
    duration: PositiveDuration | None = None
    severity: float = Field(default=1.0, gt=0, le=1)
    progression: Annotated[GrowthSpec | None, BeforeValidator(_step_is_none)] = None
    pump: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _window(self) -> FaultSpec:
        if self.end is not None and self.duration is not None:
            raise ValueError("give end or duration, not both")
        if self.end is not None and self.end <= self.onset:
            raise ValueError("end must come after onset")
        return self

    def end_s(self) -> float:
        if self.duration is not None:
            return self.onset + self.duration
        return float("inf") if self.end is None else self.end

    def law(self, key: int) -> Law:
        grow = self.progression or GrowthSpec.model_construct()
        if grow.ramp is not None:
            return Ramp(grow.ramp)
        if grow.exp is not None:
            return Exponential(grow.exp)
        return Step() if grow.burst is None else Burst(grow.burst, key)


class Scenario(_Strict):
    site: AssetId
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    seed: int = 1
    truth: str | None = None
    mqtt: BrokerSpec | None = None
    assets: tuple[AssetSpec, ...] = Field(min_length=1)
    faults: tuple[FaultSpec, ...] = ()

    def plan(self, asset: str) -> FaultPlan:
        """The faults of one asset."""
        return FaultPlan(
            Fault(s.fault, s.onset, s.end_s(), s.severity,
                  s.law(stream(self.seed, asset, s.fault, str(s.onset))), s.pump)
            for s in self.faults
            if s.asset == asset
        )  # fmt: skip


Path_ = tuple[int | str, ...]


def load_scenario(path: Path) -> Scenario:
    """Reads and checks a scenario. Raises ScenarioError for the first mistake in the file."""
    tree = _parse(path)
    try:
        scenario = Scenario.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _mistake(path, tree, first["loc"], first["msg"]) from error
    for loc, message in _cross_checks(scenario):
        raise _mistake(path, tree, loc, message)
    return scenario


def _parse(path: Path) -> Any:
    try:
        tree: Any = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(path, 1, "file", error.strerror or str(error)) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(path, line, "yaml", str(error.problem)) from error
    if not isinstance(tree, CommentedMap):
        raise ScenarioError(path, 1, "scenario", "must be a mapping")
    return cast(Any, tree)


def _mistake(path: Path, tree: Any, loc: Path_, message: str) -> ScenarioError:
    line, key = _locate(tree, loc)
    return ScenarioError(path, line, key or "scenario", message)


def _locate(tree: Any, loc: Sequence[int | str]) -> tuple[int, str]:
    """Line (from 1) and dotted key of the deepest part of `loc` that the file contains."""
    line, key, node = 1, "", tree
    for part in loc:
        if isinstance(node, CommentedMap):
            key = f"{key}.{part}".lstrip(".")
            if part not in node:  # a missing key belongs to its parent
                return line, key
            line = node.lc.key(part)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            key = f"{key}[{part}]"
            line = node.lc.item(part)[0] + 1
        else:  # the branch of a union is no part of the file
            return line, key
        node = cast(Any, node)[part]
    return line, key


def _cross_checks(scenario: Scenario) -> list[tuple[Path_, str]]:
    return [*_asset_checks(scenario), *_fault_checks(scenario)]


def _asset_checks(scenario: Scenario) -> list[tuple[Path_, str]]:
    found: list[tuple[Path_, str]] = []
    ids: set[str] = set()
    taken: set[tuple[str, int, int]] = set()
    for number, asset in enumerate(scenario.assets):
        if asset.id in ids:
            found.append((("assets", number, "id"), f"{asset.id} is used twice"))
        ids.add(asset.id)
        if asset.modbus is not None and asset.modbus.port:
            address = (asset.modbus.host, asset.modbus.port, asset.modbus.unit)
            if address in taken:
                found.append((("assets", number, "modbus"), "port and unit are used twice"))
            taken.add(address)
    return found


def _fault_checks(scenario: Scenario) -> list[tuple[Path_, str]]:
    kinds = {asset.id: asset.kind for asset in scenario.assets}
    found: list[tuple[Path_, str]] = []
    for number, spec in enumerate(scenario.faults):
        kind = kinds.get(spec.asset)
        if kind is None:
            found.append((("faults", number, "asset"), f"no asset {spec.asset!r}"))
        elif spec.fault not in CATALOGUE[kind]:
            known = ", ".join(CATALOGUE[kind])
            found.append((("faults", number, "fault"), f"{kind} has no {spec.fault!r}: {known}"))
        elif spec.pump > PUMPS.get(kind, 1):
            found.append((("faults", number, "pump"), f"{kind} has {PUMPS.get(kind, 1)} pump(s)"))
    return found
