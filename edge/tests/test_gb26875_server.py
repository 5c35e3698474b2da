"""The listener inside the agent, with scripted devices on real TCP and UDP sockets."""

import asyncio
import contextlib
import random
import socket
import time
from pathlib import Path

import pytest
from edge_rig import free_port
from pms_edge.batch import Batcher
from pms_edge.clock import Clock
from pms_edge.config.gateway_file import Address
from pms_edge.config.load import Device as Configured
from pms_edge.config.located import Document
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.gb26875.centre import Centre
from pms_edge.gb26875.limits import Limits
from pms_edge.gb26875.profile import load_any_profile
from pms_edge.gb26875.server import Listener
from pms_edge.profiles.profile import shipped_profiles
from tiny_engine import eventually
from transmission_device import (
    ADDRESS,
    FAULT,
    FIRE,
    NORMAL,
    Device,
    component,
    frame,
    system,
)

PROFILE = "fire_panel.gb26875.v1"
OTHER = "0000000000ff"
CONFIRM, DENY = 3, 6
HEAD = "fire_panel,site=riverside,asset=FA-01 "


def fire_gateway(gateway: dict, port: int, **more) -> dict:
    device = {"id": "FA-01", "profile": PROFILE, "endpoint": "fire", "address": ADDRESS}
    return {
        **gateway,
        "profiles": [str(shipped_profiles())],
        "classes": {"fast": "1s", "normal": "5s", "slow": "60s"},
        "endpoints": {"fire": {"gb26875": f"127.0.0.1:{port}"}},
        "devices": [{**device, **more}],
    }


@pytest.fixture
def port(gateway, start_agent) -> int:
    port = free_port()
    start_agent(fire_gateway(gateway, port))
    wait_for_port(port)
    return port


def wait_for_port(port: int) -> None:
    """Until the agent listens, for datagrams too, which it does a moment later."""

    def answers() -> bool:
        with socket.socket() as probe:
            tcp = probe.connect_ex(("127.0.0.1", port)) == 0
        return tcp and f":{port:04X} " in Path("/proc/net/udp").read_text()

    eventually(answers)


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_fire_reaches_the_engine_as_an_event_with_its_address(port, engine, udp):
    device = Device(port, udp=udp)
    assert device.report().command == CONFIRM, "heartbeat"
    answer = device.report(component(FIRE), serial=1)
    assert (answer.command, answer.serial) == (CONFIRM, 1)
    assert answer.target == bytes(reversed(bytes.fromhex(ADDRESS)))
    engine.wait(lambda: any("fire=1," in line for line in engine.lines("event")))
    [fire] = [line for line in engine.lines("event") if "fire=1," in line and "q=192i" in line]
    fields = fire.removeprefix(HEAD).split(" ")[0].split(",")
    assert {"fire=1", "fire_n=1", "first_loop=1", "first_addr=18", "first_type=42"} <= set(fields)
    device.close()


def test_the_clock_is_set_and_the_state_is_read(port, engine):
    device = Device(port)
    device.report()
    clock, read = device.command(90), device.command(61)
    assert (clock.command, len(clock.data), read.command) == (1, 8, 4)
    device.report()
    engine.wait(lambda: any("normal=1," in line for line in engine.lines("event")))
    device.close()


def test_frames_in_pieces_together_and_between_garbage_are_all_taken(port, engine):
    device = Device(port)
    noise = random.Random(1).randbytes(200).replace(b"##", b"..")
    wire = frame(system(NORMAL), serial=1)
    wrong = bytearray(frame(component(FAULT, point=9), serial=8))
    wrong[40] ^= 1
    huge = bytearray(frame(serial=9))
    huge[24:26] = b"\xff\xff"
    device.send(noise + wire[:11])
    device.send(wire[11:] + frame(component(FIRE), serial=2) + bytes(wrong) + bytes(huge))
    device.send(frame(component(FIRE, point=19), serial=3))
    answers = [device.answer() for _ in range(4)]
    assert [(a.serial, a.command) for a in answers] == [
        *((1, CONFIRM), (2, CONFIRM), (8, DENY), (3, CONFIRM)),
    ]
    engine.wait(lambda: any("fire_n=2," in line for line in engine.lines("event")))
    device.close()


def test_what_looks_like_a_frame_does_not_hold_up_the_one_behind_it(port):
    device = Device(port)
    device.send(b"@@" + bytes(22) + b"\0\4\2" + frame(serial=5))
    assert device.answer().serial == 5
    device.close()


def test_a_repetition_is_confirmed_again_without_a_second_event(port, engine):
    device, data = Device(port), component(FIRE)
    assert device.report(data, serial=4).command == CONFIRM
    device.close()
    device = Device(port)  # the device lost the connection and tries again on another
    assert device.report(data, serial=4).command == CONFIRM
    assert device.report(component(FAULT, point=77), serial=5).command == CONFIRM
    engine.wait(lambda: any("fault=1," in line for line in engine.lines("event")))
    assert sum("fire=1," in line for line in engine.lines("event")) == 1
    device.close()


def test_what_was_confirmed_survives_a_kill_of_the_agent(gateway, start_agent, engine, broker):
    broker.kill()  # nothing can leave: only the spool has it
    port = free_port()
    agent = start_agent(fire_gateway(gateway, port))
    wait_for_port(port)
    device = Device(port)
    assert device.report(component(FIRE), serial=1).command == CONFIRM
    agent.kill()
    broker.start()
    start_agent(fire_gateway(gateway, port))
    engine.wait(lambda: any("fire=1," in line for line in engine.lines("event")))
    device.close()


def test_a_silent_device_shows_in_its_points_and_returns(gateway, start_agent, engine):
    port = free_port()
    start_agent(fire_gateway(gateway, port, stale_after="1s"))
    wait_for_port(port)
    device = Device(port)
    device.report(system(NORMAL), serial=1)
    engine.wait(lambda: any("utd_link=0," in line for line in engine.lines("event")))
    engine.wait(lambda: any(",fire," in line and "q=0i" in line for line in engine.lines()))
    device.report(serial=2)
    engine.wait(lambda: sum("utd_link=1," in line for line in engine.lines("event")) >= 2)
    device.close()


class InProcess:
    """The listener alone, so that its limits can be small; commits when the test says so."""

    def __init__(self, **limits) -> None:
        profile = load_any_profile(
            Document(shipped_profiles() / "fire_panel" / "devices" / f"{PROFILE}.yaml")
        )
        assert profile
        self.port, self.counters, self.batches = free_port(), Counters(), []
        self.on_disk = True
        batcher = Batcher(self.batches.append)
        device = Configured("FA-01", "s", profile, "fire", 1, "", (), None, address=ADDRESS)
        self.centre = Centre(
            [DeviceFeed(device, batcher)],
            batcher=batcher,
            settled=lambda: self.on_disk,
            clock=Clock(time.time_ns()),
            counters=self.counters,
        )
        self.listener = Listener(
            Address("127.0.0.1", self.port),
            "both",
            self.centre,
            counters=self.counters,
            limits=Limits(**limits),
        )

    def run(self, script) -> None:
        """`script` in a thread, while the listener serves."""

        async def both() -> None:
            serving = asyncio.create_task(self.listener.run())
            try:
                await asyncio.to_thread(wait_for_port, self.port)
                await asyncio.to_thread(script)
            finally:
                serving.cancel()
                await asyncio.wait([serving])

        asyncio.run(both())


def test_an_unknown_device_is_denied_and_named_in_health():
    rig = InProcess()

    def script() -> None:
        device = Device(rig.port, source=OTHER)
        assert device.report(component(FIRE)).command == DENY
        assert rig.listener.report()["unknown_sources"] == {OTHER: 1}
        assert not rig.batches

    rig.run(script)


def test_nothing_is_confirmed_before_it_is_on_disk():
    rig = InProcess()
    rig.on_disk = False

    def script() -> None:
        device = Device(rig.port)
        device.send(frame(component(FIRE), serial=1))
        eventually(lambda: any(batch.lane == "event" for batch in rig.batches))
        with pytest.raises(TimeoutError):
            device.answer(0.2)
        rig.on_disk = True
        assert device.answer().command == CONFIRM

    rig.run(script)


def test_a_peer_that_sends_byte_by_byte_or_nothing_is_closed_and_disturbs_nobody():
    rig = InProcess(stranger_s=0.5, silent_s=60, gap_s=0.05, frame_s=0.2)

    def script() -> None:
        slow, mute = (socket.create_connection(("127.0.0.1", rig.port), 15) for _ in "ab")
        device = Device(rig.port)
        with pytest.raises(OSError):
            for byte in b"@@" + bytes(22) + b"\0\4" + bytes(1000):
                slow.sendall(bytes([byte]))
                assert device.report().command == CONFIRM
                time.sleep(0.005)
        with contextlib.suppress(ConnectionResetError):
            assert mute.recv(1) == b""
        assert device.report().command == CONFIRM

    rig.run(script)


def test_a_peer_that_sends_only_garbage_is_closed_and_it_is_counted():
    rig = InProcess(garbage_bytes=10_000)

    def script() -> None:
        bad, device = socket.create_connection(("127.0.0.1", rig.port)), Device(rig.port)
        with pytest.raises(OSError):
            for seed in range(1000):
                bad.sendall(random.Random(seed).randbytes(1000))
                assert device.report().command == CONFIRM
        eventually(lambda: rig.counters.get("gb26875_garbage_bytes") > 10_000)

    rig.run(script)


def test_more_connections_than_allowed_are_refused_and_the_others_go_on():
    rig = InProcess(connections=3)

    def script() -> None:
        device = Device(rig.port)
        assert device.report().command == CONFIRM
        others = [Device(rig.port) for _ in range(4)]
        assert others[-1].is_closed_by_peer()
        eventually(lambda: rig.counters.get("gb26875_too_many_connections") >= 1)
        assert device.report().command == CONFIRM
        for other in others:
            other.close()
        eventually(lambda: _answers(rig.port))

    rig.run(script)


def _answers(port: int) -> bool:
    device = Device(port)
    try:
        return device.report().command == CONFIRM
    except (OSError, AssertionError):
        return False
    finally:
        device.close()


def test_a_peer_that_does_not_read_its_answers_is_cut_off():
    rig = InProcess(unread_bytes=1000)

    def script() -> None:
        deaf, device = Device(rig.port, small_window=True), Device(rig.port)
        wire = frame(source=OTHER) * 1000
        with pytest.raises(OSError):
            while True:
                deaf.send(wire)
        assert device.report().command == CONFIRM

    rig.run(script)


def test_a_duty_check_is_asked_when_told():
    rig = InProcess()

    def script() -> None:
        device = Device(rig.port)
        device.report()
        rig.centre.check_duty("FA-01")
        assert device.command(91).command == 1

    rig.run(script)
    with pytest.raises(KeyError):
        rig.centre.check_duty("FA-02")
