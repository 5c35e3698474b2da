"""All derived points of all rule packs over all assets: each level needs only those before it."""

import hashlib
from collections.abc import Container, Iterable, Mapping
from itertools import chain

import numpy as np

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.derived.computed import ComputedSpec
from pms_iot.derived.spec import DerivedSpecs, Spec
from pms_iot.derived.stage import S, Stage, hold_ns
from pms_iot.derived.state import StateSpec
from pms_iot.derived.states import StateRow, States
from pms_iot.derived.windows import ComputedRow, Windows
from pms_iot.kernel.arrays import bundle, pack, parts_of, unpack
from pms_iot.kernel.errors import ConfigError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Gate
from pms_iot.telemetry.fresh import LastSeen
from pms_iot.telemetry.gates import Lock

_VERSION = 2
_SEEN = "seen"  # the name of the first part


class Derived:
    """Samples of measured points in, samples of derived points out.

    As a `Detector` it is causal, drops what is not newer than the last sample of its series, masks bad
    samples and gives the same samples however the input is cut into batches, provided that the samples
    of one asset come in time order and those of one instant together.

    specs: kind -> what it derives. given: series that are not made here although a spec makes them.
    Raises ConfigError if the register lacks a derived point that a spec makes.
    """

    config_hash = f"derived {_VERSION}"  # each row of a snapshot says how it is meant

    def __init__(
        self,
        specs: Mapping[str, DerivedSpecs],
        catalog: SeriesSource,
        given: Container[int] = (),
    ) -> None:
        self._specs, self._catalog, self._given = specs, catalog, given
        self._seen = LastSeen()
        self._build()

    def anew(self) -> "Derived":
        """The same derived points before their first sample."""
        return Derived(self._specs, self._catalog, self._given)

    def update(self, batch: Batch) -> Batch:
        """The derived samples that follow from these; the batch is not changed."""
        if self._catalog.generation != self._generation:
            state = self.snapshot()
            self._build()
            self.restore(state)
        mine = self._is_input[np.minimum(batch.series, len(self._is_input) - 1, dtype=np.intp)]
        if not mine.any():
            return Batch.empty()
        known = self._seen.usable(batch.take(mine))
        found: list[Batch] = []
        for stage in self._stages.values() if len(known) else ():
            made = stage.update(known)
            if len(made):
                found.append(made)
                known = Batch.concat([known, made])
                known = known.take(np.argsort(known.series, kind="stable"))
        return Batch.concat(found)

    def snapshot(self) -> bytes:
        parts = ((name, stage.snapshot()) for name, stage in self._stages.items())
        return bundle(chain([(_SEEN, pack({}, {"seen": self._seen.at}))], parts))

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot; what is meant in another way since then, or is new, starts fresh."""
        parts = parts_of(state)
        _, arrays = unpack(next(parts)[1])
        self._seen = LastSeen(arrays["seen"])
        for name, part in parts:
            if name in self._stages:
                self._stages[name].restore(part)

    def _build(self) -> None:
        self._generation = self._catalog.generation
        levels = {kind: specs.levels() for kind, specs in self._specs.items()}
        register = _Register(self._catalog.all(), self._given)
        self._stages: dict[str, Stage] = {}
        for level in range(max(map(len, levels.values()), default=0)):
            of_kind = {kind: own[level] for kind, own in levels.items() if level < len(own)}
            for name, stage in register.stages(of_kind):
                self._stages[f"{level}.{name}"] = stage
        self._is_input = np.zeros(max(register.inputs, default=-1) + 2, np.bool_)
        self._is_input[list(register.inputs)] = True


class _Register:
    """Turns the specs of kinds into rows of assets; `inputs` are the series that those need."""

    def __init__(self, infos: Iterable[SeriesInfo], given: Container[int]) -> None:
        self._of_asset: dict[str, dict[str, SeriesInfo]] = {}
        for info in infos:
            self._of_asset.setdefault(info.asset, {})[info.point] = info
        self._given = given
        self.inputs = set[int]()

    def stages(self, specs: Mapping[str, list[Spec]]) -> list[tuple[str, Stage]]:
        """What is not empty of one level."""
        states, computed = list[StateRow](), list[ComputedRow]()
        for points in self._of_asset.values():
            kind = next(iter(points.values())).kind
            for spec in specs.get(kind, ()):
                made = points.get(spec.point.key)
                if made is None:
                    asset = next(iter(points.values())).asset
                    place = f"rules/{kind}"
                    what = f"the register of asset {asset} lacks point {spec.point.key!r}"
                    raise ConfigError(place, what)
                if made.id in self._given:
                    continue
                if isinstance(spec, StateSpec):
                    states.append(self._state(made, points, spec))
                else:
                    computed.append(self._computed(made, points, spec))
        found: list[tuple[str, Stage]] = [("states", States(states))] if states else []
        return [*found, ("computed", Windows(computed))] if computed else found

    def _state(
        self, made: SeriesInfo, points: Mapping[str, SeriesInfo], spec: StateSpec
    ) -> StateRow:
        known = [points[key] for key in spec.inputs if key in points]
        self.inputs.update(info.id for info in known)
        clauses = [
            (clause.state, _locks(clause.when, points), _locks(clause.past, points))
            for clause in spec.order
        ]
        own_ns = int(spec.hold_s * S)
        inputs = tuple((info.id, own_ns or hold_ns(info.period_s)) for info in known)
        return StateRow(_name(made, (spec.order, inputs)), made.id, inputs, tuple(clauses))

    def _computed(
        self, made: SeriesInfo, points: Mapping[str, SeriesInfo], spec: ComputedSpec
    ) -> ComputedRow:
        self.inputs.update(points[key].id for key in spec.inputs if key in points)
        sources = [points.get(key) for keys in spec.sources for key in keys]
        inputs = tuple(
            (info.id, hold_ns(info.period_s)) if info is not None else (-1, 0) for info in sources
        )
        meant = (spec.formula.name, spec.params, spec.every_s, spec.when, spec.against, inputs)
        gate = _locks(spec.when, points)
        return ComputedRow(_name(made, meant), made.id, spec, inputs, gate)


def _locks(gates: Iterable[Gate], points: Mapping[str, SeriesInfo]) -> tuple[Lock, ...]:
    """A point that the asset lacks is never known."""
    return tuple(
        Lock(
            points[gate.point].id if gate.point in points else -1,
            gate.condition,
            int(gate.for_s * S),
        )
        for gate in gates
    )


def _name(made: SeriesInfo, meant: object) -> str:
    """The series of a row and a digest of what it means, so that no state is taken for another."""
    return f"{made.id} {hashlib.sha256(repr(meant).encode()).hexdigest()[:16]}"
