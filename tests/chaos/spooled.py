"""What a spool file holds: read with the agent's own reader from a copy that nobody has open."""

from collections.abc import Iterator
from pathlib import Path

from pms_edge.spool.file import LANES, SpoolFile

from pms_iot.telemetry.line import parse_line


def values_in(spool: Path) -> Iterator[tuple[str, str, int, float]]:
    """(asset, point, at, value) of every number that was committed."""
    file = SpoolFile(spool, sync="normal", hard_bytes=1 << 30)
    try:
        bodies = [row.batch.body for lane in LANES for row in file.read(lane, 0, 1 << 62)]
    finally:
        file.close()
    for text in b"".join(bodies).decode().splitlines():
        line = parse_line(text)
        for name, value in line.fields:
            if isinstance(value, float) and name != "q":
                yield line.tags["asset"], name, line.at, value
