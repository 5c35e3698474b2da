"""How long the spool can still hold what comes in, from its file opened read-only."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pms_edge.config.load import Config

MB = 1_000_000
PACKED = 0.15  # what packing leaves of a backlog's lines, about


def spool_line(config: Config, rate: float, told_hours: float | None) -> str:
    """`rate` in bytes/s before packing, from the plan; `told_hours` by an agent that runs."""
    settings = config.spool
    used = spooled_bytes(settings.path)
    free = settings.max_mb * MB - (used or 0)
    held = "尚无文件 no file yet" if used is None else f"{used / MB:.2f} MB"
    said = f"缓存 spool {settings.path.name}: {held} / {settings.max_mb:g} MB"
    if told_hours is not None:
        return f"{said}，代理预计还可缓存 the agent foresees {told_hours:.1f} h"
    if rate <= 0:
        return said
    least, likely = free / rate / 3600, free / (rate * PACKED) / 3600
    return (
        f"{said}，断网可再缓存 outage it can hold: ≥ {least:.1f} h, packed 压缩后 ≈ {likely:.0f} h"
        f" (Modbus {rate / 1000:.2f} kB/s)"
    )


def spooled_bytes(path: Path) -> int | None:
    """What waits in the spool; None where there is no readable file."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
            query = "SELECT coalesce(sum(length(blob)), 0) FROM batch"
            return int(db.execute(query).fetchone()[0])
    except sqlite3.Error:
        return None
