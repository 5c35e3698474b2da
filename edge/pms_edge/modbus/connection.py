"""One open connection with at most one request in flight, and the client that owns it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol, cast

from pms_edge.modbus.errors import NoReplyError, RefusedError
from pms_edge.modbus.pdu import Request, read_request, write_request


class RegisterReader(Protocol):
    """One connection or bus. Requests are sent one at a time, in the order of the calls."""

    traffic: "Traffic"

    async def read(self, unit: int, kind: str, address: int, count: int, timeout_s: float) -> bytes:
        """`count` registers, two bytes each as on the wire, or bits, one byte of 0 or 1 each.

        `address` is the one on the wire, from 0; `kind` is holding, input, coil or discrete. Raises
        NoReplyError or RefusedError, within `timeout_s` of its turn (a serial line also takes the
        quiet that it needs before it); connects by itself when not connected. Raises ValueError for
        what no request can say.
        """
        ...

    async def write(
        self, unit: int, kind: str, address: int, values: Sequence[int], timeout_s: float
    ) -> None:
        """Writes registers (`kind` holding, 0 to 65535) or coils (0 or 1); confirmed by the unit.

        NoReplyError leaves open whether the unit did it. Never repeated by itself.
        """
        ...

    def close(self) -> None: ...


class Traffic:
    """What health tells about one endpoint."""

    __slots__ = ("late", "rtt_s")

    def __init__(self) -> None:
        self.rtt_s = 0.0  # of the last answer, from sending it
        self.late = 0  # replies that nobody waited for any more; never taken for an answer


class Connection(asyncio.Protocol):
    """Bytes in, answers out; subclasses know the framing."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""
        self._sent_at = self._deadline = self._timer_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"connection lost: {exc}" if exc else "closed by the other end")

    def close(self, why: str = "connection closed") -> None:
        transport, self._transport = self._transport, None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if transport:
            transport.abort()
        self._fail(NoReplyError(why, "lost"))

    @property
    def usable(self) -> bool:
        return self._transport is not None

    async def _exchange(self, request: Request, frame: bytes, timeout_s: float) -> bytes:
        """Sends `frame` and waits until `_succeed` or `_fail` is called."""
        if self._transport is None:
            raise NoReplyError("connection closed", "lost")
        self._request, self._answer = request, self._loop.create_future()
        self._sent_at = time.monotonic()
        self._watch(timeout_s)
        self._transport.write(frame)
        try:
            return await self._answer
        finally:
            self._request = self._answer = None

    def _succeed(self, answer: bytes) -> None:
        if self._answer and not self._answer.done():
            self._traffic.rtt_s = time.monotonic() - self._sent_at
            self._answer.set_result(answer)

    def _fail(self, error: NoReplyError | RefusedError) -> None:
        if self._answer and not self._answer.done():
            if isinstance(error, RefusedError):  # an answer as well
                self._traffic.rtt_s = time.monotonic() - self._sent_at
            self._answer.set_exception(error)

    def _time_out(self) -> None:
        self._fail(NoReplyError("no reply in time", "timeout"))

    def _watch(self, timeout_s: float) -> None:
        """One timer for many requests: one for each would cost as much as sending it."""
        self._deadline = self._sent_at + timeout_s
        if self._timer:
            if self._timer_at <= self._deadline:
                return
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_later(timeout_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._answer is None or self._answer.done():
            return
        left_s = self._deadline - time.monotonic()
        if left_s > 0:
            self._timer_at = self._deadline
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._time_out()


class Client:
    """RegisterReader over whatever `_ask` sends its requests through."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._turn = asyncio.Lock()

    async def read(self, unit: int, kind: str, address: int, count: int, timeout_s: float) -> bytes:
        request = read_request(unit, kind, address, count)
        async with self._turn:
            return await self._ask(request, timeout_s)

    async def write(
        self, unit: int, kind: str, address: int, values: Sequence[int], timeout_s: float
    ) -> None:
        request = write_request(unit, kind, address, values)
        async with self._turn:
            await self._ask(request, timeout_s)

    async def _ask(self, request: Request, timeout_s: float) -> bytes:
        raise NotImplementedError


async def connect_tcp(host: str, port: int, connection: Connection, timeout_s: float) -> None:
    """Raises NoReplyError when nobody accepts within `timeout_s`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: connection, host, port)
    except TimeoutError:
        raise NoReplyError(f"{host}:{port} does not accept the connection", "connect") from None
    except OSError as error:
        raise NoReplyError(f"cannot connect to {host}:{port}: {error}", "connect") from error
