"""One write to one device: read, compare with what was expected, write once, read back."""

from dataclasses import dataclass, field
from typing import Literal

from pms_edge.decode.encode import decode_one, registers
from pms_edge.modbus import NoReplyError, RefusedError, RegisterReader
from pms_edge.profiles.points import Point

# `unknown`: it was sent, and whether the device did it cannot be said. Never tried again by itself.
Verdict = Literal[
    "done", "expect_mismatch", "no_reply", "device_refused", "read_back_differs", "unknown"
]


@dataclass(slots=True)
class Attempt:
    """`wanted` and `expected` are compared as raw registers. `before` and `after` are what was read."""

    unit: int
    point: Point
    wanted: bytes
    expected: bytes
    timeout_s: float  # of each of the at most three requests
    before: bytes | None = None
    after: bytes | None = None
    sent: bool = False
    detail: str = field(default="")

    async def run(self, reader: RegisterReader) -> Verdict:
        """Raises nothing of the device's."""
        try:
            self.before = await self._read(reader)
        except (NoReplyError, RefusedError) as error:
            self.detail = str(error)
            return "no_reply" if isinstance(error, NoReplyError) else "device_refused"
        if self.before != self.expected:
            return "expect_mismatch"
        try:
            await self._write(reader)
        except RefusedError as error:
            self.detail = str(error)
            return "device_refused"
        except NoReplyError as error:
            self.detail = str(error)
            await self._read_back(reader)
            return "unknown"
        await self._read_back(reader)
        if self.after is None:
            return "unknown"
        return "done" if self.after == self.wanted else "read_back_differs"

    def value(self, wire: bytes | None) -> float | None:
        return None if wire is None else decode_one(self.point, wire)

    async def _read(self, reader: RegisterReader) -> bytes:
        point = self.point
        count = point.end - point.address
        return await reader.read(self.unit, point.kind, point.address, count, self.timeout_s)

    async def _write(self, reader: RegisterReader) -> None:
        point, values = self.point, registers(self.point, self.wanted)
        self.sent = True
        await reader.write(self.unit, point.kind, point.address, values, self.timeout_s)

    async def _read_back(self, reader: RegisterReader) -> None:
        try:
            self.after = await self._read(reader)
        except (NoReplyError, RefusedError) as error:
            self.detail = self.detail or str(error)
