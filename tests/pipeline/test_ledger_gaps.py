"""Gaps are named by what gateways, devices and the engine itself have left on record."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from pms_iot.kernel.db import transaction
from pms_iot.telemetry.ledger import outages
from pms_iot.telemetry.ledger.asset import Sources, point_gaps, point_lines, poorest
from pms_iot.telemetry.ledger.days import gateway_days
from pms_iot.telemetry.ledger.promises import read_promises
from tests.pipeline.rig import EPOCH, T0, Rig, ns


class Plant:
    """A pump whose temperature is read every 10 s from T0 + 1 h on; an engine that hears of it or not."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.path = rig, rig.start()
        self.seq, self.at = 0, 3600
        self.connected_ns = rig.clock.now_ns()

    def live(
        self, seconds: int, *, heard: bool = True, value: str | None = "20", ok: bool = True
    ) -> None:
        """Time passes. `value` None: nothing is read. heard False: nothing reaches the engine."""
        for _ in range(seconds // 10):
            self.at += 10
            self.rig.clock.at = T0 + timedelta(seconds=self.at)
            if value is not None and heard:
                self.send([self.at], value)
            if heard:
                self.say("health", at_ns=ns(self.at), spool={"rows": 1}, devices=self.devices(ok))
                self.path.tick(self.connected_ns)

    def devices(self, ok: bool) -> dict[str, object]:
        return {"PU-01": {"ok": ok, "last_good_ns": None, "last_error": "" if ok else "timeout"}}

    def send(self, instants: Iterable[int], value: str, told: str = "", lost: int = 0) -> None:
        self.seq += 1 + lost
        written = [self._line(at, value) for at in instants]
        base = self.seq if lost else 1
        head = f"#pms1 gw=gw-01 epoch={EPOCH} seq={self.seq} n={len(written)} base={base}\n"
        self.path.process(self.rig.received((head + told + "".join(written)).encode()))

    def _line(self, at: int, value: str) -> str:
        head = "pump,site=riverside,asset=PU-01"
        if value == "bad":
            return f'{head} bad="temp",q=0i {ns(at)}\n'
        return f"{head} temp={value},q=192i {ns(at)}\n"

    def say(self, kind: str, **body: object) -> None:
        self.rig.say(self.path, kind, **body)

    def state(self, state: str) -> None:
        self.path.process(self.rig.received(state.encode(), "state"))

    def gaps(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """(from, to, causes) of the temperature, in seconds since the first sample."""
        series = self.path.catalog.lookup("PU-01", "temp") or 0
        sources = Sources(self.rig.core, self.rig.samples, self.path.catalog)
        found = point_gaps(sources, series, ns(0), ns(10**6), self.rig.clock.now())
        return [(self._since(gap.start_ns), self._since(gap.end_ns), gap.causes) for gap in found]

    @staticmethod
    def _since(at_ns: int) -> int:
        return (at_ns - ns(3600)) // 10**9


@pytest.fixture
def plant(rig: Rig) -> Plant:
    plant = Plant(rig)
    plant.live(100)
    return plant


def test_a_stream_without_a_hole_has_no_gaps(plant: Plant) -> None:
    plant.live(300)
    assert plant.gaps() == []


def test_a_device_that_does_not_answer(plant: Plant) -> None:
    plant.live(120, value="bad", ok=False)
    plant.live(120)
    assert plant.gaps() == [(100, 230, ("device",))]


def test_a_device_whose_breaker_is_open_is_known_from_health_alone(plant: Plant) -> None:
    plant.live(120, value=None, ok=False)
    plant.live(120)
    assert plant.gaps() == [(100, 230, ("device",))]
    with transaction(plant.rig.core) as session:
        [row] = outages.between(session, "device", "riverside", "PU-01", T0, T0 + timedelta(days=1))
    assert (row.why, row.end is not None) == ("timeout", True)


def test_a_gateway_without_power_that_the_broker_declares_offline(plant: Plant) -> None:
    plant.rig.clock.advance(15)
    plant.state("offline")
    plant.state("offline")  # retained: told again whenever we subscribe
    plant.live(200, heard=False)
    plant.say("birth", epoch=EPOCH, started_ns=ns(plant.at), devices=[])
    plant.live(100)
    assert plant.gaps() == [(100, 310, ("gateway",))]


def test_a_gateway_that_is_still_silent(plant: Plant) -> None:
    plant.live(300, heard=False)
    plant.path.tick(plant.connected_ns)
    assert plant.gaps() == [(100, 330, ("gateway",))]  # what is younger may still be on its way


def test_a_gateway_that_was_out_of_reach_has_no_gap_once_its_spool_is_read(plant: Plant) -> None:
    plant.live(300, heard=False)
    plant.send(range(plant.at - 290, plant.at + 1, 10), "20")
    plant.live(100)
    assert plant.gaps() == []


def test_what_a_spool_gave_up_is_named_before_the_silence_that_made_it(plant: Plant) -> None:
    since = plant.at
    plant.live(600, heard=False)
    told = f"#gap lane=data from={plant.seq + 1} to={plant.seq + 40} n=40 t0={ns(since + 10)} t1={ns(since + 400)} cause=evicted\n"
    plant.send(range(since + 410, plant.at + 1, 10), "20", told, lost=40)
    plant.live(100)
    assert plant.gaps() == [(100, 510, ("evicted", "gateway"))]


def test_a_loss_whose_time_nobody_knows(plant: Plant) -> None:
    plant.live(100, value=None)
    plant.send([plant.at], "20", "#gap lane=data cause=corrupt\n")
    plant.live(100)
    assert plant.gaps() == [(100, 200, ("corrupt",))]


def test_numbers_that_jump_without_a_word(plant: Plant) -> None:
    plant.live(100, value=None)
    plant.send([plant.at], "20", lost=9)
    plant.live(100)
    assert plant.gaps() == [(100, 200, ("evicted",))]


def test_a_clock_that_stepped_forward(plant: Plant) -> None:
    plant.at += 200  # the gateway's clock; nothing was left out in truth
    step = f"gateway,site=riverside,asset=gw-01 clock_step_s=200,clock_uncertain=0,q=192i {ns(plant.at)}\n"
    head = f"#pms1 gw=gw-01 epoch={EPOCH} seq=1 n=2 base=1\n"
    plant.rig.clock.at = T0 + timedelta(seconds=plant.at)
    plant.path.process(plant.rig.received((head + step).encode(), "event"))
    plant.live(100)
    [(start, end, causes)] = plant.gaps()
    assert (start, end, causes[0]) == (100, 310, "clock")


def test_an_engine_that_was_not_there(plant: Plant) -> None:
    """Of a publisher that keeps nothing: what it said meanwhile is lost."""
    plant.live(300, heard=False)
    plant.path = plant.rig.start()
    plant.connected_ns = plant.rig.clock.now_ns()
    plant.path.tick(None)
    plant.path.tick(plant.connected_ns)
    with transaction(plant.rig.core) as session:
        [row] = outages.between(session, "engine", "", "", T0, T0 + timedelta(days=1))
    assert (row.start, row.end, row.why) == (
        T0 + timedelta(seconds=3700),
        T0 + timedelta(seconds=4000),
        "stopped",
    )
    plant.live(100)
    [(start, end, causes)] = plant.gaps()
    assert (start, end) == (100, 410)
    assert causes == ("engine",)


def test_a_broker_that_was_away_is_the_engines_outage(plant: Plant) -> None:
    plant.path.tick(None)
    plant.live(100, heard=False)
    plant.connected_ns = plant.rig.clock.now_ns()
    plant.live(100)
    with transaction(plant.rig.core) as session:
        [row] = outages.between(session, "engine", "", "", T0, T0 + timedelta(days=1))
    assert row.why == "broker"


def test_a_store_that_was_away_is_the_engines_outage(plant: Plant) -> None:
    plant.path.wait()
    plant.path.tick(plant.connected_ns)
    plant.live(100, heard=False)
    plant.path.resume()
    plant.live(100)
    with transaction(plant.rig.core) as session:
        [row] = outages.between(session, "engine", "", "", T0, T0 + timedelta(days=1))
    assert row.why == "store"


def test_a_gap_that_nothing_explains(plant: Plant) -> None:
    plant.live(100, value=None)
    plant.live(100)
    assert plant.gaps() == [(100, 210, ("unknown",))]


def test_the_points_of_an_asset_are_compared_with_their_periods(plant: Plant) -> None:
    plant.live(100, value=None)
    plant.live(100)
    sources = Sources(plant.rig.core, plant.rig.samples, plant.path.catalog)
    lines = point_lines(sources, "PU-01", ns(0), ns(10**6), plant.rig.clock.now())
    by_point = {line.info.point: line for line in lines}
    assert {"temp", "head", "level", "smoke", "run"} == by_point.keys()
    assert by_point["head"].complete is None
    temp = by_point["temp"]
    assert temp.complete is not None
    # From the first sample to what may have come by now: 290 s less 70 s.
    assert (temp.complete.expected, temp.complete.stored) == (22, 12)
    assert poorest(lines) is temp


def test_a_gateway_knows_better_than_the_register_what_to_expect(plant: Plant) -> None:
    """Its pump has a temperature that is sent by exception, every 50 s at least, and a head that no one reads."""
    plant.send([plant.at], "20")
    profiles = {"mine.v1": {"temp": 50.0, "level": 10}}
    plant.say(
        "birth",
        epoch=EPOCH,
        devices=[{"id": "PU-01", "profile": "mine.v1"}, "nonsense"],
        profiles=profiles,
    )
    plant.live(110, value=None)
    plant.live(100)
    assert plant.gaps() == []  # 120 s are less than three times 50
    sources = Sources(plant.rig.core, plant.rig.samples, plant.path.catalog)
    lines = point_lines(sources, "PU-01", ns(0), ns(10**6), plant.rig.clock.now())
    periods = {line.info.point: line.info.period_s for line in lines}
    assert periods == {"temp": 50.0, "level": 10.0, "head": None, "smoke": None, "run": None}
    with transaction(plant.rig.core) as session:
        until = plant.rig.clock.now()
        [day] = gateway_days(session, plant.path.catalog, T0, T0 + timedelta(days=1), until)
    assert day.expected == pytest.approx((plant.at - 3610 - 110) / 50)


@pytest.mark.parametrize("profiles", [{"mine.v1": {"temp": "often"}}, {"mine.v1": []}, {}])
def test_a_promise_that_cannot_be_understood_is_none(
    plant: Plant, profiles: dict[str, object]
) -> None:
    devices = [{"id": "PU-01", "profile": "mine.v1"}]
    plant.say("birth", epoch=EPOCH, devices=devices, profiles=profiles)
    with transaction(plant.rig.core) as session:
        assert not any(read_promises(session).values())
