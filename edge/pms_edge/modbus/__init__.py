"""Our own Modbus client: TCP, RTU on a serial port, RTU over TCP. `RegisterReader` is the seam."""

from pms_edge.modbus.connection import RegisterReader, Traffic
from pms_edge.modbus.errors import ILLEGAL_ADDRESS, Cause, NoReplyError, RefusedError
from pms_edge.modbus.rtu import ModbusRtu, rtu_over_tcp
from pms_edge.modbus.serial_port import SerialSettings, rtu_over_serial
from pms_edge.modbus.tcp import ModbusTcp

__all__ = [
    "ILLEGAL_ADDRESS",
    "Cause",
    "ModbusRtu",
    "ModbusTcp",
    "NoReplyError",
    "RefusedError",
    "RegisterReader",
    "SerialSettings",
    "Traffic",
    "rtu_over_serial",
    "rtu_over_tcp",
]
