"""Polling real Modbus TCP servers."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from edge_rig import PROFILE, free_port
from pms_edge.batch import Batcher
from pms_edge.clock import NS, Clock
from pms_edge.config.gateway_file import Address
from pms_edge.config.load import Device
from pms_edge.config.located import Document
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.modbus import ModbusTcp, NoReplyError
from pms_edge.polling.exclusive import QueueFullError
from pms_edge.polling.poller import EndpointPoller
from pms_edge.profiles.profile import Profile, load_profile
from pymodbus.constants import ExcCodes
from register_device import ModbusDevice
from tiny_engine import eventually

LIFT = {0: [1500, 0b1_0001, 1], 10: [1, 2]}
CLASSES = {"fast": 0.05, "slow": 0.2}


def profile(file: Path = PROFILE) -> Profile:
    loaded = load_profile(Document(file))
    assert loaded
    return loaded


class Rig:
    """A poller of some units of one device, and the lines it has sent."""

    def __init__(
        self, port: int, units: dict[str, int], *, timeout_s=0.3, model=None, classes=CLASSES
    ) -> None:
        self.data, self.events, self.counters = [], [], Counters()
        self.batcher = Batcher(
            lambda batch: (self.events if batch.lane == "event" else self.data).extend(
                batch.body.decode().splitlines()
            )
        )
        devices = [
            Device(name, "s", model or profile(), "plc", unit, "", (), None)
            for name, unit in units.items()
        ]
        self.feeds = {device.id: DeviceFeed(device, self.batcher) for device in devices}
        self.reader = ModbusTcp(Address("127.0.0.1", port))
        self.poller = EndpointPoller(
            self.reader,
            list(self.feeds.values()),
            classes,
            timeout_s=timeout_s,
            clock=Clock(1_700_000_000 * NS),
            counters=self.counters,
            name="plc",
        )

    def of(self, asset: str) -> list[str]:
        self.batcher.flush()
        return [line for line in self.data if f"asset={asset} " in line]

    async def until(self, condition) -> None:
        task = asyncio.create_task(self.poller.run())
        try:
            async with asyncio.timeout(15):
                while not condition():
                    assert not task.done(), task
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def serve():
    started = []

    def start(*args, **more) -> ModbusDevice:
        started.append(ModbusDevice(*args, **more))
        return started[-1]

    yield start
    for device in started:
        device.close()


def test_a_dead_unit_does_not_stop_its_neighbour(serve):
    device = serve({1: LIFT, 9: LIFT}, answer=lambda unit, _: 60.0 if unit == 9 else None)
    rig = Rig(device.port, {"EL-01": 1, "DEAD": 9})
    asyncio.run(rig.until(lambda: len(rig.of("EL-01")) > 20 and rig.of("DEAD")))
    assert rig.of("DEAD") == [rig.of("DEAD")[0]], "a dead device is said to be bad once"
    assert 'bad="speed,run,door,mode,trips",q=0i' in rig.of("DEAD")[0]
    assert not any("q=0i" in line for line in rig.of("EL-01"))
    report = rig.feeds["DEAD"].health.report(0, None)
    assert not report["ok"] and "no reply" in report["last_error"]
    assert report["breaker"] == "open"
    assert rig.feeds["EL-01"].health.report(0, None)["breaker"] == "closed"


def test_seven_healthy_units_keep_their_rate_beside_a_dead_one(serve):
    """In one of three runs: a machine that is busy elsewhere makes polls late too, but not each time."""
    units = dict.fromkeys(range(1, 9), LIFT)
    device = serve(units, answer=lambda unit, _: 60.0 if unit == 8 else None)

    def polled():
        """(polls, late ones) of each healthy unit."""
        assets = {f"EL-{unit}": unit for unit in units}
        rig = Rig(device.port, assets, classes={"fast": 0.2, "slow": 60})
        asyncio.run(
            rig.until(lambda: rig.counters.get("failed_reads") and len(rig.of("EL-1")) >= 25)
        )
        assert rig.feeds["EL-8"].health.report(0, None)["errors"] <= 3
        return [
            (
                sum(f"asset=EL-{unit} " in line for line in rig.data),
                rig.feeds[f"EL-{unit}"].health.report(0, None)["late"],
            )
            for unit in range(1, 8)
        ]

    def keeps_rate(found):
        polls, late = map(sum, zip(*found, strict=True))
        return all(n >= 0.9 * (n + m) for n, m in found) and polls >= 0.95 * (polls + late)

    runs = [polled()]
    while len(runs) < 3 and not keeps_rate(runs[-1]):
        runs.append(polled())
    assert keeps_rate(runs[-1]), runs


def test_a_device_that_comes_back_is_read_again(serve):
    port = free_port()
    rig = Rig(port, {"EL-01": 1})
    started = []

    def back() -> bool:
        if not started and rig.of("EL-01"):
            started.append(serve({1: LIFT}, port=port))
        return any("speed=1.5" in line for line in rig.of("EL-01"))

    asyncio.run(rig.until(back))
    assert sum("q=0i" in line for line in rig.of("EL-01")) == 1


def test_points_outside_the_device_are_bad_and_the_rest_goes_on(serve):
    device = serve({1: {0: [1500, 0b1_0001], 10: [1, 2]}})  # register 2 (mode) does not exist
    rig = Rig(device.port, {"EL-01": 1})
    asyncio.run(rig.until(lambda: sum("speed=" in line for line in rig.of("EL-01")) > 5))
    good = [line for line in rig.of("EL-01") if "speed=" in line]
    assert all("run=1" in line or "door=1" in line or "speed=1.5" in line for line in good)
    assert any("run=1,door=1" in line for line in rig.of("EL-01"))
    assert [line for line in rig.of("EL-01") if "q=0i" in line and 'bad="mode"' in line]
    assert sum("q=0i" in line for line in rig.of("EL-01")) == 1
    assert rig.counters.get("refused_reads") == 1
    asked = [address for _, address, _ in device.requests]
    assert asked.count(2) <= 1, "the bad address is remembered"


def test_a_refusal_other_than_illegal_address_is_said_once_and_rests_nothing(serve):
    def answer(_unit: int, address: int):
        return ExcCodes.DEVICE_FAILURE if address == 10 else None

    device = serve({1: LIFT}, answer=answer)
    rig = Rig(device.port, {"EL-01": 1})
    asyncio.run(rig.until(lambda: rig.counters.get("refused_reads") >= 3))
    assert ['bad="trips"' in line for line in rig.of("EL-01") if "q=0i" in line] == [True]
    assert sum("speed=1.5" in line for line in rig.of("EL-01")) > 5


def test_an_event_point_that_changes_is_also_sent_in_the_event_lane(serve):
    registers = {0: [1500, 0b1_0001, 1], 10: [1, 2]}
    device = serve({1: registers})
    rig = Rig(device.port, {"EL-01": 1})

    def change_once() -> bool:
        if rig.of("EL-01"):
            registers[0][1] = 0b1_0000
        return bool(rig.events)

    asyncio.run(rig.until(change_once))
    assert rig.events[0].startswith("elevator,site=s,asset=EL-01 run=0,q=192i ")
    at_ns = rig.events[0].rsplit(" ", 1)[1]
    assert any(line.endswith(at_ns) and "run=0" in line for line in rig.of("EL-01"))
    assert len(rig.events) == 1, "the first value is no change, and a change is sent once"


def test_every_instant_of_a_run_is_later_than_the_one_before(serve):
    device = serve({1: LIFT})
    rig = Rig(device.port, {"EL-01": 1})
    asyncio.run(rig.until(lambda: len(rig.of("EL-01")) > 20))
    instants = [int(line.rsplit(" ", 1)[1]) for line in rig.of("EL-01")]
    assert instants == sorted(set(instants))
    eventually(lambda: device.requests)


def test_devices_that_share_a_unit_fall_silent_together(serve):
    device = serve({1: LIFT, 9: LIFT}, answer=lambda unit, _: 60.0 if unit == 9 else None)
    rig = Rig(device.port, {"EL-01": 1, "A": 9, "B": 9})
    asyncio.run(rig.until(lambda: rig.of("A") and rig.of("B")))
    assert [sum("q=0i" in line for line in rig.of(name)) for name in ("A", "B")] == [1, 1]
    assert sum(unit == 9 for unit, _, _ in device.requests) == 1, "one of them found out for both"


def test_an_endpoint_that_refuses_connections_is_tried_by_one_request_at_a_time():
    rig = Rig(free_port(), {f"EL-{unit}": unit for unit in range(1, 9)})
    asyncio.run(rig.until(lambda: all(rig.of(name) for name in rig.feeds)))
    assert rig.counters.get("failed_reads") == 1, "the first refusal speaks for every unit"
    assert all(len(rig.of(name)) == 1 and "q=0i" in rig.of(name)[0] for name in rig.feeds)
    assert rig.poller.report()["other_failures"] == {"connect": 1}


def test_a_crash_on_one_device_leaves_its_neighbours_alone(serve, caplog):
    device = serve({1: LIFT, 2: LIFT})
    rig = Rig(device.port, {"EL-01": 1, "ODD": 2})

    class Odd(DeviceFeed):
        def send(self, *_: object) -> None:
            raise RuntimeError("what nobody thought of")

    rig.feeds["ODD"].__class__ = Odd
    asyncio.run(rig.until(lambda: len(rig.of("EL-01")) > 20))
    assert rig.counters.get("device_crashes") > 5
    assert [record.message for record in caplog.records if record.exc_info] == ["poll failed"]
    assert not any("q=0i" in line for line in rig.of("EL-01"))
    assert not rig.feeds["ODD"].health.report(0, None)["ok"]


def test_a_request_goes_before_the_next_poll_and_gives_what_it_read(serve):
    device = serve({1: LIFT}, answer=lambda unit, _: 0.02)
    rig = Rig(device.port, {"EL-01": 1}, classes={"fast": 0.001, "slow": 0.001})

    async def ask() -> list[bytes]:
        polling = asyncio.create_task(rig.poller.run())
        async with asyncio.timeout(15):
            while not rig.of("EL-01"):
                await asyncio.sleep(0.01)
            before = len(device.requests)
            read = [await rig.poller.exclusive(lambda r: r.read(1, "holding", 10, 2, 1.0))]
            read.append(device.requests[before:])
        polling.cancel()
        await asyncio.wait([polling])
        return read

    wire, requests = asyncio.run(ask())
    assert wire == bytes([0, 1, 0, 2])
    assert (1, 10, 2) in requests[:3], "after the request in flight, before a poll that is due"


def test_requests_fail_to_their_caller_and_too_many_are_refused(serve):
    device = serve({1: LIFT})
    rig = Rig(device.port, {"EL-01": 1})

    async def broken(_reader: object) -> None:
        raise NoReplyError("no")

    async def ask() -> list[object]:
        waiting = [asyncio.create_task(rig.poller.exclusive(broken)) for _ in range(17)]
        await asyncio.sleep(0)
        polling = asyncio.create_task(rig.poller.run())
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            while not rig.of("EL-01"):
                await asyncio.sleep(0.01)
        polling.cancel()
        await asyncio.wait([polling])
        return answers

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [NoReplyError] * 16 + [QueueFullError]


def test_an_endpoint_reports_its_round_trips_and_use(serve):
    device = serve({1: LIFT, 9: LIFT}, answer=lambda unit, _: 60.0 if unit == 9 else 0.005)
    rig = Rig(device.port, {"EL-01": 1, "DEAD": 9})
    asyncio.run(rig.until(lambda: len(rig.of("EL-01")) > 20 and rig.of("DEAD")))
    report = rig.poller.report()
    assert 5 <= report["rtt_p50_ms"] <= report["rtt_p99_ms"]
    assert 0 < report["utilisation"] <= 1
    assert report["timeouts"] >= 1 and report["crc_errors"] == 0
    assert report["requests"] >= 20


def test_a_poller_that_stops_answers_those_who_wait(serve):
    device = serve({1: LIFT})
    rig = Rig(device.port, {"EL-01": 1})
    started = asyncio.Event()

    async def never(_reader: object) -> None:
        started.set()
        await asyncio.Event().wait()

    async def ask() -> list[object]:
        waiting = [asyncio.create_task(rig.poller.exclusive(never)) for _ in range(2)]
        polling = asyncio.create_task(rig.poller.run())
        async with asyncio.timeout(15):
            await started.wait()
            polling.cancel()
            return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [NoReplyError] * 2
