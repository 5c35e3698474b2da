"""`pms-edge doctor` against real devices on TCP and on a serial port, and beside a running agent."""

import math
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.cli import main
from pms_edge.doctor.guess import ORDERS_32, ORDERS_64, bcd, readings, series, stars
from register_device import ModbusDevice
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parent / "modbus"))
from modbus_peers import pymodbus_port


def on_wire(plain: bytes, order: str) -> bytes:
    return bytes(plain["ABCDEFGH".index(letter)] for letter in order)


@given(st.floats(1, 1e6, width=32), st.sampled_from(ORDERS_32))
def test_a_float_is_found_in_its_order(value, order):
    wire = on_wire(struct.pack(">f", value), order)
    found = {r.order: r for r in readings(wire, ("f32",))}
    assert found[order].value == value and found[order].stars


@given(st.integers(0, 10**7), st.sampled_from(ORDERS_64))
def test_a_64_bit_number_is_found_in_its_order(value, order):
    wire = on_wire(struct.pack(">Q", value), order)
    found = {r.order: r for r in readings(wire, ("u64",))}
    assert found[order].value == value and found[order].stars


@given(st.binary(min_size=8, max_size=8))
def test_no_registers_break_it(wire):
    assert len(list(readings(wire, ("u64", "i64", "f64")))) == 24
    assert len(list(readings(wire[:4], ("u32", "i32", "f32")))) == 12
    assert all(0 < s.plausible <= s.of for s in series(wire, 0))


@pytest.mark.parametrize(
    ("value", "count"),
    [(0.0, 1), (21.5, 2), (math.pi, 1), (1e-41, 0), (4e38, 0), (math.nan, 0), (math.inf, 0)],
)
def test_stars_are_for_sizes_and_few_digits(value, count):
    assert stars(value, "f32") == count


def test_bcd_has_no_digit_above_nine():
    assert bcd(0x1234) == 1234 and bcd(0x123A) is None


def floats(*values: float) -> list[int]:
    """Registers of CDAB floats."""
    return [w for v in values for w in struct.unpack(">2H", struct.pack(">f", v))[::-1]]


@pytest.fixture
def meter():
    device = ModbusDevice({1: {0: [0] * 4, 100: [7, *floats(229.8, 230.4, 231.1, 12.31)]}})
    yield f"127.0.0.1:{device.port}"
    device.close()


def test_read_shows_each_register_and_marks_the_order_that_fits(meter, capsys):
    assert (
        main(["doctor", "read", "--tcp", meter, *["--unit", "1", "--at", "101", "--count", "8"]])
        == 0
    )
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert any(line.split()[:4] == ["101", "102", "40102", "CCCD"] for line in lines)
    assert re.search(r"f32 .* 229\.8 \*\*", printed)
    ranked = [line for line in lines if line.startswith("f32 ")]
    assert ranked[0].startswith("f32 CDAB @ 101: 4/4")
    assert "base: 1" not in printed
    assert max(map(len, lines)) <= 100


def test_read_one_register_off_says_so(meter, capsys):
    assert (
        main(["doctor", "read", "--tcp", meter, *["--unit", "1", "--at", "102", "--count", "7"]])
        == 0
    )
    assert "base: 1" in capsys.readouterr().out


def test_a_refusal_is_told_and_fails(meter, capsys):
    assert (
        main(["doctor", "read", "--tcp", meter, *["--unit", "1", "--at", "300", "--count", "2"]])
        == 1
    )
    assert "exception 2: the unit answers, but has not all" in capsys.readouterr().err


def test_a_unit_that_does_not_answer_in_time_fails(capsys):
    device = ModbusDevice({1: {0: [5]}}, answer=lambda *_: 60.0)
    line = ["--tcp", f"127.0.0.1:{device.port}", "--timeout", "200ms"]
    assert main(["doctor", "read", *line, "--unit", "1", "--at", "0", "--count", "1"]) == 1
    assert "check the unit number" in capsys.readouterr().err
    assert main(["doctor", "scan", *line, "--units", "1"]) == 1
    assert "0 个应答 answered" in capsys.readouterr().out
    device.close()


def test_what_is_wrong_on_the_command_line_is_named(capsys):
    options = ["--unit", "1", "--at", "0"]
    assert main(["doctor", "read", "--tcp", "nowhere", *options]) == 2
    assert "--tcp" in capsys.readouterr().err
    assert main(["doctor", "read", "--rtu", "/dev/null", "--parity", "X", *options]) == 2
    assert "--parity" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "read", "--tcp", "a:1", "--unit", "1", "--at", "70000"])


def test_a_serial_port_is_read_and_scanned(capsys):
    with pymodbus_port() as port:
        line = ["--rtu", port, "--parity", "N"]
        assert main(["doctor", "read", *line, *["--unit", "7", "--at", "4", "--count", "2"]]) == 0
        assert "000D" in capsys.readouterr().out  # 3 * 4 + 1
        assert main(["doctor", "scan", *line, "--units", "7", "--timeout", "2s"]) == 0
        assert "1 个应答 answered" in capsys.readouterr().out
        with serial.Serial(port, exclusive=True):
            assert main(["doctor", "read", *line, "--unit", "7", "--at", "4"]) == 1
        assert "the port is in use" in capsys.readouterr().err


def test_ctrl_c_ends_a_scan_with_what_was_found(tmp_path):
    device = ModbusDevice({1: {0: [5]}, 2: {0: [6]}}, answer=lambda u, _: 60.0 if u == 2 else None)
    command = [sys.executable, "-m", "pms_edge", "doctor", "scan", "--timeout", "50s"]
    command += ["--tcp", f"127.0.0.1:{device.port}", "--units", "1-2"]
    scan = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert scan.stdout
    while "holding 0 = 5" not in scan.stdout.readline():
        assert scan.poll() is None
    scan.send_signal(signal.SIGINT)
    assert "1 个应答 answered so far" in scan.communicate(timeout=20)[0]
    assert scan.returncode == 130
    device.close()


LIFT = {0: [1500, 0b1_0001, 1], 10: [1, 2]}


def lift_on(endpoint: dict) -> dict:
    device = {"id": "EL-01", "profile": "test_lift.v1", "endpoint": "plc", "unit": 1}
    return {"endpoints": {"plc": endpoint}, "devices": [device]}


def write(folder: Path, content: dict) -> str:
    profiles = {"profiles": [str(Path(__file__).parent / "profiles")]}
    with (folder / "g.yaml").open("w") as stream:
        YAML(typ="safe").dump({**profiles, **content}, stream)
    return str(folder / "g.yaml")


def test_bus_measures_load_round_trips_and_the_spool(gateway, tmp_path, capsys):
    device = ModbusDevice({1: LIFT})
    file = write(tmp_path, {**gateway, **lift_on({"tcp": f"127.0.0.1:{device.port}"})})
    assert main(["doctor", "bus", file, "--seconds", "200ms"]) == 0
    printed = capsys.readouterr().out
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("plc")]
    assert row[1] == "25.00"  # 50 ms and 200 ms, a block each
    assert float(row[2].rstrip("%")) > 0 and float(row[3]) <= float(row[4])
    assert re.search(r"spool.db: .* / 64 MB.*outage it can hold: ≥ [0-9.]+ h", printed)
    device.close()


def test_bus_says_that_a_port_is_held_and_how_to_ask_the_agent(gateway, tmp_path, capsys):
    with pymodbus_port() as port, serial.Serial(port, exclusive=True):
        file = write(tmp_path, {**gateway, **lift_on({"rtu": port, "parity": "N"})})
        assert main(["doctor", "bus", file, "--seconds", "200ms"]) == 1
    assert "--agent" in capsys.readouterr().out


def test_bus_asks_the_agent_that_runs(gateway, start_agent, tmp_path, capsys):
    device = ModbusDevice({1: LIFT})
    content = {**gateway, **lift_on({"tcp": f"127.0.0.1:{device.port}"})}
    agent = start_agent(content, {"PMS_CLOCK_FACTOR": "20"})  # health each second
    assert main(["doctor", "bus", write(tmp_path, content), "--agent"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("plc")]
    assert row.split()[1] == "25.00"
    assert agent.stop() == 0
    device.close()
