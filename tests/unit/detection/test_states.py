"""Rows per operating state: which sample is judged where, and what is not judged at all."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.assets.points import PointDef
from pms_iot.detection.columnar import Watched
from pms_iot.detection.spec import DetectorSpec
from pms_iot.detection.states import States
from pms_iot.detection.stuck import Stuck
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from tests.unit.detection.fleet import T0, S, samples

SPEC = DetectorSpec("stuck", (PointDef("p", Text("点", "point")),), min_change=0.1, by="state")


def stuck(**more: float) -> Stuck:
    return Stuck([Watched(1, (10,), replace(SPEC, **more), state=2)])  # type: ignore[arg-type]


def joined(value: Batch, state: Batch) -> Batch:
    return Batch.concat([value, state]).sorted_by_time()


def test_each_state_has_a_memory_of_its_own() -> None:
    """The reading is the same in both states, but neither has seen it before it was entered."""
    value = samples(1, range(8), [5.0] * 8)
    state = samples(2, [0, 4], [3, 1])
    assert stuck().update(joined(value, state)).value.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_nothing_is_judged_while_the_state_is_unknown_or_has_just_changed() -> None:
    value = samples(1, range(10), [5.0] * 10)
    state = samples(2, [2, 6], [3, 0])
    found = stuck(blank_s=2).update(joined(value, state))
    assert ((found.at - T0) // S).tolist() == [4, 5]
    assert len(Stuck([Watched(1, (10,), SPEC, state=-1)]).update(value)) == 0


@given(
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=20),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_the_state_of_a_sample_is_the_last_one_before_it(
    changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    by_time = dict(sorted(changes))
    states = States([7, -1, 7])
    at = T0 + np.arange(61, dtype=np.int64) * S
    seen: list[int] = []
    edges = sorted({0, 61, *cuts})
    for start, stop in pairwise(edges):
        now = {t: c for t, c in by_time.items() if start <= t < stop}
        states.learn(samples(7, list(now), [float(c) for c in now.values()]))
        code, _ = states.at(np.full(stop - start, 2, np.intp), at[start:stop])
        seen += code.tolist()
        states.forget()
    told = [max((t for t in by_time if t <= k), default=None) for k in range(61)]
    assert seen == [0 if t is None else by_time[t] for t in told]
