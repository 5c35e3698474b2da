"""Verdicts reach the detectors once each and at the same sample, whatever happens in between.

The detectors here are a stand-in that writes down what it is given and moves a limit; it keeps that in
its snapshot, as detectors keep their state, and drops samples that it has seen.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.judged import JudgedDetectors
from pms_iot.feedback.service import Effect, Limit, Said
from pms_iot.telemetry.batch import Batch

MEASURED, SCORE = (1, 2), (11, 12)  # of assets 1 and 2
FACTORS = {"false_alarm": 1.5, "no_fault_found": 1.2, "true_fault": 0.9}


class Register:
    """Two assets, each with a measured point and its score."""

    generation = 1

    def all(self) -> Iterable[SeriesInfo]:
        return [info(id, asset) for ids in (MEASURED, SCORE) for asset, id in enumerate(ids, 1)]


def info(id: int, asset: int) -> SeriesInfo:
    return SeriesInfo(
        id, asset, f"A{asset}", "site", "pump", str(id), "number", "", "", "", None, None, None,
        derived=id > 10,
    )  # fmt: skip


class Diary:
    """What detectors were given, by asset: ("sample", at) or (outcome, verdict's time)."""

    config_hash = "diary"

    def __init__(self) -> None:
        self.pages: dict[str, list[list[object]]] = {"1": [], "2": []}
        self.level = dict.fromkeys(SCORE, 1.0)
        self.seen = dict.fromkeys(MEASURED, 0)

    def update(self, batch: Batch) -> Batch:
        for series, at in zip(batch.series.tolist(), batch.at.tolist(), strict=True):
            if at > self.seen[series]:
                self.seen[series] = at
                self.pages[str(series)].append(["sample", at])
        return Batch.of(batch.series + 10, batch.at, batch.value)

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        self.pages[str(series - 10)].append([outcome, at_ns])
        self.level[series] *= FACTORS[outcome]

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        self.pages[str(series - 10)].append([f"not {outcome}", at_ns])
        self.level[series] /= FACTORS[outcome]

    def accept(self, series: int, at_ns: int) -> None:
        self.pages[str(series - 10)].append(["accepted", at_ns])

    def limits(self) -> Mapping[int, Limit]:
        return {series: Limit(level, 1.0) for series, level in self.level.items()}

    def snapshot(self) -> bytes:
        return json.dumps([self.pages, list(self.level.items()), list(self.seen.items())]).encode()

    def restore(self, state: bytes) -> None:
        self.pages, level, seen = json.loads(state)
        self.level, self.seen = dict(level), dict(seen)

    def parts(self) -> Iterator[tuple[str, bytes]]:
        yield "diary", self.snapshot()

    def restore_part(self, name: str, state: bytes) -> None:
        assert name == "diary"
        self.restore(state)


def samples(rows: Sequence[tuple[int, int]]) -> Batch:
    """(asset, at) in order of arrival."""
    return Batch.of([asset for asset, _ in rows], [at for _, at in rows], [0.0] * len(rows))


def new() -> tuple[JudgedDetectors, Diary]:
    diary = Diary()
    return JudgedDetectors(diary, Register()), diary


def test_a_batch_is_cut_where_a_verdict_holds() -> None:
    judged, diary = new()
    judged.hear([Said(1, "judged", 11, "false_alarm", 20), Said(2, "accepted", 12, "", 10)])
    scores = judged.update(samples([(1, 10), (2, 10), (1, 20), (2, 20), (1, 30), (2, 30)]))
    assert diary.pages["1"] == [["sample", 10], ["sample", 20], ["false_alarm", 20], ["sample", 30]]
    assert diary.pages["2"] == [["sample", 10], ["accepted", 10], ["sample", 20], ["sample", 30]]
    assert sorted(zip(scores.series.tolist(), scores.at.tolist(), strict=True)) == [
        (11, 10), (11, 20), (11, 30), (12, 10), (12, 20), (12, 30),
    ]  # fmt: skip
    assert set(judged.effects) == {Effect(2, 1.0, 1.0), Effect(1, 1.0, 1.5)}


def test_a_verdict_waits_for_a_later_sample_of_its_own_asset() -> None:
    judged, diary = new()
    judged.hear([Said(1, "judged", 11, "true_fault", 20)])
    judged.update(samples([(2, 90), (1, 15), (1, 20)]))
    assert diary.pages["1"] == [["sample", 15], ["sample", 20]] and judged.effects == ()
    judged.update(samples([(1, 21)]))
    assert diary.pages["1"][2:] == [["true_fault", 20], ["sample", 21]]
    assert judged.effects == (Effect(1, 1.0, 0.9),)
    judged.recorded(judged.effects)
    assert judged.effects == ()


def test_a_verdict_is_taken_back() -> None:
    judged, diary = new()
    judged.hear(
        [Said(1, "judged", 11, "false_alarm", 5), Said(2, "withdrawn", 11, "false_alarm", 7)]
    )
    judged.update(samples([(1, 6), (1, 8)]))
    assert diary.pages["1"] == [
        ["false_alarm", 5],
        ["sample", 6],
        ["not false_alarm", 7],
        ["sample", 8],
    ]
    assert diary.level[11] == 1.0


def test_a_verdict_heard_before_is_dropped() -> None:
    judged, diary = new()
    said = [Said(1, "accepted", 11, "", 5)]
    judged.hear(said)
    judged.hear(said)
    judged.update(samples([(1, 6)]))
    judged.hear(said)
    judged.update(samples([(1, 7)]))
    assert diary.pages["1"] == [["accepted", 5], ["sample", 6], ["sample", 7]]
    judged.begin_after(4)
    assert judged.heard == 4


@dataclass
class Plant:
    """A main path with its stores, of which a kill leaves only what was stored."""

    stored: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    queue: list[Said] = field(default_factory=list[Said])  # numbered
    unnumbered: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    recorded: dict[int, Effect] = field(default_factory=dict[int, Effect])
    saved: bytes | None = None
    saved_upto: int = 0

    def __post_init__(self) -> None:
        self.judged, self.diary = new()

    def arrive(self, rows: Sequence[tuple[int, int]]) -> None:
        """Late ones are stored too, but detectors have moved on."""
        self.stored += rows
        self.judged.update(samples(rows))

    def say(self, kind: str, asset: int, at: int) -> None:
        self.unnumbered.append((kind, asset, at))

    def tick(self, *, dies: bool = False) -> None:
        for kind, asset, at in self.unnumbered:
            newest = self.diary.seen[asset]
            outcome = "" if kind == "accepted" else "false_alarm"
            one = Said(len(self.queue) + 1, kind, asset + 10, outcome, max(newest, at))
            self.queue.append(one)
        self.unnumbered = []
        if dies:
            self.kill()
            return
        effects = self.judged.effects
        for effect in effects:
            assert self.recorded.setdefault(effect.number, effect) == effect
        self.judged.hear([one for one in self.queue if one.number > self.judged.heard])
        self.judged.recorded(effects)

    def save(self) -> None:
        self.saved, self.saved_upto = self.judged.snapshot(), len(self.stored)

    def kill(self) -> None:
        self.judged, self.diary = new()
        upto = 0
        if self.saved is not None:
            self.judged.restore(self.saved)
            upto = self.saved_upto
        self.judged.hear([one for one in self.queue if one.number > self.judged.heard])
        self.judged.update(samples(sorted(self.stored[upto:], key=lambda row: row[1])))
        self.save()


def expected(plant: Plant) -> dict[str, list[list[object]]]:
    """What each asset's detectors are given: its samples in time, each verdict before the first later one."""
    pages: dict[str, list[list[object]]] = {}
    for asset in MEASURED:
        ours = sorted({at for a, at in plant.stored if a == asset})
        said = sorted((o.after_ns, o.number, o) for o in plant.queue if o.series == asset + 10)
        events: list[tuple[tuple[int, int, int], list[object]]] = [
            ((at, 0, 0), ["sample", at]) for at in ours
        ]
        for after, number, one in said:
            if ours and after < ours[-1]:
                word = {"judged": "", "withdrawn": "not "}.get(one.kind, "accepted") + one.outcome
                events.append(((after, 1, number), [word, after]))
        pages[str(asset)] = [event for _, event in sorted(events, key=lambda e: e[0])]
    return pages


ACTIONS = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.tuples(st.sampled_from(MEASURED), st.integers(1, 9)), min_size=1, max_size=6)),
    st.tuples(st.just("say"), st.tuples(st.sampled_from(("judged", "withdrawn", "accepted")), st.sampled_from(MEASURED), st.integers(0, 60))),
    st.tuples(st.sampled_from(("tick", "tick and die", "save", "kill")), st.none()),
)  # fmt: skip


@given(st.lists(ACTIONS, max_size=25))
@example([("say", ("judged", 1, 0)), ("tick and die", None), ("arrive", [(1, 5)])])
@example([("say", ("judged", 1, 9)), ("say", ("accepted", 1, 2)), ("tick", None), ("arrive", [(1, 5), (1, 9)]), ("kill", None)])  # fmt: skip
@example([("arrive", [(1, 5)]), ("say", ("judged", 1, 0)), ("tick", None), ("save", None), ("arrive", [(1, 1)]), ("kill", None)])  # fmt: skip
def test_each_verdict_is_heard_once_and_at_its_time_however_things_interleave(
    actions: list[tuple[str, object]],
) -> None:
    plant, clock = Plant(), {1: 0, 2: 0}
    for action, what in actions:
        if action == "arrive":
            rows: list[tuple[int, int]] = []
            for asset, step in what:  # type: ignore[union-attr]  # of the strategy
                clock[asset] += step
                rows.append((asset, clock[asset]))
            plant.arrive(rows)
        elif action == "say":
            plant.say(*what)  # type: ignore[misc]  # of the strategy
        elif action == "save":
            plant.save()
        elif action == "kill":
            plant.kill()
        else:
            plant.tick(dies=action == "tick and die")
    plant.tick()
    plant.arrive([(1, clock[1] + 100), (2, clock[2] + 100)])
    plant.tick()
    assert plant.diary.pages == expected(plant)
    heard = [e for page in plant.diary.pages.values() for e in page if e[0] != "sample"]
    assert len(heard) == len(plant.queue) == len(plant.recorded)
