"""What every transfer has: a journal, somebody who watches, a limit of speed, and a tally at the end."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.transfer.journal import Journal
from pms_iot.telemetry.transfer.reading import Malformed, Name

LISTED = 20  # of each kind of problem; all are counted


class Progress(Protocol):
    """Who watches. Units are whatever the transfer counts its way in: chunks, bytes."""

    def begin(self, total: int, done: int) -> None: ...

    def advance(self, units: int, samples: int) -> None: ...


class Pace:
    """Holds a transfer to so many samples per second, 0 = as fast as it goes."""

    def __init__(
        self,
        samples_per_s: float,
        *,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = samples_per_s
        self._pause = pause
        self._monotonic = monotonic
        self._free_s = monotonic()

    def spend(self, samples: int) -> None:
        if not self._rate:
            return
        now = self._monotonic()
        self._free_s = max(self._free_s + samples / self._rate, now)
        self._pause(self._free_s - now)


@dataclass(frozen=True, slots=True)
class Run:
    """How a transfer is run. `verify`: compare both sides."""

    journal: Journal
    progress: Progress
    pace: Pace
    verify: bool


@dataclass
class Tally:
    """What became of the samples; survives an interruption in the journal."""

    samples: int = 0
    unknown: Counter[Name] = field(default_factory=Counter[Name])
    malformed: int = 0
    malformed_listed: list[str] = field(default_factory=list[str])
    differing: int = 0
    differing_listed: list[str] = field(default_factory=list[str])
    oldest_ns: int | None = None

    def add(self, batch: Batch) -> None:
        self.samples += len(batch)
        if len(batch):
            oldest = int(batch.at.min())
            self.oldest_ns = oldest if self.oldest_ns is None else min(self.oldest_ns, oldest)

    def refuse(self, place: object, malformed: Malformed) -> None:
        self.malformed += 1
        if len(self.malformed_listed) < LISTED:
            self.malformed_listed.append(f"{place}:{malformed.line}: {malformed.problem}")

    def differ(self, what: str) -> None:
        self.differing += 1
        if len(self.differing_listed) < LISTED:
            self.differing_listed.append(what)

    def to_json(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "unknown": [[*name, count] for name, count in self.unknown.items()],
            "malformed": self.malformed,
            "malformed_listed": self.malformed_listed,
            "differing": self.differing,
            "differing_listed": self.differing_listed,
            "oldest_ns": self.oldest_ns,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any] | None) -> "Tally":
        if saved is None:
            return cls()
        fields: dict[str, Any] = dict(saved)
        fields["unknown"] = Counter({(site, a, p): n for site, a, p, n in saved["unknown"]})
        return cls(**fields)
