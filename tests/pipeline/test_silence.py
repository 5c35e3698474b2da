"""Who is silent, seen from the main path: gateways, devices and engines that stop and start."""

from pms_iot import recovery
from tests.pipeline.rig import T0, Read, Rig, ns

LIVE = 3600.0  # the rig's clock shows an hour after T0
PUMPS = ("PU-01", "PU-02")


def seconds(rig: Rig) -> float:
    return (rig.clock.at - T0).total_seconds()


def both(rig: Rig) -> list[Read]:
    return [(asset, seconds(rig), {"temp": 50.0}) for asset in PUMPS]


def test_an_engine_that_was_down_marks_nobody_silent(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    recovery.save(path)
    rig.clock.advance(7200)
    path = rig.start()
    since = rig.clock.now_ns()
    path.tick(since)
    rig.clock.advance(100)
    path.tick(since)
    rig.send(path, both(rig))  # the gateway catches up
    path.tick(since)
    assert rig.alerts() == []


def test_a_gateway_that_begins_anew_marks_nobody_silent(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    rig.clock.advance(100)
    rig.say(path, "birth", epoch="9f3a1c2b", started_ns=rig.clock.now_ns())
    rig.clock.advance(10)
    rig.send(path, both(rig)[:1])  # the other one is read a little later
    path.tick(ns(0))
    assert rig.alerts() == []
    rig.clock.advance(60)
    rig.send(path, both(rig)[:1])
    path.tick(ns(0))
    assert rig.alerts() == [("pump.silent", "PU-02", "firing")]


def test_a_device_that_stops_behind_a_live_gateway_is_silent_until_it_is_back(rig: Rig) -> None:
    path = rig.start()
    for _ in range(8):
        rig.send(path, both(rig)[: 2 if seconds(rig) == LIVE else 1])
        path.tick(ns(0))
        rig.clock.advance(10)
    assert rig.alerts() == [("pump.silent", "PU-02", "firing")]
    assert rig.rows("select origin from work_order") == [("link:PU-02",)]
    rig.send(path, both(rig))
    path.tick(ns(0))
    assert rig.alerts() == [("pump.silent", "PU-02", "resolved")]


def test_a_gateway_that_is_down_is_exactly_one_alert(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    rig.say(path, "health", at_ns=rig.clock.now_ns(), spool={"rows": 0})
    for _ in range(60):
        rig.clock.advance(10)
        path.tick(ns(0))
    assert rig.alerts() == [("gateway.silent", "gw-01", "firing")]
    rig.send(path, both(rig))
    path.tick(ns(0))
    assert rig.alerts() == [("gateway.silent", "gw-01", "resolved")]
    assert len(rig.rows("select * from work_order")) == 1


def test_a_health_report_that_waited_says_nothing_of_the_time_since(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    said_ns = rig.clock.now_ns()
    rig.clock.advance(600)  # it stood in the queue behind a store that was away
    rig.say(path, "health", at_ns=said_ns, spool={"rows": 0})
    path.tick(ns(0))
    assert rig.alerts() == []


def test_while_a_store_is_away_nobody_is_silent(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    path.wait()
    rig.clock.advance(3600)
    path.tick(ns(0))
    path.resume()
    path.tick(ns(0))
    rig.clock.advance(100)
    path.tick(ns(0))
    assert rig.alerts() == []
    rig.clock.advance(21)
    path.tick(ns(0))
    assert rig.alerts() == [("gateway.silent", "gw-01", "firing")]


def test_a_broker_that_is_away_makes_nobody_silent(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    rig.clock.advance(7200)
    path.tick(None)
    assert rig.alerts() == []


def test_an_agent_whose_clock_is_years_ahead_does_not_switch_the_watch_off(rig: Rig) -> None:
    path = rig.start()
    rig.send(path, both(rig))
    rig.say(path, "birth", epoch="9f3a1c2b", started_ns=ns(10**8))
    rig.clock.advance(59)
    rig.send(path, both(rig)[:1])
    path.tick(ns(0))
    assert rig.alerts() == []
    rig.clock.advance(10)
    rig.send(path, both(rig)[:1])
    path.tick(ns(0))
    assert rig.alerts() == [("pump.silent", "PU-02", "firing")]
