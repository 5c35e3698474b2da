"""Serial ports that are missing, taken, pulled out or wrongly set."""

import asyncio
import os
import termios
import time
from pathlib import Path

import pytest
import serial
import uvloop
from evil_device import on_a_line, registers_of, rtu_answer
from pms_edge.modbus import NoReplyError, SerialSettings, rtu_over_serial
from pms_edge.modbus.serial_port import shortest_gap_s
from pty_pair import PtyPair


async def cause_of(client, timeout_s: float = 5) -> str:
    with pytest.raises(NoReplyError) as raised:
        await client.read(1, "holding", 0, 1, timeout_s)
    return raised.value.cause


def test_a_port_that_is_not_there_is_told_as_such(tmp_path):
    client = rtu_over_serial(SerialSettings(str(tmp_path / "ttyUSB9")))
    assert asyncio.run(cause_of(client)) == "connect"


def test_a_file_that_is_no_port_is_told_as_such(tmp_path):
    (tmp_path / "ttyUSB9").write_text("")
    client = rtu_over_serial(SerialSettings(str(tmp_path / "ttyUSB9")))
    assert asyncio.run(cause_of(client)) == "connect"


def test_a_port_that_cannot_do_rs485_is_told_as_such():
    async def run() -> None:
        async with on_a_line(lambda n, r: []) as (_, path):
            client = rtu_over_serial(SerialSettings(path, parity="N", rs485=True))
            assert await cause_of(client) == "connect"

    asyncio.run(run())


def test_a_port_that_another_process_holds_is_busy_and_read_once_it_is_free():
    async def run() -> None:
        async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
            client = rtu_over_serial(SerialSettings(path, parity="N"))
            with serial.Serial(path, exclusive=True):
                assert await cause_of(client) == "busy"
            assert await client.read(1, "holding", 9, 2, 5) == registers_of(9, 2)
            client.close()

    asyncio.run(run())


def test_nobody_else_gets_the_port_while_it_is_read():
    async def run() -> None:
        async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
            client = rtu_over_serial(SerialSettings(path, parity="N"))
            await client.read(1, "holding", 9, 2, 5)
            with pytest.raises(serial.SerialException, match="lock"):
                serial.Serial(path, exclusive=True)
            client.close()
            serial.Serial(path, exclusive=True).close()

    asyncio.run(run())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_adapter_pulled_out_is_told_at_once_and_read_again_when_it_is_back(loop, tmp_path):
    port = tmp_path / "ttyUSB0"

    async def run() -> None:
        cable = PtyPair()
        port.symlink_to(cable.ours)
        client = rtu_over_serial(SerialSettings(str(port), parity="N"))
        reading = asyncio.create_task(cause_of(client, 1.5))
        await asyncio.to_thread(os.read, cable.theirs_fd, 8)  # the request is on its way
        cable.close()
        port.unlink()
        assert await reading == "lost"
        assert await cause_of(client) == "connect"
        async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
            port.symlink_to(path)
            assert await client.read(1, "holding", 9, 2, 5) == registers_of(9, 2)
            client.close()

    (asyncio.run if loop == "asyncio" else uvloop.run)(run())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_adapter_pulled_out_between_requests_is_opened_again(loop, tmp_path):
    port = tmp_path / "ttyUSB0"

    async def run() -> None:
        client = rtu_over_serial(SerialSettings(str(port), parity="N"))
        for _ in range(2):
            async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
                port.symlink_to(path)
                assert await client.read(1, "holding", 9, 2, 5) == registers_of(9, 2)
            await asyncio.sleep(0.05)  # the loop sees it
            port.unlink()
        client.close()

    (asyncio.run if loop == "asyncio" else uvloop.run)(run())


def test_what_lay_in_the_port_before_is_no_answer():
    """A reply to whoever had the port before."""

    async def run() -> None:
        def script(number: int, request: bytes):
            return [] if number == 0 else [(0, rtu_answer(request))]

        async with on_a_line(script) as (device, path):
            before = serial.Serial(path)
            device.say(rtu_answer(bytes((1, 3, 0, 0, 0, 2, 0, 0))))
            before.close()
            client = rtu_over_serial(SerialSettings(path, parity="N"))
            assert await cause_of(client, 0.2) == "timeout"
            assert await client.read(1, "holding", 9, 2, 5) == registers_of(9, 2)
            client.close()

    asyncio.run(run())


def test_the_line_is_set_as_the_settings_say():
    async def run() -> None:
        async with on_a_line(lambda n, r: [(0, rtu_answer(r))]) as (_, path):
            client = rtu_over_serial(SerialSettings(path, baud=19200, parity="N", stop=2))
            await client.read(1, "holding", 9, 2, 5)
            with Path(path).open("rb", buffering=0) as line:
                _, _, flags, _, _, speed, _ = termios.tcgetattr(line)
            assert speed == termios.B19200
            assert flags & termios.CSTOPB
            assert not flags & termios.PARENB
            client.close()

    asyncio.run(run())


def test_the_gap_is_three_and_a_half_characters_and_never_below_1750_microseconds():
    assert shortest_gap_s(9600) == pytest.approx(3.5 * 11 / 9600)
    assert shortest_gap_s(115200) == 0.00175


def test_requests_come_no_sooner_than_the_gap_after_the_reply():
    async def run() -> None:
        gaps_s: list[float] = []
        replied_at = 0.0

        def script(number: int, request: bytes):
            nonlocal replied_at
            gaps_s.append(time.monotonic() - replied_at)
            replied_at = time.monotonic()
            return [(0, rtu_answer(request))]

        async with on_a_line(script) as (_, path):
            client = rtu_over_serial(SerialSettings(path, parity="N", gap_s=0.1))
            for _ in range(3):
                await client.read(1, "holding", 9, 2, 5)
            assert min(gaps_s) >= 0.1
            client.close()

    asyncio.run(run())
