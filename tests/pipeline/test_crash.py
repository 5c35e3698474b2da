"""Whatever fails and whenever the process dies, the outcome is that of an undisturbed run.

The plan of a run says at which of its calls to the stores something happens: the call fails before or
after it took effect, or the process dies there and a new one starts on the same files.
"""

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from pms_iot import recovery
from pms_iot.kernel.db import open_engine
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.pipeline import AWAY, Pipeline
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.store import Buckets
from tests.pipeline.rig import Read, Rig, payload

Mishap = Literal["fails", "fails after", "dies", "dies after"]


class ProcessDied(BaseException):
    """Not an Exception: nothing in the engine may catch it."""


@dataclass
class Trouble:
    """Counts the calls that may fail; some of them do."""

    plan: Mapping[int, Mishap]
    calls: int = 0

    def around(self, call: Callable[[], None], problem: Exception) -> None:
        self.calls += 1
        mishap = self.plan.get(self.calls)
        if mishap in (None, "fails after", "dies after"):
            call()
        if mishap in ("dies", "dies after"):
            raise ProcessDied
        if mishap is not None:
            raise problem


@dataclass
class TroubledStore:
    """A real store behind a line that is not."""

    real: EmbeddedStore
    trouble: Trouble

    def write(self, batch: Batch) -> None:
        self.trouble.around(lambda: self.real.write(batch), StoreUnavailableError("away"))

    def read(self, series: int, start_ns: int, end_ns: int) -> Batch:
        return self.real.read(series, start_ns, end_ns)

    def read_many(self, series: Sequence[int], start_ns: int, end_ns: int) -> Batch:
        return self.real.read_many(series, start_ns, end_ns)

    def downsample(self, series: int, start_ns: int, end_ns: int, buckets: int) -> Buckets:
        return self.real.downsample(series, start_ns, end_ns, buckets)

    def latest(self, series: Sequence[int]) -> Batch:
        return self.real.latest(series)

    def close(self) -> None:
        self.real.close()


@contextmanager
def troubled_core(rig: Rig, trouble: Trouble) -> Generator[Engine]:
    """The core store behind a line that breaks at the beginning or at the commit of a transaction."""
    engine = open_engine(str(rig.core.url))
    away = OperationalError("commit", {}, Exception("connection lost"))

    @event.listens_for(engine, "begin")
    def at_begin(_connection: Connection) -> None:
        trouble.around(lambda: None, away)

    @event.listens_for(engine, "commit")
    def at_commit(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        trouble.around(lambda: driver.execute("COMMIT") and None, away)
        if not driver.in_transaction:
            driver.execute("BEGIN")  # for the COMMIT that follows

    try:
        yield engine
    finally:
        engine.dispose()


@dataclass
class Gateway:
    """Sends its batches in order from the first that is not acknowledged, as the edge agent does."""

    batches: Sequence[Sequence[Read]]
    sent: list[int] = field(default_factory=list[int])

    def next(self, acked: int, at_once: int) -> list[bytes]:
        seqs = range(acked + 1, min(acked + at_once, len(self.batches)) + 1)
        self.sent += seqs
        return [payload(seq, self.batches[seq - 1], base=acked + 1) for seq in seqs]


def reads() -> list[Read]:
    """A pump that overheats and cools down while its pit fills; one that smokes; 40 reads each."""
    found: list[Read] = []
    for i in range(40):
        hot = 95.0 if 8 <= i < 22 else 60.0
        level = 0.4 * max(0, min(i, 25) - 12)
        found.append(("PU-01", 10.0 * i, {"temp": hot, "level": level, "head": 20.0 + i % 3}))
        found.append(("PU-02", 10.0 * i, {"temp": 50.0, "smoke": float(15 <= i < 18)}))
    return found


READS = reads()
EXPECTED = [
    ("pump.hot", "PU-01", "resolved"),
    ("pump.smoke", "PU-02", "resolved"),
    ("pump.rising", "PU-01", "resolved"),
]


def cut(at: Sequence[int]) -> list[list[Read]]:
    bounds = [0, *sorted(set(at)), len(READS)]
    return [READS[i:j] for i, j in pairwise(bounds) if i < j]


def take_part(rig: Rig, path: Pipeline, gateway: Gateway, save_every: int, at_once: int) -> bool:
    """Sends everything, with ticks and snapshots in between; True when all is acknowledged."""
    while bodies := gateway.next(rig.acks.upto(), at_once):
        for step in (
            lambda bodies=bodies: path.process_all([rig.received(body) for body in bodies]),
            lambda: path.tick(rig.clock.now_ns()),
            lambda: recovery.save(path) if len(gateway.sent) % save_every == 0 else None,
        ):
            patiently(step)
    return True


def patiently(step: Callable[[], object]) -> None:
    """Repeats a step until its stores answer, as the supervisor of the queue does."""
    for _ in range(20):
        try:
            step()
            return
        except AWAY:
            continue
    raise AssertionError("never came through")


def run(
    template: Path,
    cuts: Sequence[int],
    plan: Mapping[int, Mishap],
    save_every: int = 3,
    at_once: int = 1,
) -> tuple[dict[str, list[tuple[Any, ...]]], Rig, Trouble]:
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(template, Path(directory))
        trouble, gateway = Trouble(plan), Gateway(cut(cuts))
        done = False
        while not done:
            with troubled_core(rig, trouble) as core:
                store = TroubledStore(rig.samples, trouble)
                try:
                    path = rig.build(engine=core, store=store)
                    patiently(partial(recovery.restore, path))
                    done = take_part(rig, path, gateway, save_every, at_once)
                except ProcessDied:
                    rig.samples.close()
                    rig.samples = rig.open_samples()
        outcome = rig.outcome()
        alerts = rig.alerts()
        rig.close()
    assert sorted(alerts) == sorted(EXPECTED)
    return outcome, rig, trouble


@pytest.fixture(scope="module")
def undisturbed(template: Path) -> tuple[dict[str, list[tuple[Any, ...]]], int]:
    """The outcome with one read at a time, and how many calls a run in ten batches makes."""
    outcome, _, _ = run(template, range(0, len(READS), 2), {})
    _, _, trouble = run(template, range(0, len(READS), 8), {})
    return outcome, trouble.calls


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Watermarks depend on the cut; all else must not."""
    for what in expected.keys() - {"watermarks"}:
        assert found[what] == expected[what], what


def test_the_undisturbed_run_is_as_meant(template: Path) -> None:
    outcome, rig, _ = run(template, range(0, len(READS), 8), {})
    assert [row[:3] for row in outcome["orders"]] == [
        ("fault:PU-01", "P2", "new"),
        ("safety:PU-02", "P1", "new"),
    ]
    assert len(outcome["samples"]) > 40 * 5
    assert outcome["watermarks"] == [("data", "9f3a1c2b", 10, 10, 200, 0)]
    assert rig.acks.told == [("data", seq) for seq in range(1, 11)]


MISHAPS: list[Mishap] = ["fails", "fails after", "dies", "dies after"]


@pytest.mark.parametrize("first", range(4), ids=str)
def test_a_mishap_at_any_single_step_changes_nothing(
    template: Path, undisturbed: tuple[dict[str, list[tuple[Any, ...]]], int], first: int
) -> None:
    outcome, calls = undisturbed
    assert calls > 60
    for step in range(1 + 3 * first, calls, 12):
        plan = {step: MISHAPS[(step + first) % 4]}
        found, _, _ = run(template, range(0, len(READS), 8), plan)
        same(found, outcome)
        assert found["watermarks"] == [("data", "9f3a1c2b", 10, 10, 200, 0)]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.integers(1, len(READS) // 2 - 1).map(lambda read: 2 * read), max_size=12),
    plan=st.dictionaries(
        st.integers(1, 120),
        st.sampled_from(MISHAPS),
        max_size=8,
    ),
    save_every=st.integers(1, 5),
    at_once=st.integers(1, 5),
)
@example(cuts=[], plan={4: "dies after"}, save_every=1, at_once=1)
@example(cuts=list(range(0, len(READS), 4)), plan={9: "dies"}, save_every=2, at_once=8)
def test_any_cut_and_any_mishaps_give_the_same_outcome(
    template: Path,
    undisturbed: tuple[dict[str, list[tuple[Any, ...]]], int],
    cuts: list[int],
    plan: dict[int, Mishap],
    save_every: int,
    at_once: int,
) -> None:
    found, _, _ = run(template, cuts, plan, save_every, at_once)
    same(found, undisturbed[0])
