"""`doctor scan`: which units answer on a line."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pms_edge.config.gateway_file import Endpoint
from pms_edge.doctor.line import name_of
from pms_edge.modbus import NoReplyError, RefusedError, RegisterReader
from pms_edge.modbus.endpoint import reader_of

NOBODY = frozenset({"timeout", "gateway", "lost"})
NO_LINE = frozenset({"connect", "busy"})


class Found(NamedTuple):
    """A unit that said something on a line, and what."""

    line: str
    unit: int
    rtt_ms: float
    said: str

    def __str__(self) -> str:
        return f"{self.unit:>6}  {self.rtt_ms:>8.1f}  {self.said:<34}  {self.line}"


HEAD = "站号 unit  rtt ms    应答 answer                         线路 line"


async def scan(
    endpoints: Sequence[Endpoint],
    units: Sequence[int],
    timeout_s: float,
    found: Callable[[Found], None],
) -> None:
    """Asks every unit for one register; hands what answers to `found` at once.

    Raises NoReplyError when a line cannot be opened.
    """
    for endpoint in endpoints:
        reader = reader_of(endpoint)
        try:
            for unit in units:
                answer = await _ask(reader, unit, timeout_s)
                if answer:
                    found(Found(name_of(endpoint), unit, *answer))
        finally:
            reader.close()


async def _ask(reader: RegisterReader, unit: int, timeout_s: float) -> tuple[float, str] | None:
    """Round trip in ms and what was said; any answer counts, a refusal as well."""
    began = time.monotonic()
    try:
        wire = await reader.read(unit, "holding", 0, 1, timeout_s)
        return reader.traffic.rtt_s * 1000, f"holding 0 = {int.from_bytes(wire, 'big')}"
    except RefusedError as error:
        return (time.monotonic() - began) * 1000, f"refuses: {error} 有应答，拒绝"
    except NoReplyError as error:
        if error.cause in NO_LINE:
            raise
        if error.cause in NOBODY:
            return None
        return (time.monotonic() - began) * 1000, f"? {error.cause}: {error}"[:34]
