"""Modbus RTU on a serial line or through a serial server."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from pms_edge.config.gateway_file import Address
from pms_edge.modbus.connection import Client, Connection, Traffic, connect_tcp
from pms_edge.modbus.errors import NoReplyError, RefusedError
from pms_edge.modbus.frames import cut_short, rtu_frame, take_rtu
from pms_edge.modbus.pdu import Request, answer_of
from pms_edge.modbus.quiet import Quiet

MAX_SILENT = 2  # time-outs in a row without a byte, then the line is opened afresh
MAX_NOISE_S = 2.0  # a line that babbles longer than this after its quiet is given up for now


class RtuConnection(Connection):
    def __init__(self, traffic: Traffic, quiet: Quiet) -> None:
        super().__init__(traffic)
        self._quiet = quiet
        self._silent = 0

    @property
    def usable(self) -> bool:
        return self._transport is not None and self._silent < MAX_SILENT

    async def ask(self, request: Request, timeout_s: float) -> bytes:
        self._received = b""
        self._quiet.sent(time.monotonic())
        return await self._exchange(request, rtu_frame(request.body), timeout_s)

    def data_received(self, data: bytes) -> None:
        now, self._silent = time.monotonic(), 0
        self._quiet.heard(now)
        if self._request is None or self._answer is None or self._answer.done():
            self._traffic.late += 1
            self._quiet.strayed(now)
            return
        self._received += data
        try:
            body = take_rtu(self._request, self._received)
            if body is not None:
                self._succeed(answer_of(self._request, body))
                self._quiet.answered(now)
        except (NoReplyError, RefusedError) as error:
            self._fail(error)

    def _time_out(self) -> None:
        self._silent += not self._received
        try:
            assert self._request
            answer_of(self._request, cut_short(self._received))
        except (NoReplyError, RefusedError) as error:
            self._fail(error)


OpenLine = Callable[[RtuConnection, float], Awaitable[None]]


class ModbusRtu(Client):
    """RTU over whatever `open_line(connection, timeout_s)` connects, or raises NoReplyError.

    `gap_s` is the silence before each request.
    """

    def __init__(self, open_line: OpenLine, *, gap_s: float) -> None:
        super().__init__()
        self._open_line = open_line
        self._connection: RtuConnection | None = None
        self._quiet = Quiet(gap_s)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    async def _ask(self, request: Request, timeout_s: float) -> bytes:
        unit = request.body[0]
        connection = await self._opened(timeout_s)
        await self._wait_for_quiet(unit)
        clean = False
        try:
            answer = await connection.ask(request, timeout_s)
            clean = True
        except RefusedError:
            clean = True
            raise
        finally:  # cancelled in mid-request as well
            if not clean:
                self._quiet.failed(unit, time.monotonic(), timeout_s)
        return answer

    async def _opened(self, timeout_s: float) -> RtuConnection:
        if self._connection is None or not self._connection.usable:
            self.close()
            connection = RtuConnection(self.traffic, self._quiet)
            await self._open_line(connection, timeout_s)
            self._connection = connection
            self._quiet.opened(time.monotonic())
        return self._connection

    async def _wait_for_quiet(self, unit: int) -> None:
        """What comes meanwhile is nobody's."""
        give_up_at = max(self._quiet.over_at(unit), time.monotonic()) + MAX_NOISE_S
        while True:
            # Twice through the loop: what the kernel already holds is read before it is judged.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            now = time.monotonic()
            left_s = self._quiet.over_at(unit) - now
            if left_s <= 0:
                return
            if now > give_up_at:
                raise NoReplyError("the line never falls quiet", "noise")
            await asyncio.sleep(left_s)


def rtu_over_tcp(address: Address, *, gap_s: float = 0.0) -> ModbusRtu:
    """RTU frames through a transparent serial server."""

    async def open_line(connection: RtuConnection, timeout_s: float) -> None:
        await connect_tcp(*address, connection, timeout_s)

    return ModbusRtu(open_line, gap_s=gap_s)
