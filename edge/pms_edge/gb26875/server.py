"""TCP and UDP sockets for transmission devices. One peer cannot disturb the others."""

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from pms_edge.config.gateway_file import Address
from pms_edge.counters import Counters
from pms_edge.gb26875.centre import Centre
from pms_edge.gb26875.connection import Connection
from pms_edge.gb26875.frames import MAX_FRAME_BYTES, FrameSplitter
from pms_edge.gb26875.limits import Limits
from pms_edge.logs import kv

log = logging.getLogger(__name__)

TICK_S, BIND_RETRY_S = 1.0, 1.0


class Listener:
    """`run` listens until cancelled."""

    def __init__(
        self,
        address: Address,
        transport: str,
        centre: Centre,
        *,
        counters: Counters,
        limits: Limits | None = None,
    ) -> None:
        self._address, self._transport = address, transport
        self.centre, self._counters, self._limits = centre, counters, limits or Limits()
        self._hosts: Counter[str] = Counter()
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(self._cancel_all)
            await self._bind(stack)
            while True:
                await asyncio.sleep(TICK_S)
                self.centre.tick()

    def report(self) -> dict[str, Any]:
        """For `health`."""
        return {**self.centre.report(), "connections": len(self._open)}

    async def _bind(self, stack: AsyncExitStack) -> None:
        """Tries until the address is free; devices keep their reports meanwhile."""
        place = f"{self._address.host}:{self._address.port}"
        while True:
            try:
                await self._open_sockets(stack)
            except OSError as error:
                self._counters.complain(log, "gb26875_bind_failures", place=place, error=error)
                await asyncio.sleep(BIND_RETRY_S)
            else:
                log.info("listening for transmission devices", extra=kv(address=place))
                return

    async def _open_sockets(self, stack: AsyncExitStack) -> None:
        async with AsyncExitStack() as opened:
            if self._transport != "udp":
                server = await asyncio.start_server(self._accept, *self._address)
                opened.callback(server.close)
            if self._transport != "tcp":
                opened.callback((await self._listen_udp()).close)
            stack.push_async_exit(opened.pop_all())

    async def _listen_udp(self) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, inbox = await loop.create_datagram_endpoint(
            lambda: _Inbox(self._limits.datagrams, self._counters), local_addr=self._address
        )
        self._keep(loop.create_task(self._datagrams(transport, inbox.queue), name="gb26875 udp"))
        return transport

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str(writer.get_extra_info("peername", ("?",))[0])
        full = self._hosts.total() >= self._limits.connections
        if full or self._hosts[host] >= self._limits.per_host:
            self._counters.complain(log, "gb26875_too_many_connections", place="tcp")
            writer.transport.abort()
            return
        connection = Connection(
            reader, writer, self.centre, limits=self._limits, counters=self._counters
        )
        self._hosts[host] += 1
        self._keep(asyncio.get_running_loop().create_task(self._serve(connection, host)))

    async def _serve(self, connection: Connection, host: str) -> None:
        try:
            reason = await connection.serve()
            log.info("connection closed", extra=kv(peer=host, reason=reason))
        except OSError as error:
            self._counters.add("gb26875_connections_lost")
            log.info("connection lost", extra=kv(peer=host, error=error))
        except Exception:
            self._counters.add("gb26875_crashes")
            log.exception("connection given up", extra=kv(peer=host))
        finally:
            self._hosts[host] -= 1

    async def _datagrams(
        self, transport: asyncio.DatagramTransport, queue: "asyncio.Queue[_Datagram]"
    ) -> None:
        while True:
            body, peer = await queue.get()
            try:
                await self._datagram(transport, body, peer)
            except Exception:
                self._counters.add("gb26875_crashes")
                log.exception("datagram given up", extra=kv(peer=peer[0]))

    async def _datagram(
        self, transport: asyncio.DatagramTransport, body: bytes, peer: "_Peer"
    ) -> None:
        splitter = FrameSplitter()
        for item in splitter.feed(body) + splitter.give_up():
            await self.centre.take(item, lambda wire: transport.sendto(wire, peer))
        self._counters.add("gb26875_garbage_bytes", splitter.garbage_bytes)
        self._counters.add("gb26875_oversized", splitter.oversized)

    def _cancel_all(self) -> None:
        for task in self._open:
            task.cancel()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._open.add(task)
        task.add_done_callback(self._open.discard)


_Peer = tuple[Any, ...]
_Datagram = tuple[bytes, _Peer]


class _Inbox(asyncio.DatagramProtocol):
    """Datagrams in their order; when the queue is full the newest is dropped and counted."""

    def __init__(self, size: int, counters: Counters) -> None:
        self.queue: asyncio.Queue[_Datagram] = asyncio.Queue(size)
        self._counters = counters

    def datagram_received(self, data: bytes, addr: _Peer) -> None:
        try:
            self.queue.put_nowait((data[: 4 * MAX_FRAME_BYTES], addr))
        except asyncio.QueueFull:
            self._counters.add("gb26875_datagrams_dropped")
