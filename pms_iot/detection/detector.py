"""What a detector is."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pms_iot.feedback.service import Limit
from pms_iot.telemetry.batch import Batch


class Detector(Protocol):
    """Turns samples into scores, which are samples too. Causal: a score depends on nothing later.

    Samples not newer than the last of their series are dropped; bad and NaN ones are masked: they
    change no state and get no score. Memory is bounded by the number of series. Any cut of the
    input into batches gives the same scores, provided that the samples of one asset come in time
    order and those of one instant together (where a detector looks at other points at all).
    """

    def update(self, batch: Batch) -> Batch:
        """The scores of these samples, as samples of derived points. The batch is not changed."""
        ...

    def snapshot(self) -> bytes:
        """All state; the same state gives the same bytes."""
        ...

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot of the same detector over the same or other series; series that the
        snapshot does not know start fresh."""
        ...


@runtime_checkable
class Governed(Protocol):
    """Has a limit for each of its scores, which what people say of the alarms moves.

    series: of the score (or of another point that the same detector makes of the same input); a series
    that is not the detector's own is nothing to it. at_ns: time after whose samples it holds.
    """

    def judged(self, series: int, outcome: str, at_ns: int) -> None:
        """An alarm was looked at; outcome: true_fault | false_alarm | no_fault_found | sensor_fault."""
        ...

    def withdrawn(self, series: int, outcome: str, at_ns: int) -> None:
        """An outcome that it was told of does not hold."""
        ...

    def accept(self, series: int, at_ns: int) -> None:
        """The present level is normal: it is to be learned fast."""
        ...

    def limits(self) -> Mapping[int, Limit]:
        """The present limit of each score, by its series."""
        ...
