"""What a Modbus TCP client reads from a real `pms-sim run`, decoded by the domain's own tables."""

import socket

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusIOException

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, NO_RESPONSE = 1, 2, 0x0B

# Transcribed from domain reference 1.4: address, key, type, scale. `b` is a word of bits.
PUMP_B = "0 freq u 0.01,1 current u 0.1,2 power u 0.01,3 drive_temp i 0.1,4 drive_fault u 1,5 vib_z u 0.01,6 vib_x u 0.01,7 hf_g u 0.001,8 bearing_temp i 0.1,9 starts U 1,11 run_h U 0.1"
PUMP_D = "0 current u 0.1,1 seal_kohm u 1,2 ptc_ohm u 1,3 reverse u 1,4 starts U 1,6 run_h U 0.1,8 cycle_s u 1"
LOOP_E = "0 ma u 1,1 v u 0.1,2 present u 1,3 expected u 1,4 state u 1"


def repeated(table, prefixes, base, stride):
    rows = [row.split() for row in table.split(",")]
    return ",".join(
        f"{base + stride * n + int(at)} {prefix}{key} {kind} {scale}"
        for n, prefix in enumerate(prefixes)
        for at, key, kind, scale in rows
    )


MAPS = {
    "elevator": "0 car_speed i 0.001,1 rated_speed u 0.001,2 dc_bus u 0.1,3 motor_current u 0.1,4 floor i 1,5 position u 0.01,6 load u 0.1,8 mode u 1,9 door_state u 1,10 fault_code u 1,11 fault_level u 1,12 level_err i 1,13 door_open_t u 0.01,14 door_close_t u 0.01,15 door_reopen_h u 1,16 brake_release_ms u 1,17 brake_apply_ms u 1,18 brake_slip u 0.1,19 motor_temp i 0.1,20 mr_temp i 0.1,21 car_vib u 0.1,22 rope_slip u 0.1,23 ups_v u 0.1,24 runs U 1,26 run_hours U 0.1,28 door_cycles U 1,30 rope_bends U 1,32 energy U 0.1,34 rssi i 1",
    "booster_set": "0 outlet_p u 0.001,1 set_p u 0.001,2 inlet_p u 0.001,3 flow u 0.1,4 tank_level u 0.01,6 fault_code u 1,70 v1 u 0.1,71 v2 u 0.1,72 v3 u 0.1,73 i_unbalance u 0.1,74 energy U 0.1,76 volume U 1,78 cl u 0.01,79 turb u 0.01,80 ph u 0.01,81 room_temp i 0.1,82 room_rh i 0.1,"
    + repeated(PUMP_B, ("p1_", "p2_", "p3_"), 10, 20),
    "fire_pump": "0 system_p u 0.001,1 suction_p i 0.001,2 test_flow u 0.1,3 pool_level u 0.01,4 roof_level u 0.01,6 start_source u 1,7 start_time u 0.1,8 i_main u 0.1,9 i_standby u 0.1,10 i_jockey u 0.1,11 jockey_starts_h u 1,12 main_starts U 1,14 run_min U 1,16 v1 u 0.1,17 v2 u 0.1,18 v3 u 0.1,19 diesel_batt_a u 0.1,20 diesel_batt_b u 0.1,21 fuel u 0.1,22 coolant i 0.1,23 vib u 0.01,24 bearing_temp i 0.1,25 room_temp i 0.1,26 days_since_test u 1,27 churn_p u 0.001,28 test_result u 1",
    "drainage_pump": "0 pit_level u 0.01,2 inflow u 0.1," + repeated(PUMP_D, ("p1_", "p2_"), 10, 10),
    "fire_panel": "1 fire_n u 1,2 fault_n u 1,3 disabled_n u 1,4 supervisory_n u 1,5 feedback_n u 1,6 first_loop u 1,7 first_addr u 1,8 first_type u 1,9 last_event u 1,10 mains_v u 0.1,11 batt_v u 0.1,12 batt_ma i 1,13 batt_mohm u 1,14 earth_kohm u 1,15 auto u 1,16 silenced u 1,17 dirty_n u 1,18 utd_state u 1,19 heartbeat_age u 1,20 duty_reply_s u 1,90 hydrant_end_p u 0.001,91 sprinkler_end_p u 0.001,"
    + repeated(LOOP_E, ("loop0_", "loop1_"), 30, 6),
}  # fmt: skip
BITS = {
    "elevator": (7, "run up down door_zone door_closed door_open curtain occupied overload full safety_chain lock_chain brake_open mains intercom alarm_button"),
    "booster_set": (5, "auto remote p1_run p2_run p3_run p1_fault p2_fault p3_fault low_inlet tank_low tank_high overpressure flood mains door"),
    "fire_pump": (5, "auto main_run standby_run jockey_run main_fault standby_fault jockey_fault phase_fault supply_a supply_b remote_start flow_switch pressure_switch suction_valve_open discharge_valve_open test_valve_open"),
    "drainage_pump": (1, "high_float overflow p1_run p2_run p1_fault p2_fault auto mains"),
    "fire_panel": (0, "normal fire fault disabled supervisory started feedback delay mains_fault battery_fault bus_fault manual config_changed reset"),
}  # fmt: skip
LAST = {"elevator": 34, "booster_set": 82, "fire_pump": 28, "drainage_pump": 28, "fire_panel": 579}

SCENARIO = """
site: riverside
seed: 7
assets:
  - {id: A-elevator, kind: elevator, modbus: {port: 0, unit: 1}}
  - {id: A-booster_set, kind: booster_set, modbus: {port: %PORT%, unit: 1}}
  - {id: A-fire_pump, kind: fire_pump, modbus: {port: %PORT%, unit: 2}}
  - {id: A-drainage_pump, kind: drainage_pump, modbus: {port: 0, unit: 9}}
  - {id: A-fire_panel, kind: fire_panel, modbus: {port: 0, unit: 1}}
faults:
  - {asset: A-elevator, fault: entrapment, onset: 10m}
  - {asset: A-fire_panel, fault: fire_alarm, onset: 10m}
  - {asset: A-booster_set, fault: cavitation, onset: 10m, severity: 0.5}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.replace("%PORT%", str(free_port())))
    return path


def client_of(address):
    client = ModbusTcpClient(address[0], port=address[1], timeout=1, retries=0)
    assert client.connect()
    return client


def read_all(address, last):
    with client_of(address) as client:
        words = []
        while len(words) <= last:
            count = min(125, last + 1 - len(words))
            words += client.read_holding_registers(
                len(words), count=count, device_id=address[2]
            ).registers
        return words


def decoded(kind, words):
    found = {}
    for row in MAPS[kind].split(","):
        at, key, code, scale = row.split()
        raw = words[int(at)]
        if code == "U":
            raw = raw << 16 | words[int(at) + 1]
        elif code == "i" and raw >= 0x8000:
            raw -= 0x10000
        found[key] = raw * float(scale)
    at, names = BITS[kind]
    return found | {name: words[at] >> n & 1 for n, name in enumerate(names.split())}


def test_every_kind_serves_its_domain_map(start_sim, still_clock, scenario, make_device):
    """An hour into the scenario each register holds what the same model holds in this process."""
    from pms_simulators.faults import Fault, Step

    faults = {
        "elevator": [Fault("entrapment", 600, float("inf"), 1.0, Step())],
        "fire_panel": [Fault("fire_alarm", 600, float("inf"), 1.0, Step())],
        "booster_set": [Fault("cavitation", 600, float("inf"), 0.5, Step())],
    }
    sim = start_sim("run", scenario, **still_clock(3600))
    for kind, last in LAST.items():
        asset = f"A-{kind}"
        served = decoded(kind, read_all(sim.address(asset), last))
        model = make_device(kind, *faults.get(kind, []), asset=asset)
        model.advance(3600, 10**6)
        assert served == pytest.approx(model.readings()), kind
    points = read_all(sim.address("A-fire_panel"), 579)[100:]
    assert {n: v for n, v in enumerate(points) if v} == {
        17: 1, 18: 1, 240 + 40: 3, 240 + 41: 3, 240 + 42: 3,
    }  # fmt: skip
    assert sim.stop() == 0


def test_what_is_not_in_the_map_is_refused(start_sim, still_clock, scenario):
    sim = start_sim("run", scenario, **still_clock(60))
    for kind, last in LAST.items():
        address = sim.address(f"A-{kind}")
        with client_of(address) as client:
            beyond = client.read_holding_registers(last + 1, count=1, device_id=address[2])
            across = client.read_holding_registers(last, count=2, device_id=address[2])
            write = client.write_register(0, 1, device_id=address[2])
            unknown = client.read_holding_registers(0, count=1, device_id=200)
        assert beyond.exception_code == ILLEGAL_ADDRESS
        assert across.exception_code == ILLEGAL_ADDRESS
        assert write.exception_code == ILLEGAL_FUNCTION
        assert unknown.exception_code == NO_RESPONSE
    shared = sim.address("A-booster_set"), sim.address("A-fire_pump")
    assert shared[0][1] == shared[1][1]


def test_a_device_with_lost_comms_is_silent_and_its_neighbour_is_not(
    start_sim, tmp_path, still_clock
):
    path = tmp_path / "s.yaml"
    port = free_port()
    path.write_text(f"""
site: s
assets:
  - {{id: A, kind: drainage_pump, modbus: {{port: {port}, unit: 1}}}}
  - {{id: B, kind: drainage_pump, modbus: {{port: {port}, unit: 2}}}}
faults:
  - {{asset: A, fault: comms_loss, onset: 0, duration: 1h}}
""")
    sim = start_sim("run", path, **still_clock(60))
    with client_of(sim.address("A")) as client:
        assert client.read_holding_registers(0, count=3, device_id=2).registers
        for address in (0, 5000):  # no answer at all, not even an exception
            with pytest.raises(ModbusIOException):
                client.read_holding_registers(address, count=1, device_id=1)


def test_values_move_with_the_simulated_clock(start_sim, tmp_path, wait):
    path = tmp_path / "s.yaml"
    path.write_text("site: s\nassets:\n  - {id: A, kind: fire_panel, modbus: {port: 0}}\n")
    sim = start_sim("run", path, PMS_CLOCK_FACTOR="600")
    address = sim.address("A")
    with client_of(address) as client:
        ages = set()

        def several():
            ages.add(client.read_holding_registers(19, count=1, device_id=1).registers[0])
            return len(ages) > 5

        wait(several, "a heartbeat age that changes")


def test_a_taken_port_is_an_error_that_names_it(tmp_path, capsys):
    from pms_simulators.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "s.yaml"
        path.write_text(
            f"site: s\nassets:\n  - {{id: A, kind: fire_panel, modbus: {{port: {port}}}}}\n"
        )
        assert main(["run", str(path)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
