"""Devices as Modbus TCP servers. FC03 only: a write or another function is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from pms_simulators.clock import Clock
from pms_simulators.device import Device
from pms_simulators.errors import ListenError

READ_HOLDING = 3
UNIT_BYTE = 6  # of the MBAP header
CATCH_UP_STEPS = 600  # per request; the background stepper does the rest


class ModbusPort:
    """One listening port with one device per unit id.

    An address beyond a device's registers is answered with exception 2, an unknown unit with
    exception 0x0B, a silent device with nothing. When every device of the port has ended, the
    listener closes.
    """

    def __init__(self, host: str, port: int, units: Mapping[int, Device], clock: Clock) -> None:
        self.host, self.port = host, port
        self._units, self._clock = dict(units), clock
        self._server: ModbusTcpServer | None = None

    async def listen(self) -> None:
        """Starts to answer; `port` then is the real one. Raises ListenError."""
        devices = [self._sim_device(unit, device) for unit, device in self._units.items()]
        server = ModbusTcpServer(
            [*devices, _unknown_unit()],
            address=(self.host, self.port),
            trace_packet=self._silence,
        )
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise ListenError(self.host, self.port) from error
        listener = cast(asyncio.Server, server.transport)
        self.port = cast(int, listener.sockets[0].getsockname()[1])
        self._server = server

    async def close(self) -> None:
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    def _silence(self, sending: bool, packet: bytes) -> bytes:
        """Drops the answers of a device that is silent."""
        if sending and len(packet) > UNIT_BYTE:
            device = self._units.get(packet[UNIT_BYTE])
            if device is not None and device.silent():
                return b""
        return packet

    def _sim_device(self, unit: int, device: Device) -> SimDevice:
        async def refresh(
            function: int,
            start: int,
            address: int,
            count: int,
            registers: list[int],
            written: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            if function != READ_HOLDING:
                return ExcCodes.ILLEGAL_FUNCTION
            device.advance(self._clock.elapsed_s(), CATCH_UP_STEPS)
            device.write_registers(registers)
            return None

        block = SimData(0, values=[0] * device.size, datatype=DataType.REGISTERS)
        return SimDevice(unit, simdata=[block], action=refresh)


def _unknown_unit() -> SimDevice:
    async def refuse(
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        return ExcCodes.GATEWAY_NO_RESPONSE

    # Unit 0 of pymodbus stands for every unit that is not listed.
    everything = SimData(0, count=65536, values=0, datatype=DataType.REGISTERS)
    return SimDevice(0, simdata=[everything], action=refuse)


def group_ports(
    addresses: Sequence[tuple[str, int, int, Device]], clock: Clock
) -> list[tuple[ModbusPort, list[Device]]]:
    """(host, port, unit, device) rows to one server per port; port 0 is never shared."""
    groups: dict[tuple[str, int, int], dict[int, Device]] = {}
    for number, (host, port, unit, device) in enumerate(addresses):
        groups.setdefault((host, port, number if port == 0 else -1), {})[unit] = device
    return [
        (ModbusPort(host, port, units, clock), list(units.values()))
        for (host, port, _), units in groups.items()
    ]
