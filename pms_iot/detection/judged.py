"""The detectors together with what people say of their alarms.

What is said holds for the samples of its asset later than a time that is kept with it, and waits here
until the first of them; a batch is cut there. So what the detectors make of it does not depend on when
exactly it was heard, nor on how the samples were cut into batches. It is part of the snapshot, so it is
heard once, however often the engine is killed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pms_iot.assets.series import SeriesSource
from pms_iot.detection.detector import Detector, Governed
from pms_iot.feedback.service import Effect, Said
from pms_iot.kernel.arrays import bundle, pack, parts_of, unpack
from pms_iot.telemetry.batch import Batch

_VERSION = 2
_SAID = "said"  # the name of the first part


class Judgeable(Detector, Governed, Protocol):
    """All detectors behind one; `Detectors` is it."""

    config_hash: str

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Its state in named parts, each made when it is asked for."""
        ...

    def restore_part(self, name: str, state: bytes) -> None:
        """Takes up one of `parts`."""
        ...


class JudgedDetectors:
    """A `Detector` that also hears verdicts, each exactly once and in the order of its times."""

    def __init__(self, detectors: Judgeable, catalog: SeriesSource) -> None:
        self._detectors, self._catalog = detectors, catalog
        self._heard = 0
        self._waiting: list[Said] = []
        self._effects: list[Effect] = []
        self._generation = -1

    @property
    def config_hash(self) -> str:
        return f"{self._detectors.config_hash}.{_VERSION}"

    @property
    def heard(self) -> int:
        """The number of the last verdict that was taken in."""
        return self._heard

    @property
    def effects(self) -> Sequence[Effect]:
        """What verdicts have done that is not yet on record."""
        return tuple(self._effects)

    def hear(self, said: Sequence[Said]) -> None:
        """Takes in verdicts, in the order of their numbers; those that were heard before are dropped."""
        for one in said:
            if one.number > self._heard:
                self._waiting.append(one)
                self._heard = one.number
        self._waiting.sort(key=lambda one: (one.after_ns, one.number))

    def begin_after(self, number: int) -> None:
        """Nothing up to that number needs to be heard."""
        self._heard = max(self._heard, number)

    def recorded(self, effects: Sequence[Effect]) -> None:
        """These are on record now."""
        self._effects = [effect for effect in self._effects if effect not in effects]

    def update(self, batch: Batch) -> Batch:
        if not self._waiting:  # nearly always
            return self._detectors.update(batch)
        return Batch.concat([self._detectors.update(part) for part in self._cut(batch)])

    def snapshot(self) -> bytes:
        meta = {
            "heard": self._heard,
            "waiting": [asdict(one) for one in self._waiting],
            "effects": [asdict(effect) for effect in self._effects],
        }
        return bundle(chain([(_SAID, pack(meta, {}))], self._detectors.parts()))

    def restore(self, state: bytes) -> None:
        parts = parts_of(state)
        meta, _ = unpack(next(parts)[1])
        self._heard = meta["heard"]
        self._waiting = [Said(**one) for one in meta["waiting"]]
        self._effects = [Effect(**effect) for effect in meta["effects"]]
        for name, part in parts:
            self._detectors.restore_part(name, part)

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        """The parts of the batch; between two of them verdicts are heard."""
        assets = self._assets(batch.series)
        while len(batch):
            next_of: dict[int, Said] = {}  # of each asset the first that waits
            for one in self._waiting:
                next_of.setdefault(self._asset(one.series), one)
            after = np.full(self._asset_of.max(initial=0) + 1, np.iinfo(np.int64).max)
            for asset, one in next_of.items():
                after[asset] = one.after_ns
            later = batch.at > after[assets]
            yield batch.take(~later) if later.any() else batch
            for asset in np.unique(assets[later]).tolist():
                self._apply(next_of[asset])
            batch, assets = batch.take(later), assets[later]

    def _apply(self, one: Said) -> None:
        self._waiting.remove(one)
        before = self._detectors.limits().get(one.series)
        if one.kind == "accepted":
            self._detectors.accept(one.series, one.after_ns)
        elif one.kind == "judged":
            self._detectors.judged(one.series, one.outcome, one.after_ns)
        else:
            self._detectors.withdrawn(one.series, one.outcome, one.after_ns)
        after = self._detectors.limits().get(one.series)
        self._effects.append(Effect(one.number, before and before.limit, after and after.limit))

    def _asset(self, series: int) -> int:
        return int(self._assets(np.array([series]))[0])

    def _assets(self, series: NDArray[np.integer]) -> NDArray[np.int64]:
        """The asset of each series; 0 for one that the register does not know."""
        if self._catalog.generation != self._generation:
            self._generation = self._catalog.generation
            infos = list(self._catalog.all())
            size = max((info.id for info in infos), default=-1) + 2
            self._asset_of = np.zeros(size, np.int64)  # the last stands for all beyond
            for info in infos:
                self._asset_of[info.id] = info.asset_id
        return self._asset_of[np.minimum(series, len(self._asset_of) - 1)]
