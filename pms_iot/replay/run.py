"""Stored samples once more through detectors and rules. Reads only."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import Transition
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.rulepacks import RulePack
from pms_iot.rulepacks.rehearsal import Rehearsal, Silences
from pms_iot.telemetry.batch import Batch

GROUP = 32  # assets of a kind that go together: the work for each time is more than that for its samples
SLICE_SAMPLES = 100_000  # aimed at in one read, so that memory does not depend on the history
_NARROWEST_NS, _FIRST_NS, _WIDEST_NS = 10**9, 600 * 10**9, 86_400 * 10**9


class History(Protocol):
    """What a replay needs of a `telemetry.store.SampleStore`: nothing that writes."""

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch: ...


@dataclass(frozen=True, slots=True)
class Window:
    """Learned from `learn_ns` on; what fires at or after `start_ns` and before `end_ns` counts."""

    learn_ns: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Fired:
    """One alert of the replay; ended_ns is None where it still fires at the end."""

    rule: Rule
    asset: str
    point: str
    at_ns: int
    ended_ns: int | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """fired: in order of time. samples_from: asset -> its first sample in the window; none: it has none."""

    fired: Sequence[Fired]
    samples_from: Mapping[str, int]
    assets: Sequence[str]
    samples: int


class ReplayCatalog:
    """Assets of one kind: the register's measured points, and all derived points that the pack makes.

    Derived points get numbers of their own, for the pack may make others than the register knows.
    """

    generation = 1

    def __init__(self, pack: RulePack, measured: Sequence[SeriesInfo], beyond: int) -> None:
        self.measured = [
            info for info in measured if info.point in pack.points and not info.derived
        ]
        self._infos = list(self.measured)
        derived = [point for point in pack.points.values() if point.derived]
        for one in {info.asset: info for info in self.measured}.values():
            for point in derived:
                beyond += 1
                made = SeriesInfo.of(
                    point,
                    id=beyond,
                    asset_id=one.asset_id,
                    asset=one.asset,
                    site=one.site,
                    kind=one.kind,
                )
                self._infos.append(made)

    def all(self) -> Iterable[SeriesInfo]:
        return self._infos


def groups(
    packs: Mapping[str, RulePack], infos: Iterable[SeriesInfo]
) -> list[tuple[RulePack, list[SeriesInfo]]]:
    """The series of up to GROUP assets of a kind at a time."""
    by_kind: dict[str, dict[str, list[SeriesInfo]]] = {}
    for info in sorted(infos, key=lambda i: (i.kind, i.asset, i.id)):
        if info.kind in packs:
            by_kind.setdefault(info.kind, {}).setdefault(info.asset, []).append(info)
    found: list[tuple[RulePack, list[SeriesInfo]]] = []
    for kind, assets in by_kind.items():
        own = list(assets.values())
        for first in range(0, len(own), GROUP):
            series = [info for asset in own[first : first + GROUP] for info in asset]
            found.append((packs[kind], series))
    return found


def replay(
    store: History,
    packs: Mapping[str, RulePack],
    infos: Sequence[SeriesInfo],
    window: Window,
    *,
    zones: Mapping[str, str],
    advance: Callable[[int, int], None] = lambda _ns, _samples: None,
    slice_samples: int = SLICE_SAMPLES,
) -> Replayed:
    """infos: all series of the assets asked for. advance: hears of each slice: its ns of the window (once
    for each of `groups`) and its samples. Raises StoreUnavailableError."""
    beyond = max((info.id for info in infos), default=0)
    fired: list[Fired] = []
    samples_from: dict[str, int] = {}
    samples = 0
    for pack, members in groups(packs, infos):
        catalog = ReplayCatalog(pack, members, beyond)
        stage, silences = Rehearsal(pack, catalog, zones=zones), Silences(pack, catalog)
        book = _Book()
        for start_ns, end_ns, batch in _slices(store, catalog.measured, window, slice_samples):
            samples += len(batch)
            _note_first(catalog.measured, batch, samples_from)
            book.add(stage.take(batch).transitions + silences.take(batch))
            advance(end_ns - start_ns, len(batch))
        fired += book.fired(window)
    fired.sort(key=lambda f: (f.at_ns, f.rule.id, f.asset, f.point))
    assets = sorted({info.asset for info in infos if info.kind in packs})
    return Replayed(fired, samples_from, assets, samples)


def _slices(
    store: History, infos: Sequence[SeriesInfo], window: Window, aim: int
) -> Iterator[tuple[int, int, Batch]]:
    series, width, start = [info.id for info in infos], _FIRST_NS, window.learn_ns
    while start < window.end_ns:
        end = min(start + width, window.end_ns)
        batch = store.read_many(series, start, end)
        yield start, end, batch
        start = end
        if len(batch) > 2 * aim:
            width = max(width // 2, _NARROWEST_NS)
        elif len(batch) < aim // 2:
            width = min(width * 2, _WIDEST_NS)


def _note_first(infos: Sequence[SeriesInfo], batch: Batch, found: dict[str, int]) -> None:
    if len({info.asset for info in infos} - found.keys()) == 0 or not len(batch):
        return
    asset_of = {info.id: info.asset for info in infos}
    series, first = np.unique(batch.series, return_index=True)
    for number, at in zip(series.tolist(), batch.at[first].tolist(), strict=True):
        found.setdefault(asset_of[number], at)


class _Book:
    """Alerts as they begin and end."""

    def __init__(self) -> None:
        self._live: dict[str, Fired] = {}
        self._ended: list[Fired] = []

    def add(self, steps: Iterable[Transition]) -> None:
        for step in steps:
            if step.kind == "fired":
                self._live[step.key] = Fired(
                    step.rule, step.asset, step.key.rsplit("|", 1)[1], step.at_ns, None, step.value
                )
            elif (alert := self._live.pop(step.key, None)) is not None:
                self._ended.append(replace(alert, ended_ns=step.at_ns))

    def fired(self, window: Window) -> list[Fired]:
        everything = [*self._ended, *self._live.values()]
        return [f for f in everything if window.start_ns <= f.at_ns < window.end_ns]
