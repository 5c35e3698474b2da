"""What a detector is."""

from typing import Protocol

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
