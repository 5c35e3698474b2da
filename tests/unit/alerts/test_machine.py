"""The rule engine: delays, hysteresis, gates, gaps; and that neither cuts nor crashes change anything."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.rule import Condition, Gate, Rule
from pms_iot.alerts.transition import Firing, Transition
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from tests.unit.detection.fleet import T0, FixedCatalog, S, samples

WORDS = Text("字", "words")
HOT = Rule(
    id="k.hot",
    kind="k",
    label=WORDS,
    points=("temp",),
    condition=Condition("above", high=80, clear_high=75),
    severity="P3",
    cause=WORDS,
    consequence=WORDS,
    response=WORDS,
    for_s=3,
    clear_for_s=2,
)
RUNNING = Gate("run", Condition("equals", values=(1.0,)), 2)
POINTS = [(a, "k", p, False) for a in ("A", "B") for p in ("temp", "run", "mode")]
CATALOG = FixedCatalog(POINTS)
TEMP, RUN = CATALOG.id("A", "temp"), CATALOG.id("A", "run")


def engine(*rules: Rule) -> RuleEngine:
    return RuleEngine(rules or (HOT,), CATALOG)


def steps(found: list[Transition]) -> list[tuple[str, float, float]]:
    """(kind, at, since) in seconds from T0."""
    return [(t.kind, (t.at_ns - T0) / S, (t.since_ns - T0) / S) for t in found]


def run(values: list[float], rule: Rule = HOT, at: list[float] | None = None) -> list[Transition]:
    return engine(rule).update(samples(TEMP, at or list(range(len(values))), values))


def test_alert_fires_only_after_hold_and_ends_after_clear_hold() -> None:
    found = run([70, 90, 90, 90, 90, 70, 70, 70])
    assert steps(found) == [("fired", 4, 1), ("resolved", 7, 1)]
    fired = found[0]
    assert (fired.key, fired.asset, fired.series) == ("k.hot|A|temp", "A", TEMP)
    assert (fired.value, fired.limit, fired.rule) == (90, 80, HOT)
    assert fired.why["template"] == "above"


def test_a_dip_starts_the_hold_again() -> None:
    assert steps(run([90, 90, 90, 79, 90, 90, 90, 90])) == [("fired", 7, 4)]


def test_hysteresis_keeps_the_alert_between_clear_and_limit() -> None:
    assert steps(run([90] * 4 + [76] * 10)) == [("fired", 3, 0)]


def test_without_delay_the_first_sample_fires() -> None:
    assert steps(run([90], replace(HOT, for_s=0))) == [("fired", 0, 0)]


def test_bad_samples_neither_start_nor_stop_anything() -> None:
    nan = float("nan")
    assert steps(run([90, nan, nan, 90, 90, nan])) == [("fired", 3, 0)]
    assert steps(run([90, 90, 90, 90, nan, nan, nan, nan])) == [("fired", 3, 0)]
    marked = Batch.of([TEMP] * 4, [T0 + i * S for i in range(4)], [90.0] * 4, [0] * 4)
    assert engine().update(marked) == []


def test_uncertain_samples_count() -> None:
    batch = Batch.of([TEMP] * 4, [T0 + i * S for i in range(4)], [90.0] * 4, [64] * 4)
    assert steps(engine().update(batch)) == [("fired", 3, 0)]


def test_a_gap_is_no_evidence() -> None:
    assert steps(run([90, 90, 90], at=[0, 500, 501])) == []
    assert steps(run([90, 90], at=[0, 59])) == [("fired", 59, 0)]
    assert steps(run([90] * 4 + [70, 70, 70], at=[0, 1, 2, 3, 4, 500, 502])) == [
        ("fired", 3, 0),
        ("resolved", 502, 0),
    ]


def test_every_operator() -> None:
    cases: list[tuple[Condition, float, float]] = [
        (Condition("above", high=5, clear_high=5), 6, 5),
        (Condition("below", low=5, clear_low=5), 4, 5),
        (Condition("outside", low=1, high=5, clear_low=1, clear_high=5), 0, 1),
        (Condition("outside", low=1, high=5, clear_low=1, clear_high=5), 6, 5),
        (Condition("equals", values=(3.0,)), 3, 4),
        (Condition("not_equals", values=(3.0,)), 4, 3),
        (Condition("in", values=(3.0, 7.0)), 7, 4),
    ]
    for condition, bad, good in cases:
        rule = replace(HOT, condition=condition, for_s=0, clear_for_s=0)
        assert steps(run([good, bad, good], rule)) == [("fired", 1, 1), ("resolved", 2, 1)]


def test_gate_sees_values_as_of_the_samples_time_whatever_the_order_in_the_batch() -> None:
    rule = replace(HOT, for_s=0, when=(RUNNING,))
    hot = samples(TEMP, [0, 1, 2, 3, 4], [90] * 5)
    on = samples(RUN, [1, 4], [1, 0])
    for batch in (Batch.concat([hot, on]), Batch.concat([on, hot])):
        found = engine(rule).update(batch)
        # Open from 3 (two seconds after the pump started), closed with the stop at 4.
        assert steps(found) == [("fired", 3, 3)]


def test_unknown_gate_is_closed() -> None:
    rule = replace(HOT, for_s=0, when=(replace(RUNNING, for_s=0),), safety=True)
    assert run([90] * 5, rule) == []
    assert run([90] * 5, replace(rule, when=(replace(RUNNING, point="absent"),))) == []


def test_a_closed_gate_holds_the_alert_and_its_off_delay() -> None:
    rule = replace(HOT, for_s=0, clear_for_s=2, when=(replace(RUNNING, for_s=0),))
    temperature = samples(TEMP, range(12), [90] * 4 + [20] * 8)  # cools down at 4
    running = samples(RUN, [0, 5, 9], [1, 0, 1])  # and stands still from 5 to 9
    found = steps(engine(rule).update(Batch.concat([temperature, running])))
    assert found == [("fired", 0, 0), ("resolved", 10, 0)]  # 4 to 5 and 9 to 10 while running


def test_alert_tells_what_was_expected() -> None:
    points = [("A", "k", p, "." in p) for p in ("temp", "temp.anomaly", "temp.lo", "temp.hi")]
    catalog = FixedCatalog(points)
    condition = Condition("above", high=6, clear_high=3)
    rule = replace(HOT, points=("temp.anomaly",), condition=condition, for_s=0)
    machine = RuleEngine([rule], catalog)
    values = {"temp": 90.0, "temp.anomaly": 9.0, "temp.lo": 60.0, "temp.hi": 70.0}
    batch = Batch.concat([samples(catalog.id("A", p), [0], [v]) for p, v in values.items()])
    (fired,) = machine.update(batch)
    assert fired.why["seen"] == 90
    assert fired.why["expected"] == [60, 70]


def test_what_fires_in_the_database_ends_when_its_condition_does() -> None:
    machine = engine()
    firing = [Firing("k.hot|A|temp", T0 - S), Firing("k.gone|A|temp", T0)]
    assert machine.adopt(firing) == ["k.gone|A|temp"]
    found = machine.update(samples(TEMP, [0, 1, 2], [70, 70, 70]))
    assert steps(found) == [("resolved", 2, -1)]


def test_state_survives_a_change_of_the_catalog() -> None:
    catalog = FixedCatalog(POINTS)
    machine = RuleEngine([HOT], catalog)
    machine.update(samples(TEMP, [0, 1, 2], [90] * 3))
    catalog.infos = FixedCatalog([*POINTS, ("C", "k", "temp", False)]).infos
    catalog.generation += 1
    both = Batch.concat([samples(TEMP, [3], [90]), samples(7, [3], [90])])
    assert [t.key for t in machine.update(both)] == ["k.hot|A|temp"]


def test_other_rules_have_another_hash() -> None:
    assert engine().config_hash == engine().config_hash != engine(replace(HOT, for_s=4)).config_hash


RULES = (
    HOT,
    replace(HOT, id="k.hot_running", when=(RUNNING,), for_s=0, clear_for_s=0),
    replace(HOT, id="k.mode", points=("mode",), condition=Condition("in", values=(2.0, 3.0))),
    replace(HOT, id="k.cold", condition=Condition("below", low=60, clear_low=65), for_s=0),
)


def plant(seed: int) -> Batch:
    """Whole reads of two assets with random walks, repeats, bad samples and gaps."""
    random = np.random.default_rng(seed)
    at = np.cumsum(random.choice([1, 1, 1, 1, 90], 120, p=[0.3, 0.3, 0.2, 0.18, 0.02]))
    parts: list[Batch] = []
    for asset in ("A", "B"):
        temp = random.choice([50.0, 62.0, 70.0, 78.0, 90.0, np.nan], 120).repeat(3)[:120]
        on = random.choice([0.0, 1.0], 20).repeat(6)
        mode = random.choice([1.0, 2.0, 3.0], 30).repeat(4)
        for point, value in (("temp", temp), ("run", on), ("mode", mode)):
            parts.append(samples(CATALOG.id(asset, point), at, value))
    return Batch.concat(parts).sorted_by_time()


def cut(batch: Batch, places: list[int]) -> list[Batch]:
    edges = np.flatnonzero(np.diff(batch.at)) + 1
    chosen = sorted({int(edges[place % len(edges)]) for place in places})
    return [batch.take(part) for part in np.split(np.arange(len(batch)), chosen)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 10_000), max_size=15))
def test_any_cut_gives_the_same_alerts(seed: int, places: list[int]) -> None:
    batch = plant(seed)
    whole, pieces = engine(*RULES), engine(*RULES)
    expected = whole.update(batch)
    assert [t for part in cut(batch, places) for t in pieces.update(part)] == expected
    assert pieces.snapshot() == whole.snapshot()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 10_000))
def test_kill_restore_and_replay_give_the_same_alerts(seed: int, place: int) -> None:
    batch = plant(seed)
    expected = engine(*RULES).update(batch)
    assert expected
    first, *rest = cut(batch, [place])
    machine = engine(*RULES)
    before = machine.update(first)
    saved = machine.snapshot()
    for part in rest:
        machine.update(part)  # what happened between the snapshot and the kill
    resumed = engine(*RULES)
    resumed.restore(saved)
    assert resumed.snapshot() == saved
    assert before + resumed.update(batch) == expected
