"""Modbus TCP. A reply is known by its transaction, so a late one is never taken for another."""

import time

from pms_edge.config.gateway_file import Address
from pms_edge.modbus.connection import Client, Connection, connect_tcp
from pms_edge.modbus.errors import NoReplyError, RefusedError
from pms_edge.modbus.frames import take_tcp, tcp_frame
from pms_edge.modbus.pdu import Request, answer_of

# Time-outs in a row without a byte: the other end may be gone without having said so.
MAX_SILENT = 2


class TcpConnection(Connection):
    _transaction = -1
    _silent = 0

    @property
    def usable(self) -> bool:
        """Not with half a frame left over: it could end as an answer to the next request."""
        return self._transport is not None and not self._received and self._silent < MAX_SILENT

    async def ask(self, transaction: int, request: Request, timeout_s: float) -> bytes:
        self._transaction = transaction
        return await self._exchange(request, tcp_frame(transaction, request.body), timeout_s)

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        self._received = self._received + data if self._received else data
        frames: list[tuple[int, bytes]] = []
        try:
            # All of them first: after a frame that was cut short the next one ends its body, and
            # only what then is left over shows it.
            while frame := take_tcp(self._received):
                transaction, body, self._received = frame
                frames.append((transaction, body))
            for transaction, body in frames:
                self._take(transaction, body)
        except NoReplyError as error:
            self._fail(error)
            self.close()

    def _take(self, transaction: int, body: bytes) -> None:
        """Raises NoReplyError when the other end cannot be trusted any more."""
        if self._request is None or transaction != self._transaction:
            self._traffic.late += 1
            return
        self._transaction = -1  # answered: a second reply is nobody's
        try:
            self._succeed(answer_of(self._request, body))
        except RefusedError as error:
            self._fail(error)

    def _time_out(self) -> None:
        self._silent += 1
        super()._time_out()


class ModbusTcp(Client):
    """One connection, opened when needed and replaced when in doubt."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        self._connection: TcpConnection | None = None
        self._transaction = 0  # goes on over connections: some gateways answer on the next one

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    async def _ask(self, request: Request, timeout_s: float) -> bytes:
        connection = self._connection
        if connection is None or not connection.usable:
            begun = time.monotonic()
            connection = await self._connect(timeout_s)
            timeout_s -= time.monotonic() - begun
        self._transaction = (self._transaction + 1) & 0xFFFF
        return await connection.ask(self._transaction, request, timeout_s)

    async def _connect(self, timeout_s: float) -> TcpConnection:
        self.close()
        connection = TcpConnection(self.traffic)
        await connect_tcp(*self._address, connection, timeout_s)
        self._connection = connection
        return connection
