"""The client that an endpoint of the gateway file asks for."""

from pms_edge.config.gateway_file import Endpoint
from pms_edge.modbus.connection import RegisterReader
from pms_edge.modbus.rtu import rtu_over_tcp
from pms_edge.modbus.serial_port import SerialSettings, rtu_over_serial
from pms_edge.modbus.tcp import ModbusTcp


def reader_of(endpoint: Endpoint) -> RegisterReader:
    """Raises ValueError when `endpoint` is not a Modbus one."""
    gap_s = endpoint.gap_ms / 1000
    if endpoint.tcp:
        return ModbusTcp(endpoint.tcp)
    if endpoint.rtu_tcp:
        return rtu_over_tcp(endpoint.rtu_tcp, gap_s=gap_s)
    if endpoint.rtu:
        return rtu_over_serial(
            SerialSettings(
                endpoint.rtu,
                baud=endpoint.baud,
                parity=endpoint.parity,
                stop=endpoint.stop,
                gap_s=gap_s,
                rs485=endpoint.rs485,
            )
        )
    raise ValueError(f"{endpoint.kind} is not Modbus")
