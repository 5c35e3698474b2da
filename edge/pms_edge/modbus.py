"""Reading registers. `RegisterReader` is the seam at which the Modbus client can be swapped."""

import asyncio
import struct
from typing import Protocol

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from pms_edge.gateway_file import Address

ILLEGAL_ADDRESS = 2
# 10 and 11: a gateway saying that the unit behind it did not answer.
GATEWAY_CODES = frozenset({10, 11})


class NoReplyError(Exception):
    """No usable answer: connection refused or lost, time-out, malformed or short reply."""


class RefusedError(Exception):
    """The unit answered with a Modbus exception `code`."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Modbus exception {code}")


class RegisterReader(Protocol):
    async def read(self, unit: int, kind: str, address: int, count: int, timeout_s: float) -> bytes:
        """`count` registers, two bytes each as on the wire, or bits, one byte of 0 or 1 each.

        `address` is the one on the wire, from 0; `kind` is holding, input, coil or discrete. Raises
        NoReplyError or RefusedError, always within `timeout_s`; connects by itself when not connected.
        """
        ...

    def close(self) -> None: ...


class ModbusTcp:
    """RegisterReader over pymodbus; one connection, one request at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: AsyncModbusTcpClient | None = None

    async def read(self, unit: int, kind: str, address: int, count: int, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._connected(timeout_s)
                values = await _request(client, unit, kind, address, count)
        except TimeoutError:
            # A new connection, so that the late reply can never be taken for another answer.
            self.close()
            raise NoReplyError(f"no reply within {timeout_s:g} s") from None
        except (ModbusException, OSError) as error:
            self.close()
            raise NoReplyError(str(error)) from error
        if len(values) < count:
            self.close()
            raise NoReplyError(f"short reply: {len(values)} of {count} registers")
        if kind in ("coil", "discrete"):
            return bytes(values[:count])
        return struct.pack(f">{count}H", *values[:count])

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self, timeout_s: float) -> AsyncModbusTcpClient:
        if self._client is None or not self._client.connected:
            self.close()
            host, port = self._address
            # Our own time-out is the shorter one; no retries, no reconnecting behind our back.
            self._client = AsyncModbusTcpClient(
                host, port=port, timeout=2 * timeout_s, retries=0, reconnect_delay=0
            )
            if not await self._client.connect():
                raise OSError(f"cannot connect to {host}:{port}")
        return self._client


async def _request(
    client: AsyncModbusTcpClient, unit: int, kind: str, address: int, count: int
) -> list[int]:
    if kind == "holding":
        reply = await client.read_holding_registers(address, count=count, device_id=unit)
    elif kind == "input":
        reply = await client.read_input_registers(address, count=count, device_id=unit)
    elif kind == "coil":
        reply = await client.read_coils(address, count=count, device_id=unit)
    else:
        reply = await client.read_discrete_inputs(address, count=count, device_id=unit)
    if reply.isError():
        code = int(reply.exception_code)
        if code in GATEWAY_CODES:
            raise NoReplyError(f"gateway: unit {unit} does not answer (exception {code})")
        raise RefusedError(code)
    if kind in ("coil", "discrete"):
        return [int(bit) for bit in reply.bits]
    return list(reply.registers)
