"""Requests that go before every poll of an endpoint: a write and its read-back."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pms_edge.modbus import NoReplyError, RegisterReader

R = TypeVar("R")

MOST_WAITING = 16
LONGEST_S = 10.0


class QueueFullError(Exception):
    """As many requests as may wait are waiting already."""


class Requests:
    """Waits of callers for the reader; a full queue refuses. Used from one event loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[
            tuple[Callable[[RegisterReader], Awaitable[Any]], asyncio.Future[Any]]
        ] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def add(self, run: Callable[[RegisterReader], Awaitable[R]]) -> R:
        """What `run` returns or raises. Raises QueueFullError at once when too many wait.

        NoReplyError when the poller stops meanwhile: it is open what became of a write.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise QueueFullError(f"{MOST_WAITING} requests are waiting for this endpoint")
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((run, done))
        self._wake()
        return await done

    async def serve(self, reader: RegisterReader) -> None:
        """Runs all that wait, in order, each for 10 s at most."""
        while self._waiting:
            run, done = self._waiting.popleft()
            if done.done():  # its caller has gone
                continue
            try:
                async with asyncio.timeout(LONGEST_S):
                    _settle(done, await run(reader), None)
            except Exception as error:  # noqa: BLE001  # the caller's own, handed to the caller
                _settle(done, None, error)
            except asyncio.CancelledError:
                _settle(done, None, _stopped())
                raise

    def refuse_all(self) -> None:
        while self._waiting:
            _settle(self._waiting.popleft()[1], None, _stopped())


def _stopped() -> NoReplyError:
    return NoReplyError("polling of this endpoint has stopped", "lost")


def _settle(done: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
