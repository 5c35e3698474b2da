"""A recording is served row by row, exactly, and its labels become ground truth."""

import json
import struct
from datetime import datetime
from pathlib import Path

import pytest
from pms_simulators.cli import main
from pms_simulators.errors import RecordingError
from pms_simulators.replay import Playback, load_recording
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

SKAB = Path(__file__).parents[3] / "shared" / "data" / "SKAB"
HEADER = (
    "datetime;Accelerometer1RMS;Accelerometer2RMS;Current;Pressure;Temperature;Thermocouple;"
    "Voltage;Volume Flow RateRMS;anomaly;changepoint"
)
START_NS = 1_780_000_000 * 10**9


def small_csv(tmp_path, rows=20):
    lines = [HEADER]
    for n in range(rows):
        values = ";".join(str(round(0.1 * k + n * 1.5, 4)) for k in range(8))
        lines.append(f"2020-03-01 15:44:{n:02d};{values};{1.0 if 8 <= n < 12 else 0.0};0.0")
    path = tmp_path / "run.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def at(elapsed_s):
    """A clock that stands still half a second after `elapsed_s`."""
    import time

    anchor = time.time_ns() - round((elapsed_s + 0.5) * 1e9 * 1000)
    return {
        "PMS_CLOCK_START_NS": str(START_NS),
        "PMS_CLOCK_ANCHOR_NS": str(anchor),
        "PMS_CLOCK_FACTOR": "0.001",
    }


def served_row(address, columns=8):
    with ModbusTcpClient(address[0], port=address[1], timeout=1, retries=0) as client:
        count = 2 * columns + 2
        words = client.read_holding_registers(0, count=count, device_id=address[2]).registers
        beyond = client.read_holding_registers(count, count=1, device_id=address[2])
    assert beyond.exception_code == 2
    packed = struct.pack(f">{count}H", *words)
    *values, row = struct.unpack(f">{columns}fI", packed)
    return values, row


def as_float32(values):
    return [struct.unpack(">f", struct.pack(">f", v))[0] for v in values]


@pytest.mark.parametrize(
    ("elapsed", "options", "row"),
    [
        (0, [], 0),
        (5, [], 5),
        (500, [], 19),
        (5, ["--skip", "3", "--rows", "4"], 6),
        (9, ["--skip", "3", "--rows", "4", "--loop"], 4),
        (30, ["--period", "10s"], 3),
    ],
)
def test_serves_the_row_of_the_simulated_time(start_sim, tmp_path, elapsed, options, row):
    sim = start_sim("replay", small_csv(tmp_path), "--unit", "3", *options, **at(elapsed))
    address = sim.address("run")
    assert address[2] == 3
    values, number = served_row(address)
    assert number == row
    assert values == as_float32([round(0.1 * k + row * 1.5, 4) for k in range(8)])


def test_at_end_stop_closes_the_listener(start_sim, tmp_path, wait):
    sim = start_sim("replay", small_csv(tmp_path), "--at-end", "stop", PMS_CLOCK_FACTOR="20")
    host, port, _ = sim.address("run")

    def refused():
        with ModbusTcpClient(host, port=port, timeout=1, retries=0) as client:
            return not client.connected

    wait(refused, "a closed listener")
    with pytest.raises(ModbusException):
        served_row((host, port, 1))
    assert sim.process.poll() is None


def test_labels_become_one_truth_line_even_after_a_restart(start_sim, tmp_path, wait):
    truth = tmp_path / "truth.jsonl"
    for _ in range(2):
        sim = start_sim("replay", small_csv(tmp_path), "--asset", "WP-01", "--truth", truth,
                        **at(30))  # fmt: skip
        wait(truth.exists, "a truth file")
        assert sim.stop() == 0
    (line,) = truth.read_text().splitlines()
    found = json.loads(line)
    assert (found["asset"], found["fault"], found["kind"]) == ("WP-01", "recorded", "replay")
    onset, end = (datetime.fromisoformat(found[k]).timestamp() for k in ("onset", "end"))
    assert onset == pytest.approx(START_NS / 1e9 + 8)
    assert end == pytest.approx(START_NS / 1e9 + 12)


def test_a_replay_is_a_kind_of_a_scenario(start_sim, tmp_path):
    small_csv(tmp_path)
    path = tmp_path / "s.yaml"
    path.write_text(
        "site: s\nassets:\n"
        "  - {id: WP-01, kind: replay, file: run.csv, skip: 2, rows: 10, period: 2s,"
        " at_end: hold, modbus: {port: 0, unit: 1}}\n"
    )
    sim = start_sim("run", path, **at(8))
    assert served_row(sim.address("WP-01"))[1] == 6


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("t;a;b\nx;1;2\nx;1;oops\n", 3, "b"),
        ("t;a;b\nx;1;2\nx;1\n", 3, "row"),
        ("t;a\n", 1, "rows"),
        ("t;u\nx;y\n", 1, "header"),
    ],
)
def test_a_bad_recording_names_line_and_column(tmp_path, capsys, text, line, key):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(RecordingError) as caught:
        load_recording(path, Playback())
    assert (caught.value.line, caught.value.key) == (line, key)
    assert main(["replay", str(path)]) == 1
    assert f"{path}:{line}: {key}" in capsys.readouterr().err


def test_a_comma_and_an_empty_cell_are_understood(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("time,Volume Flow RateRMS,anomaly\na,1.5,0\nb,,1\n")
    recording = load_recording(path, Playback())
    assert recording.names == ("volume_flow_rate_rms",)
    assert recording.rows[1][0] != recording.rows[1][0]  # NaN: a known gap
    assert recording.labels == (False, True)


@pytest.mark.skipif(not SKAB.is_dir(), reason="recorded SKAB runs are not beside the repository")
def test_a_real_recording_is_served_as_recorded(start_sim, tmp_path):
    file = SKAB / "valve1" / "0.csv"
    line = file.read_text().splitlines()[601].split(";")
    sim = start_sim("replay", file, "--truth", tmp_path / "t.jsonl", **at(600))
    values, row = served_row(sim.address("0"))
    assert row == 600
    assert values == as_float32([float(cell) for cell in line[1:9]])
