"""Modbus RTU on a serial line or through a serial server.

RTU replies carry no number: a late reply to an earlier request of the same unit, function and size
looks exactly like the answer to this one. So after anything but a clean answer the line stays
quiet for as long as a reply could still be on its way, and what comes meanwhile is thrown away.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from pms_edge.gateway_file import Address
from pms_edge.modbus.connection import Client, Connection, Traffic, connect_tcp
from pms_edge.modbus.errors import NoReplyError, RefusedError
from pms_edge.modbus.frames import cut_short, rtu_frame, take_rtu
from pms_edge.modbus.pdu import Request, answer_of

MAX_SILENT = 2  # time-outs in a row without a byte, then the line is opened afresh
REPLIES_KEPT = 100  # the slowest of the last 100 is their p99
SAFETY = 2.0  # the quiet lasts this many times the slowest reply
MAX_QUIET_S = 10.0
# Another unit's late reply is told by its unit; only the same unit's can be taken for an answer.
SAME_UNIT_QUIET_S = 1.0
OPENING_QUIET_S = 0.5
MAX_NOISE_S = 2.0  # a line that babbles longer than this after its quiet is given up for now


class RtuConnection(Connection):
    """`replies_s` takes how long each reply took, late ones too."""

    def __init__(self, traffic: Traffic, replies_s: deque[float]) -> None:
        super().__init__(traffic)
        self.heard_at = 0.0
        self._replies_s = replies_s
        self._silent = 0
        self._owed = False  # a reply that may still come

    @property
    def usable(self) -> bool:
        return self._transport is not None and self._silent < MAX_SILENT

    async def ask(self, request: Request, timeout_s: float) -> bytes:
        self._received, self._owed = b"", True
        return await self._exchange(request, rtu_frame(request.body), timeout_s)

    def data_received(self, data: bytes) -> None:
        self._silent, self.heard_at = 0, time.monotonic()
        if self._request is None or self._answer is None or self._answer.done():
            self._stray()
            return
        self._received += data
        try:
            body = take_rtu(self._request, self._received)
            if body is not None:
                self._answered(self._request, body)
        except (NoReplyError, RefusedError) as error:
            self._fail(error)

    def _answered(self, request: Request, body: bytes) -> None:
        self._succeed(answer_of(request, body))
        self._replies_s.append(self._traffic.rtt_s)
        self._owed = False

    def _stray(self) -> None:
        self._traffic.late += 1
        if self._owed:
            self._replies_s.append(self.heard_at - self._sent_at)
            self._owed = False

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

    `gap_s`: silence before each request, at least 3.5 characters (serial line guide, 2.5.1.1).
    """

    def __init__(self, open_line: OpenLine, *, gap_s: float) -> None:
        super().__init__()
        self._open_line, self._gap_s = open_line, gap_s
        self._connection: RtuConnection | None = None
        self._replies_s: deque[float] = deque(maxlen=REPLIES_KEPT)
        self._quiet_until = 0.0
        self._suspect_until: dict[int, float] = {}  # by unit

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    async def _ask(self, request: Request, timeout_s: float) -> bytes:
        unit = request.body[0]
        connection = await self._opened(timeout_s)
        await self._wait_for_quiet(connection, unit)
        clean = False
        try:
            answer = await connection.ask(request, timeout_s)
            clean = True
        except RefusedError:
            clean = True
            raise
        finally:  # cancelled in mid-request as well
            if not clean:
                self._quieten(timeout_s)
                self._suspect_until[unit] = time.monotonic() + SAME_UNIT_QUIET_S
        return answer

    async def _opened(self, timeout_s: float) -> RtuConnection:
        if self._connection is None or not self._connection.usable:
            self.close()
            connection = RtuConnection(self.traffic, self._replies_s)
            await self._open_line(connection, timeout_s)
            self._connection = connection
            # Replies to whoever had the line before, ourselves before a restart perhaps.
            self._quiet_until = max(self._quiet_until, time.monotonic() + OPENING_QUIET_S)
        return self._connection

    def _quieten(self, timeout_s: float) -> None:
        slowest_s = max(self._replies_s, default=0.0)
        quiet_s = min(max(timeout_s, SAFETY * slowest_s), MAX_QUIET_S)
        self._quiet_until = time.monotonic() + quiet_s

    async def _wait_for_quiet(self, connection: RtuConnection, unit: int) -> None:
        quiet_until = max(self._quiet_until, self._suspect_until.get(unit, 0.0))
        give_up_at = max(quiet_until, time.monotonic()) + MAX_NOISE_S
        while True:
            # Twice through the loop: what the kernel already holds is read before it is judged.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            now = time.monotonic()
            left_s = max(quiet_until, connection.heard_at + self._gap_s) - now
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
