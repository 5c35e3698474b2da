"""A TCP proxy that can stop forwarding without closing: what a dead radio link looks like."""

import asyncio
import contextlib
import threading
from asyncio import StreamReader, StreamWriter


class Proxy:
    """Listens on `port` and forwards to `to`; while stalled, connections are open and mute.

    A connection that tried to speak meanwhile stays mute for ever, as after a lost NAT entry.
    """

    def __init__(self, port: int, to: int) -> None:
        self.port, self._to, self.stalled = port, to, False
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(5)

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    def _run(self) -> None:
        listening = asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._server = self._loop.run_until_complete(listening)
        self._ready.set()
        self._loop.run_forever()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        mute = asyncio.Event()
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = self._loop.create_task(self._pump(source, sink, mute))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: StreamReader, sink: StreamWriter, mute: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.stalled:
                    mute.set()
                if not mute.is_set():
                    sink.write(data)
                    await sink.drain()
        if mute.is_set():
            await asyncio.Event().wait()  # the far side never learns that this one has gone
        sink.close()
