"""The ground truth: each injected fault once, as a JSON line, when it begins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pms_simulators.clock import Clock
from pms_simulators.device import Device
from pms_simulators.faults import Fault


class TruthFile:
    """Appends {asset, kind, fault, onset, end, severity}; what the file already holds is known."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._known = set(_lines(path))

    def record(self, devices: Iterable[Device], t_s: float) -> None:
        """Appends the faults whose onset has come by `t_s`."""
        begun = ((d, f) for d in devices for f in d.faults if f.onset_s <= t_s)
        fresh = [line for d, f in begun if (line := self._line(d, f)) not in self._known]
        if not fresh:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in fresh)
        self._known.update(fresh)

    def _line(self, device: Device, fault: Fault) -> str:
        endless = fault.end_s == float("inf")
        return json.dumps(
            {
                "asset": device.asset,
                "kind": device.kind,
                "fault": fault.name,
                "onset": self._clock.instant(fault.onset_s).isoformat(),
                "end": None if endless else self._clock.instant(fault.end_s).isoformat(),
                "severity": fault.severity,
            }
        )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
