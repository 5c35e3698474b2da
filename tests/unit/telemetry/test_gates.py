"""Gates beside a plain model: one list of values for each series, asked one time at a time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.condition import Condition
from pms_iot.telemetry.gates import Gates, Lock

ON = Lock(1, Condition("equals", values=(1.0,)), 0)
LONG_ON = Lock(1, Condition("equals", values=(1.0,)), 5)
MODE = Lock(2, Condition("in", values=(0.0, 2.0)), 0)
HIGH = Lock(2, Condition("above", high=1.0), 2)
ABSENT = Lock(-1, Condition("equals", values=(1.0,)), 0)
DOORS = [(ON,), (LONG_ON, MODE), (HIGH,), (), (ON, ABSENT), (HIGH, ON, MODE)]
Values = list[tuple[int, int, float]]

values = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.0])),
    max_size=40,
    unique_by=lambda sample: sample[:2],
)


def batch(samples: Values) -> Batch:
    series, at, value = zip(*sorted(samples), strict=True) if samples else ((), (), ())
    return Batch.of(series, at, value)


def is_open(lock: Lock, known: Values, at: int) -> bool:
    truths = [(t, lock.condition.holds(v)) for s, t, v in known if s == lock.series and t <= at]
    since: int | None = None
    for t, truth in truths:
        since = (t if since is None else since) if truth else None
    return since is not None and at - since >= lock.for_ns


@settings(deadline=None)
@given(samples=values, cut=st.integers(0, 31))
def test_each_door_is_open_when_all_of_its_locks_are(samples: Values, cut: int) -> None:
    gates = Gates(DOORS)
    gates.learn(batch([sample for sample in samples if sample[1] < cut]))
    resumed = Gates(DOORS)
    resumed.restore(gates.snapshot())
    resumed.learn(batch([sample for sample in samples if sample[1] >= cut]))
    doors, at = (each.ravel() for each in np.meshgrid(np.arange(len(DOORS)), np.arange(35)))
    expected = [
        all(is_open(lock, sorted(samples), t) for lock in DOORS[door])
        for door, t in zip(doors.tolist(), at.tolist(), strict=True)
    ]
    assert resumed.open_at(doors, at).tolist() == expected


def test_a_value_that_repeats_is_no_change() -> None:
    gates = Gates(DOORS)
    gates.learn(batch([(1, t, 1.0) for t in range(100)]))
    assert gates.snapshot()[0][1:] == ([0], [True])


def test_no_more_changes_are_kept_than_a_late_lane_asks_for() -> None:
    gates = Gates([(ON,)])
    gates.learn(batch([(1, t, float(t % 2)) for t in range(100)]))
    gates.forget()
    ((_, times, _),) = gates.snapshot()
    assert times == list(range(68, 100))
