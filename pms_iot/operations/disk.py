"""The watch over the disk in its surroundings: its state outlives a restart, and people are told of it once."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from pms_iot.kernel.clock import Clock
from pms_iot.kernel.db import transaction
from pms_iot.kernel.snapshots import load_snapshot, save_snapshot
from pms_iot.kernel.text import Text
from pms_iot.notify import outbox
from pms_iot.telemetry.disk import MB, DiskState, DiskStatus, DiskWatch

_NAME, _VERSION = "disk", "1"
_SUBJECTS = {
    "low": Text("磁盘空间即将用尽", "Disk nearly full"),
    "full": Text("磁盘已到保留空间，暂停接收采样", "Disk reserve reached, samples are not taken"),
}


class DiskTick:
    """Looks at the disk of the data directory; call it every few seconds.

    On entering `low` or `full` one message per channel goes to the outbox, in the transaction that
    records the state, so neither a restart nor an outage of the core store repeats or loses it.
    """

    def __init__(
        self, folder: Path, reserve: int, engine: Engine, channels: Sequence[str], clock: Clock
    ) -> None:
        self._folder, self._engine, self._channels, self._clock = folder, engine, channels, clock
        with transaction(engine) as session:
            known = load_snapshot(session, _NAME, _VERSION) or b"ok"
        self._told = cast(DiskState, known.decode())
        self.watch = DiskWatch(reserve, self._told)

    def __call__(self, at_s: float) -> None:
        """`at_s` is of the monotonic clock."""
        usage = shutil.disk_usage(self._folder)
        status = self.watch.look(usage.free, usage.total, at_s)
        if status.state != self._told:
            self._tell(status)
            self._told = status.state

    def _tell(self, status: DiskStatus) -> None:
        now = self._clock.now()
        with transaction(self._engine) as session:
            save_snapshot(session, _NAME, _VERSION, now, status.state.encode())
            if status.state == "ok" or (status.state == "low" and self._told == "full"):
                return  # it gets better: nothing to hurry for
            outbox.enqueue(
                session,
                self._channels,
                event="disk.low",
                key=f"disk.low:{status.state}:{now.isoformat()}",
                subject=_SUBJECTS[status.state],
                body={
                    "state": status.state,
                    "free_mb": status.free // MB,
                    "reserve_mb": status.reserve // MB,
                    "hours_left": None
                    if status.hours_left is None
                    else round(status.hours_left, 1),
                },
                now=now,
            )
