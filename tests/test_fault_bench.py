"""The fault bench: its short run against the committed baseline, and its own parts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pms_simulators import signals
from pms_simulators.clock import LocalCalendar
from pms_simulators.device import SimulatedDevice
from pms_simulators.faults import Fault, FaultPlan, Step
from pms_simulators.machines.machine import Placement

from benchmarks.fault_bench import baseline
from benchmarks.fault_bench.bench import KINDS, run_one
from benchmarks.fault_bench.catalogue import load_cases
from benchmarks.fault_bench.report import FalseAlarms, Found, KindReport, from_json, to_json
from benchmarks.fault_bench.sampling import Grid, Reader, gauss
from benchmarks.fault_bench.shown import Record, shown_at
from pms_iot.alerts.transition import Transition, alert_key
from pms_iot.kernel.clock import to_ns
from pms_iot.rulepacks import load_packs, rules_root
from pms_iot.rulepacks.rehearsal import PackCatalog

FOUND = Found(4, 3, 4, 1000.0, 1200.0, 0.5, 0, "rule")
FALSE = FalseAlarms(2.0, 4, 2, 1, {"rule": 5})
DAY = timedelta(days=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_packs_find_no_less_and_cry_no_more_than_before(kind):
    before = baseline.load("short")
    assert kind in before
    assert baseline.regressions(before, {kind: run_one(kind, "short")}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"any_": 3}, "found in 3 of 4 runs, was 4 of 4"),
        ({"own": 2}, "by its own rule in 2 of 4 runs, was 3 of 4"),
        ({"delay_s": 1621.0}, "found after 1621 s, was 1000 s"),
        ({"late": 1}, "1 of 4 runs later than safety allows"),
    ],
)
def test_a_fault_that_is_found_less_or_later_is_a_regression(change, said):
    before = {"lift": KindReport({"wear": {"1": FOUND}}, FALSE)}
    now = {"lift": KindReport({"wear": {"1": replace(FOUND, **change)}}, FALSE)}
    assert baseline.regressions(before, now) == [f"lift.wear at 1: {said}"]
    assert baseline.regressions(now, before) == []


@pytest.mark.parametrize(
    ("past", "now", "worse"),
    [
        ((1, 1), (1, 2), False),  # the second seed was never found
        ((1, 1), (0, 2), True),
        ((3, 4), (0, 1), False),  # the first seed may be the one that was missed
        ((4, 4), (0, 1), True),
        ((4, 4), (1, 2), True),
    ],
)
def test_of_more_or_fewer_runs_only_the_common_ones_are_compared(past, now, worse):
    """(runs in which it was found, runs)"""
    before, after = (
        {
            "lift": KindReport(
                {"wear": {"1": replace(FOUND, any_=found, own=0, runs=runs, delay_s=float(runs))}},
                FALSE,
            )
        }
        for found, runs in (past, now)
    )
    said = f"lift.wear at 1: found in {now[0]} of {now[1]} runs, was {past[0]} of {past[1]}"
    assert baseline.regressions(before, after) == ([said] if worse else [])


@pytest.mark.parametrize(("now", "worse"), [(10, False), (11, True)])
def test_more_false_alarms_than_chance_explains_are_a_regression(now, worse):
    """Four seen before: the 95 % interval of the mean ends at 10.24."""
    before = {"lift": KindReport({}, FALSE)}
    noisy = {"lift": KindReport({}, replace(FALSE, statistical=now))}
    expected = [f"lift: {now} statistical false alarms, was 4"] if worse else []
    assert baseline.regressions(before, noisy) == expected


def test_false_alarms_are_compared_per_month():
    before = {"lift": KindReport({}, FALSE)}
    longer = {"lift": KindReport({}, replace(FALSE, statistical=16, asset_months=4.0))}
    assert baseline.regressions(before, longer) == []


@pytest.mark.parametrize(("count", "most"), [(0, 3.689), (1, 5.572), (10, 18.390)])
def test_the_interval_is_that_of_the_published_table(count, most):
    """Garwood 1936, table of exact 95 % limits."""
    assert baseline.most_expected(count) == pytest.approx(most, abs=0.001)


def test_what_people_see_more_of_is_a_regression_of_its_own():
    before = {"lift": KindReport({}, FALSE)}
    louder = {"lift": KindReport({}, replace(FALSE, shown=8))}
    assert baseline.regressions(before, louder) == ["lift: 8 shown false alarms, was 2"]


def test_people_are_shown_what_the_budget_has_room_for():
    """Two of statistics in 30 days of each machine; never a rule on a measured value or a forecast."""
    bench = Bench()
    assert bench.shown(0, "motor_temp_unusual", "motor_temp.excess") == bench.day(0)
    assert bench.shown(1, "motor_temp_unusual", "motor_temp.excess") == bench.day(1)
    assert bench.shown(2, "motor_temp_unusual", "motor_temp.excess") is None
    assert bench.shown(3, "motor_warm", "motor_temp") == bench.day(3)
    assert bench.shown(3, "brake_wear_forecast", "brake_slip.days_left") == bench.day(3)
    assert bench.shown(4, "motor_temp_unusual", "motor_temp.excess", "H2") == bench.day(4)
    assert bench.shown(31, "motor_temp_unusual", "motor_temp.excess") == bench.day(31)


def test_what_still_fires_is_shown_when_there_is_room():
    bench = Bench()
    for day in (0, 1):
        bench.shown(day, "motor_temp_unusual", "motor_temp.excess")
    bench.say(2, "fired", "motor_temp_unusual", "motor_temp.excess")
    bench.look(29)
    assert bench.last_shown() is None
    bench.look(31)
    assert bench.last_shown() == bench.day(31)


def test_a_report_survives_its_file():
    report = {"lift": KindReport({"wear": {"0.3": FOUND}}, FALSE)}
    assert from_json(to_json(report)) == report


def test_a_rule_that_the_pack_lacks_is_named():
    packs = load_packs(rules_root())
    rules = tuple(r for r in packs["elevator"].rules if r.id != "elevator.rope_slip")
    with pytest.raises(ValueError, match=r"elevator\.rope_slip.*\['rope_slip'\]"):
        load_cases({**packs, "elevator": replace(packs["elevator"], rules=rules)})


def test_noise_in_columns_is_the_simulators_noise():
    key = signals.stream(3, "A", "sensor", "p")
    index = np.array([0, 1, 2, 86400, 2_600_000])
    assert gauss(key, index).tolist() == [signals.gauss(key, i) for i in index.tolist()]


@pytest.mark.parametrize(
    ("kind", "fault"), [("booster_set", "sensor_stuck"), ("elevator", "entrapment")]
)
def test_columns_hold_what_a_gateway_would_have_read(kind, fault):
    """Each sample equals the device's own reading at that second, before and after the onset."""
    read, asked = (device(kind, Fault(fault, 300.0, np.inf, 1.0, Step())) for _ in range(2))
    points = load_packs(rules_root())[kind].points
    periods = {key: point.period_s or 1.0 for key, point in points.items()}
    columns = Reader(read, periods, frozenset()).read(600, Grid(20, 20), detail_until_s=320)
    seen = {(c.point, t): v for c in columns for t, v in zip(c.at_s, c.value, strict=True)}
    times = sorted({t for _, t in seen})
    assert times == [*range(1, 321), *range(340, 601, 20)]
    for t in times:
        asked.advance(t, 1000)
        readings = asked.readings()
        here = {point: value for (point, at), value in seen.items() if at == t}
        assert here == {
            key: value for key, value in readings.items() if t % round(periods[key]) == 0
        }


def device(kind, *faults):
    zone = ZoneInfo("Asia/Shanghai")
    start_ns = int(datetime(2026, 6, 1, tzinfo=zone).timestamp()) * 10**9
    place = Placement("X-1", 5, FaultPlan(faults), LocalCalendar(start_ns, zone))
    return SimulatedDevice(kind, place, 0.0)


class Bench:
    """The record of two lifts, told what their rules say."""

    def __init__(self):
        pack = load_packs(rules_root())["elevator"]
        self.rules = {rule.id: rule for rule in pack.rules}
        self.catalog = PackCatalog(pack, "H1", "H2")
        self.record = Record(self.catalog.all())

    def day(self, day):
        return datetime(2026, 6, 1, tzinfo=UTC) + day * DAY

    def say(self, day, kind, rule, point, asset="H1"):
        at_ns, rule = to_ns(self.day(day)), self.rules[f"elevator.{rule}"]
        key, series = alert_key(rule.id, asset, point), self.catalog.ids_of[asset][point]
        number = 1 + ["H1", "H2"].index(asset)
        step = Transition(kind, key, rule, asset, number, series, at_ns, at_ns, 2.0, 1.0, {})
        self.record.follow([step], self.day(day))

    def look(self, day):
        self.record.follow([], self.day(day))

    def last_shown(self):
        return shown_at(self.record.alerts()[-1])

    def shown(self, day, rule, point, asset="H1"):
        """When people were shown an alert of that day that lasted for an hour."""
        self.say(day, "fired", rule, point, asset)
        self.say(day + 1 / 24, "resolved", rule, point, asset)
        key = alert_key(f"elevator.{rule}", asset, point)
        return shown_at([alert for alert in self.record.alerts() if alert.key == key][-1])
