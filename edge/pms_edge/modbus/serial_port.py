"""A serial port as an asyncio transport; opened and set by pyserial."""

import asyncio
import errno
import os
import termios
from contextlib import suppress
from typing import NamedTuple

import serial
from serial.rs485 import RS485Settings

from pms_edge.modbus.errors import NoReplyError
from pms_edge.modbus.rtu import ModbusRtu, RtuConnection

# Start, 8 data bits, parity or second stop bit, stop (serial line guide, 2.5.1).
BITS_PER_CHARACTER = 11
# Above 19200 Bd the guide fixes the silence at 1.75 ms (2.5.1.1).
SHORTEST_GAP_S = 0.00175
READ_SIZE = 4096


class SerialSettings(NamedTuple):
    """`parity` is N, E or O; `gap_s` below 3.5 characters is raised to that."""

    port: str
    baud: int = 9600
    parity: str = "E"
    stop: int = 1
    gap_s: float = 0.0
    rs485: bool = False


def shortest_gap_s(baud: int) -> float:
    return max(3.5 * BITS_PER_CHARACTER / baud, SHORTEST_GAP_S)


def rtu_over_serial(settings: SerialSettings) -> ModbusRtu:
    async def open_line(connection: RtuConnection, timeout_s: float) -> None:
        SerialTransport(settings, connection)

    return ModbusRtu(open_line, gap_s=max(settings.gap_s, shortest_gap_s(settings.baud)))


class SerialTransport(asyncio.Transport):
    """Raises NoReplyError (busy or connect) when the port cannot be opened and locked."""

    def __init__(self, settings: SerialSettings, connection: asyncio.Protocol) -> None:
        super().__init__()
        self._port = _opened(settings)
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._port.fileno(), self._readable)
        connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """A frame fits the kernel's buffer; when it does not, the adapter is stuck."""
        try:
            if os.write(self._port.fileno(), data) == len(data):
                return
            error = OSError(errno.EIO, "the port takes no more bytes")
        except OSError as raised:
            error = raised
        self._lost(error)

    def abort(self) -> None:
        if self._port.is_open:
            self._loop.remove_reader(self._port.fileno())
            with suppress(OSError, termios.error):  # the adapter is gone
                self._port.reset_output_buffer()  # else closing waits until it is sent
            self._port.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._port.fileno(), READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self._connection.data_received(data)
        else:  # hung up: the adapter was pulled out
            self._lost(None)

    def _lost(self, error: OSError | None) -> None:
        self._connection.connection_lost(error)  # which aborts


def _opened(settings: SerialSettings) -> serial.Serial:
    try:
        port = serial.Serial(
            settings.port,
            settings.baud,
            parity=settings.parity,
            stopbits=settings.stop,
            timeout=0,
            exclusive=True,
        )
        if settings.rs485:
            port.rs485_mode = RS485Settings()
    except (OSError, ValueError, termios.error) as error:
        busy = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EBUSY)
        raise NoReplyError(str(error), "busy" if busy else "connect") from error
    return port
