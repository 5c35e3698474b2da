"""Polling real Modbus TCP servers."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from edge_rig import PROFILE, free_port
from pms_edge.batch import Batcher
from pms_edge.clock import NS, Clock
from pms_edge.config import Device
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.gateway_file import Address
from pms_edge.located import Document
from pms_edge.modbus import ModbusTcp, NoReplyError
from pms_edge.poller import EndpointPoller, Job
from pms_edge.profiles import Profile, load_profile
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

    def __init__(self, port: int, units: dict[str, int], *, timeout_s=0.3, model=None) -> None:
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
            CLASSES,
            timeout_s=timeout_s,
            clock=Clock(1_700_000_000 * NS),
            counters=self.counters,
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


def test_a_late_reply_is_never_taken_for_another_answer(serve):
    registers = {0: list(range(100, 200))}
    slow = {"next": True}

    def answer(_unit: int, address: int):
        if address == 0 and slow.pop("next", None):
            return 0.4
        return None

    device = serve({1: registers}, answer=answer)

    async def read_after_a_late_reply() -> list[bytes]:
        reader = ModbusTcp(Address("127.0.0.1", device.port))
        with pytest.raises(NoReplyError, match="no reply within"):
            await reader.read(1, "holding", 0, 1, 0.2)
        rows = [await reader.read(1, "holding", at, 2, 0.2) for at in range(10, 60)]
        await asyncio.sleep(0.3)  # over the moment at which the late reply is sent
        rows += [await reader.read(1, "holding", at, 2, 0.2) for at in range(10, 60)]
        reader.close()
        return rows

    rows = asyncio.run(read_after_a_late_reply())
    assert rows == 2 * [bytes([0, 100 + at, 0, 101 + at]) for at in range(10, 60)]


def test_a_short_reply_is_no_reply():
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            head = await reader.readexactly(12)
            body = bytes([head[6], head[7], 4, 0, 1, 0, 2])  # two registers whatever was asked
            writer.write(head[:4] + len(body).to_bytes(2, "big") + body)
            await writer.drain()
            await reader.read()
        writer.close()

    async def ask_for_ten() -> None:
        server = await asyncio.start_server(short, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader = ModbusTcp(Address("127.0.0.1", port))
        with pytest.raises(NoReplyError):
            await reader.read(1, "holding", 0, 10, 2)
        reader.close()
        server.close()

    asyncio.run(ask_for_ten())


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


def test_polls_keep_to_the_grid_and_missed_ones_are_counted():
    feed = Rig(1, {"EL-01": 1}).feeds["EL-01"]
    job = Job(feed, feed.device.profile.points, name="fast", period_s=1)
    job.first_due(1_000 * NS)
    first = job.due_ns
    assert 1_000 * NS < first <= 1_001 * NS
    assert job.advance(first + NS // 10) == 0 and job.due_ns == first + NS
    assert job.advance(first + 5 * NS) == 4 and job.due_ns == first + 6 * NS


def test_devices_are_spread_over_the_period():
    feeds = Rig(1, {f"EL-{i:02}": i for i in range(1, 21)}).feeds.values()
    due = set()
    for feed in feeds:
        job = Job(feed, feed.device.profile.points, name="fast", period_s=1)
        job.first_due(0)
        due.add(job.due_ns // (NS // 10))
    assert len(due) >= 6


def test_every_instant_of_a_run_is_later_than_the_one_before(serve):
    device = serve({1: LIFT})
    rig = Rig(device.port, {"EL-01": 1})
    asyncio.run(rig.until(lambda: len(rig.of("EL-01")) > 20))
    instants = [int(line.rsplit(" ", 1)[1]) for line in rig.of("EL-01")]
    assert instants == sorted(set(instants))
    eventually(lambda: device.requests)
