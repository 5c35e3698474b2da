"""The whole agent as a process, reading a device on a serial line."""

from modbus_peers import UNIT, pymodbus_serving, served_device
from pty_pair import PtyPair
from pymodbus.server import ModbusSerialServer

TRIPS = 31 * 65536 + 34  # registers 10 and 11 of the served device


def test_a_value_from_a_serial_line_reaches_the_engine(gateway, start_agent, engine):
    cable = PtyPair()
    with pymodbus_serving(lambda: ModbusSerialServer(served_device(), port=cable.theirs)):
        gateway["endpoints"] = {"bus1": {"rtu": cable.ours, "baud": 19200, "parity": "N"}}
        gateway["devices"] = [
            {"id": "EL-01", "profile": "test_lift.v1", "endpoint": "bus1", "unit": UNIT}
        ]
        agent = start_agent(gateway)
        engine.wait(lambda: any(f"trips={TRIPS}" in line for line in engine.lines()))
        assert agent.stop() == 0
    cable.close()
