"""What reports of a transmission device become: states, counts, times, commands."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN
from pms_edge.gb26875.device_clock import NS, Now
from pms_edge.gb26875.frames import ANSWER, CONFIRM, DENY, Frame, FrameSplitter
from pms_edge.gb26875.mapping import AnalogKey, AnalogPoint, PanelMap
from pms_edge.gb26875.objects import Component, System
from pms_edge.gb26875.panel import BIT, BUILT_IN, COUNTED, MAX_COMPONENTS, Panel
from pms_edge.gb26875.transmitter import Outcome, Transmitter
from transmission_device import (
    ADDRESS,
    FAULT,
    FIRE,
    NORMAL,
    analog,
    component,
    device_state,
    frame,
    key,
    operation,
    system,
)

T0 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ALARM = System(1, 1)
SMOKE, CALL_POINT = Component(ALARM, 42, 1, 18), Component(ALARM, 23, 2, 5)
PANEL_MAP = PanelMap(
    (ALARM,),
    {
        AnalogKey(99, 1, 1, 5): AnalogPoint("hydrant_end_p", 0.001, 0, 2.5),
        AnalogKey(99, 1, 2, 5): AnalogPoint("sprinkler_end_p", 0.001, 0, 2.5),
    },
)


def known(panel: Panel) -> dict[str, float]:
    return {name: value for name, (value, quality) in panel.values().items() if quality == GOOD}


def test_nothing_is_known_before_the_first_report():
    values = Panel().values()
    assert {quality for _, quality in values.values()} == {BAD}
    assert set(values) < set(BUILT_IN)


def test_a_fire_of_a_component_is_a_fire_of_the_panel_with_its_address():
    panel = Panel()
    panel.component(SMOKE, FIRE, "3层走廊烟感")
    panel.component(CALL_POINT, FIRE)
    found = known(panel)
    assert (found["fire"], found["fire_n"], found["last_event"]) == (1, 2, 1)
    assert (found["first_loop"], found["first_addr"], found["first_type"]) == (1, 18, 42)
    assert panel.first and panel.first.text == "3层走廊烟感"
    assert "fault" not in found, "of faults nothing was said"


def test_a_fire_ends_when_its_components_say_so():
    panel = Panel()
    panel.component(SMOKE, FIRE)
    panel.component(CALL_POINT, FIRE)
    panel.component(SMOKE, NORMAL)
    assert known(panel)["fire"] == 1
    panel.component(CALL_POINT, NORMAL)
    assert (known(panel)["fire"], known(panel)["fire_n"], known(panel)["last_event"]) == (0, 0, 4)
    panel.component(CALL_POINT, FIRE)
    assert known(panel)["first_addr"] == 5, "the first since there was none"


def test_a_state_word_without_fire_does_not_end_the_fire_of_a_component():
    panel = Panel()
    panel.component(SMOKE, FIRE)
    panel.system(ALARM, NORMAL)
    assert (known(panel)["fire"], known(panel)["fire_n"]) == (1, 1)


def test_a_state_word_tells_all_its_bits():
    panel = Panel()
    panel.system(ALARM, BIT["normal"] | BIT["mains_fault"] | BIT["manual"])
    found = known(panel)
    assert (found["normal"], found["mains_fault"], found["manual"], found["fire"]) == (1, 1, 1, 0)
    assert found["fire_n"] == 0


def test_a_fire_that_no_component_reports_leaves_the_count_uncertain():
    panel = Panel()
    panel.system(ALARM, FIRE)
    assert panel.values()["fire"] == (1, GOOD) and panel.values()["fire_n"] == (0, UNCERTAIN)


def test_states_of_several_systems_are_joined():
    panel = Panel()
    panel.system(ALARM, NORMAL)
    panel.system(System(11, 0), FAULT)
    assert (known(panel)["normal"], known(panel)["fault"]) == (0, 1)
    panel.system(System(11, 0), NORMAL)
    assert (known(panel)["normal"], known(panel)["fault"]) == (1, 0)


@pytest.mark.parametrize("by", ["operation", "state bit"])
def test_a_reset_ends_what_latches_and_keeps_faults(by):
    panel = Panel()
    panel.component(SMOKE, FIRE)
    panel.component(CALL_POINT, FAULT)
    panel.system(ALARM, FIRE | FAULT)
    panel.system(ALARM, BIT["reset"] | FAULT) if by == "state bit" else panel.reset(ALARM)
    found = known(panel)
    assert (found["fire"], found["fire_n"], found["fault"], found["fault_n"]) == (0, 0, 1, 1)


def test_a_reset_of_one_system_leaves_the_others():
    panel = Panel()
    panel.component(SMOKE, FIRE)
    panel.reset(System(13, 1))
    assert known(panel)["fire"] == 1


def test_the_table_is_bounded_and_a_fire_always_finds_room():
    panel = Panel()
    for point in range(MAX_COMPONENTS + 10):
        panel.component(Component(ALARM, 42, 1, point), FAULT)
    panel.component(Component(ALARM, 42, 9, 9), FIRE)
    assert known(panel)["fault_n"] == MAX_COMPONENTS - 1
    assert (known(panel)["fire_n"], panel.dropped) == (1, 11)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 0x3FFF)), max_size=30)
)
def test_counts_agree_with_the_last_state_of_each_component(reports):
    panel, last = Panel(), dict[int, int]()
    for kind, point, bits in reports:
        if kind == 0:
            panel.system(ALARM, bits & ~BIT["reset"])
        elif kind == 1:
            panel.device(bits & 0x7F)
        else:
            panel.component(Component(ALARM, 42, 1, point), bits)
            last[point] = bits
    values = panel.values()
    for name, bit in COUNTED.items():
        count = sum(1 for bits in last.values() if bits & bit)
        value, quality = values[name]
        assert quality == BAD or value == count
        bit_value, bit_quality = values[name.removesuffix("_n")]
        assert not count or (bit_value, bit_quality) == (1, GOOD)


class Rig:
    """A device that is on line, with a clock that the test moves."""

    def __init__(self, **options) -> None:
        self.at, self.steady, self.sure, self.serial = T0, 0.0, True, 0
        self.device = Transmitter(ADDRESS, PANEL_MAP, now=self.now, **options)

    @property
    def now(self) -> Now:
        return Now(int(self.at.timestamp() * NS), int(self.steady * NS), self.sure)

    def take(self, data: bytes = b"", *, command: int = 2, sent=None, serial=None) -> Outcome:
        self.serial += 1
        wire = frame(
            data,
            serial=self.serial if serial is None else serial,
            command=command,
            sent=sent or self.at,
        )
        [parsed] = FrameSplitter().feed(wire)
        assert isinstance(parsed, Frame)
        return self.device.take(parsed, self.now)

    def wait(self, seconds: float, *, beat: bool = True) -> list:
        emissions = []
        for _ in range(int(seconds)):
            self.at += timedelta(seconds=1)
            self.steady += 1
            if beat and self.steady % 30 == 0:
                emissions += self.take().emissions
            emissions += self.device.tick(self.now)
        return emissions

    def commands(self, seconds: float) -> list[tuple[float, int, int]]:
        """(when, type, serial) of what is sent in so many seconds; nothing is answered."""
        sent = []
        for _ in range(int(seconds)):
            self.wait(1)
            out = self.device.to_send(self.now)
            sent += [(self.steady, out.data[0], out.serial)] if out else []
        return sent


def events(outcome: Outcome) -> list[dict]:
    return [
        {name: value for name, (value, quality) in e.values.items() if quality == GOOD}
        for e in outcome.emissions
        if e.event
    ]


def test_a_fire_is_an_event_stamped_at_its_arrival_even_when_it_is_the_first_report():
    rig = Rig()
    outcome = rig.take(component(FIRE, at=T0 - timedelta(seconds=20)))
    [_, fire] = events(outcome)
    assert (fire["fire"], fire["fire_n"], fire["first_addr"]) == (1, 1, 18)
    assert outcome.emissions[-1].at_ns == rig.now.ns and outcome.reply == CONFIRM


def test_each_component_of_a_report_is_an_event_of_its_own():
    rig = Rig()
    two = component(FIRE)[2:] + component(FIRE, point=19)[2:]
    outcome = rig.take(b"\2\2" + two)
    assert [e["fire_n"] for e in events(outcome)[1:]] == [1, 2]
    instants = [e.at_ns for e in outcome.emissions if e.event][1:]
    assert instants[0] < instants[1], "two values of a point cannot share an instant"


def test_a_repeated_frame_is_confirmed_again_and_is_no_second_event():
    rig = Rig()
    data = component(FIRE)
    assert len(events(rig.take(data, serial=7))) == 2
    again = rig.take(data, serial=7)
    assert (events(again), again.reply, again.wrong) == ([], CONFIRM, ("repeats",))
    other = rig.take(component(NORMAL), serial=7)
    assert events(other)[0]["fire"] == 0, "the same serial with other content is no repetition"


def test_a_truncated_report_is_denied_and_its_correct_repetition_taken():
    rig = Rig()
    broken = rig.take(component(FIRE)[:-1], serial=3)
    assert (broken.reply, broken.wrong) == (DENY, ("truncated",))
    assert rig.take(component(FIRE), serial=3).reply == CONFIRM


@pytest.mark.parametrize("data", [b"\x80\1\0", b"\x09\1\0"])
def test_types_of_the_vendor_are_confirmed_and_counted(data):
    outcome = Rig().take(data)
    assert (outcome.reply, outcome.wrong) == (CONFIRM, ("unknown_types",))


@pytest.mark.parametrize("command", [1, 4, 7, 200])
def test_commands_that_are_not_a_devices_are_denied(command):
    outcome = Rig().take(command=command)
    assert (outcome.reply, outcome.wrong) == (DENY, ("unknown_commands",))


def test_answers_are_taken_and_not_confirmed():
    outcome = Rig().take(device_state(FIRE), command=ANSWER)
    assert outcome.reply is None and events(outcome)[-1]["fire"] == 1


def test_a_report_kept_back_is_history_and_the_state_now():
    rig = Rig()
    rig.take()
    rig.wait(600, beat=False)
    old = rig.at - timedelta(seconds=400)
    outcome = rig.take(component(FIRE, at=old))
    past, *_ = [e for e in outcome.emissions if "fire" in e.values and e.at_ns < rig.now.ns]
    assert past.at_ns == int(old.timestamp() * NS) and not past.event
    assert past.values["fire"] == (1, GOOD)
    assert events(outcome)[-1]["fire"] == 1 and outcome.emissions[-1].at_ns == rig.now.ns


def test_the_devices_clock_error_is_taken_off():
    rig = Rig()
    rig.take(sent=rig.at + timedelta(seconds=200))  # 200 s ahead
    old = rig.at - timedelta(seconds=100)
    shown = old + timedelta(seconds=200)
    outcome = rig.take(component(FIRE, at=shown), sent=rig.at + timedelta(seconds=200))
    assert int(old.timestamp() * NS) in [e.at_ns for e in outcome.emissions]


def test_an_old_report_of_a_clock_that_is_wrong_counts_from_its_arrival_uncertain():
    rig = Rig()
    wrong = rig.at - timedelta(days=400)
    rig.take(sent=wrong)
    outcome = rig.take(component(FIRE, at=wrong - timedelta(seconds=90)), sent=wrong)
    fire = outcome.emissions[-1]
    assert fire.event and fire.at_ns == rig.now.ns and fire.values["fire"] == (1, UNCERTAIN)


def test_a_fresh_report_of_a_clock_that_is_wrong_is_good():
    rig = Rig()
    wrong = rig.at - timedelta(days=400)
    outcome = rig.take(component(FIRE, at=wrong), sent=wrong)
    assert outcome.emissions[-1].values["fire"] == (1, GOOD)


def test_a_silent_device_is_lost_after_stale_after_and_comes_back():
    rig = Rig(stale_after_s=90.0)
    rig.take(system(NORMAL))
    assert not any(e.event for e in rig.wait(90, beat=False))
    lost = rig.wait(2, beat=False)
    assert [e.values for e in lost if e.event] == [{"utd_link": (0, GOOD)}]
    assert lost[0].values["fire"][1] == BAD and lost[0].values["heartbeat_age"][0] == 91
    ages = [e.values["heartbeat_age"][0] for e in rig.wait(40, beat=False)]
    assert len(ages) == 4 and ages == sorted(ages), "the age goes on"
    back = rig.take()
    assert back.emissions[0].values["fire"] == (0, GOOD)
    assert events(back) == [{"utd_link": 1}]


def test_a_device_that_never_called_has_an_age_and_nothing_else():
    emissions = Rig().wait(20, beat=False)
    assert [set(e.values) for e in emissions] == [{"utd_link", "heartbeat_age"}] * 2


def test_on_line_the_state_is_read_and_the_clock_set_then_once_a_day():
    rig = Rig()
    rig.take()
    first = rig.commands(3)
    assert [kind for _, kind, _ in first] == [90], "one at a time"
    later = [kind for _, kind, _ in rig.commands(122)]
    assert later == [90] * 3 + [81] * 4 + [61] * 4, "unanswered: three repetitions each"
    assert rig.device.report(rig.now)["commands_failed"] == {
        "81": "unanswered", "61": "unanswered", "90": "unanswered",
    }  # fmt: skip
    assert not rig.commands(60)
    rig.wait(86400 - 300)
    assert 90 in [kind for _, kind, _ in rig.commands(180)]


def test_a_gateway_whose_own_clock_is_unsure_sets_no_clock():
    rig = Rig()
    rig.sure = False
    rig.take()
    assert 90 not in [kind for _, kind, _ in rig.commands(200)]
    rig.sure = True
    assert 90 in [kind for _, kind, _ in rig.commands(5)]


def answer_all(rig: Rig, seconds: int) -> list[int]:
    kinds = []
    for _ in range(seconds):
        rig.wait(1)
        sent = rig.device.to_send(rig.now)
        if sent:
            kinds.append(sent.data[0])
            rig.take(command=CONFIRM, serial=sent.serial)
    return kinds


def test_duty_checks_are_asked_periodically_and_the_answer_is_timed():
    rig = Rig(duty_check_every_s=3600.0)
    rig.take()
    assert answer_all(rig, 3590) == [90, 81, 61]
    assert 91 in answer_all(rig, 20)
    rig.wait(30)
    duty = [e for e in events(rig.take(key(32))) if "duty_reply_s" in e]
    assert len(duty) == 1 and 30 <= duty[0]["duty_reply_s"] <= 50
    assert not [e for e in events(rig.take(key(32))) if "duty_reply_s" in e], "nobody asked"


def test_a_duty_check_without_answer_ends_after_ten_minutes():
    rig = Rig()
    rig.take()
    answer_all(rig, 10)
    rig.device.check_duty()
    assert answer_all(rig, 2) == [91]
    late = [e.values["duty_reply_s"] for e in rig.wait(610) if "duty_reply_s" in e.values]
    assert late == [(600, GOOD)]


def test_the_alarm_key_of_the_device_is_a_fire_until_all_clear():
    rig = Rig()
    rig.take(device_state(0))
    assert events(rig.take(key(4)))[-1]["fire"] == 1
    assert events(rig.take(key(8)))[-1]["fire"] == 0


def test_a_reset_at_the_panel_is_an_event():
    rig = Rig()
    rig.take(component(FIRE))
    assert events(rig.take(operation(1)))[-1]["fire"] == 0


def test_analog_values_go_to_the_points_that_the_profile_names():
    rig = Rig()
    rig.take()
    [ours] = rig.take(analog(2500)).emissions
    assert ours.values == {"hydrant_end_p": (0.25, GOOD)} and not ours.event
    [outside] = rig.take(analog(-10, point=2)).emissions
    assert outside.values == {"sprinkler_end_p": (-0.001, UNCERTAIN)}
    assert rig.take(analog(2500, point=3)).emissions == [], "not named: confirmed, not kept"
