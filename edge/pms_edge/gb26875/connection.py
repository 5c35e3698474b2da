"""One TCP connection of a transmission device, or of somebody who is none."""

import asyncio
import time

from pms_edge.counters import Counters
from pms_edge.gb26875.centre import Centre
from pms_edge.gb26875.frames import Damaged, Frame, FrameSplitter
from pms_edge.gb26875.limits import Limits

READ_BYTES = 4096


class Connection:
    """Reads frames one after the other: a device that is not answered yet has to wait."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        centre: Centre,
        *,
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._centre, self._limits, self._counters = centre, limits, counters
        self._splitter = FrameSplitter()
        self._route = self.send  # one object, by which the centre knows this connection
        self._valid_at = time.monotonic()
        self._garbage = 0  # bytes of it when the last valid frame came
        self._known = False

    async def serve(self) -> str:
        """Until the peer closes or exceeds a limit; returns why. Raises OSError as the socket does."""
        try:
            return await self._serve()
        finally:
            self._centre.forget(self._route)
            self._writer.transport.abort()
            self._counters.add("gb26875_garbage_bytes", self._splitter.garbage_bytes)
            self._counters.add("gb26875_oversized", self._splitter.oversized)

    def send(self, wire: bytes) -> None:
        """Raises ConnectionError when the peer is gone or does not read what it is sent."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > self._limits.unread_bytes:
            transport.abort()
        if transport.is_closing():
            raise ConnectionError("peer is gone")
        self._writer.write(wire)

    async def _serve(self) -> str:
        began = time.monotonic()  # of what may be a frame
        while True:
            now = time.monotonic()
            waiting = self._splitter.waiting
            began = began if waiting else now
            if self._overdue(now):
                return "no valid frame in time"
            if self._splitter.garbage_bytes - self._garbage > self._limits.garbage_bytes:
                return "garbage"
            if waiting and now - began > self._limits.frame_s:
                await self._give_up()
                began = now
                continue
            chunk = await self._read(self._limits.gap_s)
            if chunk == b"":
                return "closed by peer"
            if chunk is None:
                await self._give_up()
            else:
                await self._take(self._splitter.feed(chunk))

    def _overdue(self, now: float) -> bool:
        allowed_s = self._limits.silent_s if self._known else self._limits.stranger_s
        return now - self._valid_at > allowed_s

    async def _read(self, timeout_s: float) -> bytes | None:
        """Some bytes, none at the end of the stream, None when nothing came in time."""
        try:
            return await asyncio.wait_for(self._reader.read(READ_BYTES), timeout_s)
        except TimeoutError:
            return None

    async def _give_up(self) -> None:
        if self._splitter.waiting:
            self._counters.add("gb26875_incomplete")
            await self._take(self._splitter.give_up())

    async def _take(self, found: list[Frame | Damaged]) -> None:
        for item in found:
            if self._centre.knows(item):
                self._known, self._valid_at = True, time.monotonic()
                self._garbage = self._splitter.garbage_bytes
            await self._centre.take(item, self._route)
