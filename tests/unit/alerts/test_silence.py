"""The dead-man: who is silent, by whose clock, and who is not."""

from dataclasses import replace

from pms_iot.alerts.silence import SilenceWatch
from pms_iot.alerts.transition import Firing, Transition
from pms_iot.telemetry.batch import Batch
from tests.unit.alerts.test_machine import HOT
from tests.unit.detection.fleet import T0, FixedCatalog, S, samples

QUIET = replace(HOT, id="k.silent", points=(), condition=None, silent_for_s=60)
LOST = replace(QUIET, id="gateway.silent", kind="gateway", silent_for_s=120)
CATALOG = FixedCatalog(
    [("A", "k", "temp", False), ("B", "k", "temp", False), ("GW", "gateway", "online", False)]
)
A, B = CATALOG.id("A", "temp"), CATALOG.id("B", "temp")


def watch() -> SilenceWatch:
    return SilenceWatch([QUIET, LOST], CATALOG)


def at(seconds: float) -> int:
    return T0 + round(seconds * S)


def both(seconds: float) -> Batch:
    return Batch.concat([samples(A, [seconds], [1]), samples(B, [seconds], [1])])


def said(found: list[Transition]) -> list[tuple[str, str, float]]:
    return [(t.kind, t.asset, (t.at_ns - T0) / S) for t in found]


def test_a_device_is_silent_when_its_gateway_has_moved_on_without_it() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(0))
    dead.heard("GW", samples(B, [60], [1]), now_ns=at(60))
    assert dead.check(at(61), at(0)) == []
    dead.heard("GW", samples(B, [61], [1]), now_ns=at(61))
    assert said(dead.check(at(62), at(0))) == [("fired", "A", 60)]
    assert dead.check(at(63), at(0)) == []
    dead.heard("GW", both(70), now_ns=at(70))
    assert said(dead.check(at(70), at(0))) == [("resolved", "A", 70)]


def test_bad_samples_move_the_stream_but_are_no_sign_of_life() -> None:
    dead = watch()
    dead.heard("GW", samples(A, [0], [1]), now_ns=at(0))
    dead.heard("GW", samples(A, [90], [float("nan")]), now_ns=at(90))
    assert said(dead.check(at(90), at(0))) == [("fired", "A", 60)]


def test_a_late_backlog_marks_nobody_silent() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(7200))
    assert dead.check(at(7201), at(0)) == []


def test_a_gateway_with_an_empty_spool_has_come_as_far_as_its_clock() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(0))
    dead.health("GW", at(100), 5000, now_ns=at(100))
    assert dead.check(at(100), at(0)) == []
    dead.health("GW", at(100), 0, now_ns=at(100))
    assert said(dead.check(at(100), at(0))) == [("fired", "A", 60), ("fired", "B", 60)]


def test_a_lost_gateway_is_one_alert_not_one_for_each_device() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(0))
    assert said(dead.check(at(5000), at(0))) == [("fired", "GW", 120)]
    dead.heard("GW", both(5001), now_ns=at(5001))
    assert said(dead.check(at(5001), at(0))) == [("resolved", "GW", 5001)]


def test_an_engine_that_was_down_marks_nobody_silent() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(0))
    dead.heard(None, samples(A, [0], [1]))
    resumed = watch()
    resumed.restore(dead.snapshot())
    assert resumed.snapshot() == dead.snapshot()
    assert resumed.check(at(90_000), at(89_990)) == []
    assert said(resumed.check(at(90_111), at(89_990))) == [("fired", "GW", 90_110 - 0)]


def test_what_an_agent_did_not_read_before_it_began_says_nothing_of_its_devices() -> None:
    dead = watch()
    dead.heard("GW", both(0), now_ns=at(0))
    dead.started("GW", at(500))
    dead.heard("GW", samples(B, [510], [1]), now_ns=at(510))
    assert dead.check(at(510), at(0)) == []
    dead.heard("GW", samples(B, [561], [1]), now_ns=at(561))
    assert said(dead.check(at(561), at(0))) == [("fired", "A", 560)]


def test_without_a_gateway_the_engines_clock_counts() -> None:
    dead = watch()
    dead.heard(None, samples(A, [0], [1]))
    assert dead.check(at(60), at(0)) == []
    assert said(dead.check(at(61), at(0))) == [("fired", "A", 60)]


def test_who_was_never_heard_of_is_unknown_not_silent() -> None:
    assert watch().check(at(1_000_000), at(0)) == []


def test_alerts_of_the_database_are_taken_over() -> None:
    dead = watch()
    assert dead.adopt([Firing("k.silent|A|", at(0)), Firing("k.old|A|", at(0))]) == ["k.old|A|"]
    dead.heard(None, samples(A, [100], [1]))
    assert said(dead.check(at(101), at(0))) == [("resolved", "A", 100)]
