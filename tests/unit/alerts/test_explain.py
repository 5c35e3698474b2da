"""What an alert tells of its cause, and that neither cuts nor a restart change it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.alerts.machine import RuleEngine
from pms_iot.alerts.related import Related, related_by
from pms_iot.alerts.rule import Condition, Gate, Rule
from pms_iot.assets.points import PointDef
from pms_iot.detection.spec import DetectorSpec
from pms_iot.kernel.text import Text
from pms_iot.telemetry.batch import Batch
from tests.unit.alerts.test_machine import HOT, cut, plant
from tests.unit.detection.fleet import FixedCatalog, samples

WORDS = Text("字", "words")
MEASURED = ("run", "p1_speed", "p1_current", "p2_current", "flow", "outlet_p", "spare")
DERIVED = (
    "p1_current.lo", "p1_current.hi", "p1_current.excess", "p1_current.cause", "outlet_p.expected",
    "hydraulics.excess", "flow.share", "outlet_p.share", "p2_current.share", "p1_speed.share",
    "flow.expected", "p1_state", "p2_state", "state",
)  # fmt: skip
STATES = ("p1_state", "p2_state", "state")


def catalog() -> FixedCatalog:
    every = [("B", "k", p, False) for p in MEASURED] + [("B", "k", p, True) for p in DERIVED]
    found = FixedCatalog(every)
    found.infos = [replace(i, type="enum") if i.point in STATES else i for i in found.infos]
    return found


CATALOG = catalog()


def rule(name: str, point: str, condition: Condition, **more: Any) -> Rule:
    return replace(HOT, id=f"k.{name}", points=(point,), condition=condition, **({"for_s": 0.0} | more))  # fmt: skip


def above(limit: float) -> Condition:
    return Condition("above", high=limit, clear_high=limit)


EXCESS = rule("excess", "p1_current.excess", above(1))
MODEL = rule("model", "hydraulics.excess", above(1))
LOW = rule("low", "outlet_p", Condition("below", low=3, clear_low=3.2))


def read(at_s: float, **values: float) -> Batch:
    """One read of the asset; `__` stands for the dot of a derived point."""
    named = {key.replace("__", "."): value for key, value in values.items()}
    return Batch.concat(samples(CATALOG.id("B", p), [at_s], [v]) for p, v in named.items())


def explain(*batches: Batch, rules: tuple[Rule, ...], related: Mapping[str, Related] | None = None) -> dict[str, Any]:  # fmt: skip
    """The why of the first rule's alert."""
    machine = RuleEngine(rules, CATALOG, related)
    found = [t for batch in batches for t in machine.update(batch)]
    return next(t.why for t in found if t.kind == "fired" and t.rule == rules[0])


def test_a_score_tells_expected_against_seen_its_cause_and_the_state_of_its_part() -> None:
    why = explain(
        read(0, p1_current=31, p1_current__lo=10, p1_current__hi=14, p1_current__excess=2.5,
             p1_current__cause=3, p1_state=3, p2_state=1, state=3),
        rules=(EXCESS,),
    )  # fmt: skip
    assert (why["point"], why["value"], why["limit"]) == ("p1_current.excess", 2.5, 1)
    assert (why["seen"], why["expected"], why["cause"]) == (31, [10, 14], 3)
    assert why["states"] == [{"point": "p1_state", "value": 3}]


def test_a_limit_tells_what_a_model_expected_of_its_point() -> None:
    why = explain(read(0, outlet_p=2, outlet_p__expected=4.5, state=3), rules=(LOW,))
    assert (why["seen"], why["predicted"], why["states"][0]["point"]) == (2, 4.5, "state")
    assert "expected" not in why and "parts" not in why


def test_an_asset_model_tells_the_three_points_with_most_of_the_residual() -> None:
    now = read(
        5, hydraulics__excess=3, flow=80, flow__expected=60, outlet_p=4, outlet_p__share=0.2,
        flow__share=0.6, p2_current__share=0.05, p1_speed__share=0.15,
    )  # fmt: skip
    why = explain(now, rules=(MODEL,))
    assert [part["point"] for part in why["parts"]] == ["flow", "outlet_p", "p1_speed"]
    assert why["parts"][0] == {"point": "flow", "share": 0.6, "seen": 80, "expected": 60}
    assert why["parts"][2]["seen"] is None
    related = {"k": Related(parts={"hydraulics": ("p1_speed", "p2_current")})}
    why = explain(now, rules=(MODEL,), related=related)
    assert [part["point"] for part in why["parts"]] == ["p1_speed", "p2_current"]


def test_what_is_no_longer_fresh_is_not_told() -> None:
    why = explain(
        read(0, p1_current=31, p1_current__lo=10, p1_current__hi=14, p1_current__cause=3, p1_state=3),
        read(500, p1_current=31, p1_current__excess=2.5),
        rules=(EXCESS,),
    )  # fmt: skip
    assert not {"seen", "expected", "cause", "states", "parts", "gates", "checked", "stale"} & set(why)  # fmt: skip


def test_the_state_is_that_of_the_detector_then_of_the_part_and_those_of_the_gates() -> None:
    now = read(0, p1_current__excess=2, p1_state=3, p2_state=1, state=4)
    gated = replace(EXCESS, when=(Gate("p2_state", Condition("in", values=(1.0, 3.0)), 0),))
    why = explain(now, rules=(gated,))
    assert [state["point"] for state in why["states"]] == ["p1_state", "p2_state"]
    assert why["gates"] == [{"point": "p2_state", "op": "in", "values": [1, 3], "for_s": 0, "value": 1}]  # fmt: skip
    why = explain(now, rules=(gated,), related={"k": Related({"p1_current": "state"})})
    assert [state["point"] for state in why["states"]] == ["state", "p2_state"]


def test_gates_tell_their_limits() -> None:
    gated = replace(LOW, when=(Gate("flow", Condition("outside", low=-1, high=5), 0),))
    why = explain(read(0, flow=9, outlet_p=1), rules=(gated,))
    assert why["gates"] == [{"point": "flow", "op": "outside", "low": -1, "high": 5, "for_s": 0, "value": 9}]  # fmt: skip


def test_the_rules_that_looked_and_did_not_fire_stand_nearest_first() -> None:
    others = (
        rule("far", "p2_current", above(40)),  # 10 of 40
        rule("near", "flow", above(100)),  # 95 of 100
        rule("on", "run", Condition("equals", values=(0.0,))),
        rule("waits", "p1_current", above(30), for_s=60),
        rule(
            "shut", "p2_current", above(11), when=(Gate("run", Condition("equals", values=(0.0,))),)
        ),
        rule("never", "spare", above(0)),
        rule("fires", "p1_speed", above(1000)),
    )
    now = read(0, outlet_p=1, p2_current=10, flow=95, run=1, p1_current=31, p1_speed=1500)
    why = explain(now, rules=(LOW, *others))
    assert [check["rule"] for check in why["checked"]] == ["k.waits", "k.near", "k.far", "k.on"]
    assert [check["holds"] for check in why["checked"]] == [True, False, False, False]
    assert why["checked"][1] == {"rule": "k.near", "point": "flow", "op": "above", "value": 95, "limit": 100, "holds": False}  # fmt: skip
    assert why["checked"][3]["values"] == [0]
    assert why["also"] == [{"rule": "k.fires", "point": "p1_speed"}]
    assert "stale" not in why and "checked_more" not in why


def test_at_most_five_are_named_and_the_rest_is_counted() -> None:
    others = tuple(rule(f"r{n}", "flow", above(100 + n)) for n in range(8))
    why = explain(read(0, outlet_p=1, flow=95), rules=(LOW, *others))
    assert [check["rule"] for check in why["checked"]] == [f"k.r{n}" for n in range(5)]
    assert why["checked_more"] == 3


def test_a_rule_whose_data_are_old_could_not_look() -> None:
    others = (rule("far", "p2_current", above(40)), rule("near", "flow", above(100)))
    why = explain(read(0, p2_current=10), read(300, outlet_p=1, flow=95), rules=(LOW, *others))
    assert [check["rule"] for check in why["checked"]] == ["k.near"]
    assert why["stale"] == [{"rule": "k.far", "point": "p2_current", "age_s": 300}]


def test_what_fires_later_in_the_batch_did_not_fire_before() -> None:
    other = rule("later", "flow", above(100), clear_for_s=0)
    batches = [read(0, outlet_p=1, flow=50), read(1, flow=150), read(2, flow=50)]
    whole = explain(Batch.concat(batches), rules=(LOW, other))
    assert whole == explain(*batches, rules=(LOW, other))
    assert [check["value"] for check in whole["checked"]] == [50] and "also" not in whole
    ends = explain(read(0, flow=150), Batch.concat([read(1, flow=150, outlet_p=1), read(2, flow=50)]), rules=(LOW, other))  # fmt: skip
    assert ends["also"] == [{"rule": "k.later", "point": "flow"}]


@dataclass(frozen=True)
class Stated(DetectorSpec):
    """A detector that judges by state, or a model of the asset."""

    by: str = ""
    name: str = ""


def test_detectors_tell_which_points_belong_together() -> None:
    flow, current = PointDef("flow", WORDS), PointDef("p1_current", WORDS)
    specs = (
        DetectorSpec("stuck", (flow,)),
        Stated("anomaly", (current,), by="p1_state"),
        Stated("model", (flow, current), by="state", name="hydraulics"),
    )
    assert related_by(specs) == Related(
        state_of={"p1_current": "p1_state", "flow": "state", "hydraulics": "state"},
        parts={"hydraulics": ("flow", "p1_current")},
    )


RULES = (
    HOT,
    replace(HOT, id="k.warm", condition=above(60), for_s=0, clear_for_s=0),
    replace(HOT, id="k.running", when=(Gate("run", Condition("equals", values=(1.0,)), 2),), for_s=1),
    replace(HOT, id="k.mode", points=("mode",), condition=Condition("in", values=(2.0, 3.0)), for_s=0),
    replace(HOT, id="k.cold", condition=Condition("below", low=60, clear_low=65), for_s=0),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 10_000), min_size=1, max_size=15))
def test_any_cut_and_a_restart_in_each_tell_the_same(seed: int, places: list[int]) -> None:
    batch = plant(seed)
    watched = FixedCatalog(
        [(a, "k", p, False) for a in ("A", "B") for p in ("temp", "run", "mode")]
    )
    whole = RuleEngine(RULES, watched).update(batch)
    assert any("checked" in t.why for t in whole) and any("also" in t.why for t in whole)
    pieces, found = RuleEngine(RULES, watched), list[Any]()
    for part in cut(batch, places):
        found += pieces.update(part)
        saved, pieces = pieces.snapshot(), RuleEngine(RULES, watched)
        pieces.restore(saved)
    assert found == whole


def test_values_are_plain_numbers_that_json_can_hold() -> None:
    import orjson

    why = explain(
        read(0, p1_current=31, p1_current__lo=10, p1_current__hi=np.float64(14), p1_state=3,
             p1_current__excess=2.5, flow=3, outlet_p=2),
        rules=(EXCESS, LOW, rule("wide", "flow", Condition("outside", low=-5, high=5))),
    )  # fmt: skip
    assert orjson.loads(orjson.dumps(why)) == why
