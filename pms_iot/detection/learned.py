"""What the learned detectors share: warm-up in seconds of data, a freeze in alarm, honest weights."""

from abc import abstractmethod

import numpy as np

from pms_iot.detection.columnar import ColumnarDetector, Floats, Mask, Rows, S, Times
from pms_iot.kernel.arrays import Arrays

_FREEZE_S = 86_400.0


class LearnedDetector(ColumnarDetector):
    """A detector that learns what is normal, but not while its score is at `alarm` or above.

    After `freeze` seconds in alarm the new state is taken for normal: the row forgets everything
    and learns from the start, warm-up included. (A day by default: long after somebody was sent.)
    """

    def _fresh(self, size: int) -> Arrays:
        self._alarm = self._param("alarm", 6.0)
        self._freeze_ns = self._param("freeze", _FREEZE_S) * S
        self._warmup_s = np.array([w.spec.warmup_s for w in self._watched])
        quiet_s = np.array([w.spec.quiet_s for w in self._watched])
        self._scores_after_s = np.maximum(self._warmup_s, quiet_s)
        return {
            "last": np.zeros(size, np.int64),
            "count": np.zeros(size),
            "age": np.zeros(size),  # seconds of data
            "frozen": np.zeros(size, np.int64),  # in alarm since; 0 = not
        } | self._blank(size)

    @abstractmethod
    def _blank(self, size: int) -> Arrays:
        """The state that is the detector's own, for so many series before their first sample."""

    @abstractmethod
    def _judge(self, rows: Rows, at: Times, value: Floats) -> Floats:
        """As `_tick`, for rows whose gates are open."""

    def _tick(self, rows: Rows, at: Times, value: Floats, is_open: Mask) -> Floats:
        self._start_over(rows, at)
        scores = np.full((len(rows), self._scores.shape[1]), np.nan)
        scores[:, 0] = 0.0
        if is_open.any():
            scores[is_open] = self._judge(rows[is_open], at[is_open], value[is_open])
        return scores

    def _param(self, name: str, default: float) -> Floats:
        return np.array([w.param(name, default) for w in self._watched])

    def _weight(self, rows: Rows, dt: Floats, tau_s: Floats) -> Floats:
        """1 - exp(-dt/tau), but a plain average until there are enough samples for that."""
        return np.maximum(1 - np.exp(-dt / tau_s), 1 / (self._state["count"][rows] + 1))

    def _freeze(self, rows: Rows, at: Times, score: Floats) -> Mask:
        """Notes since when each row has been in alarm; true where it is not, and may learn."""
        frozen = self._state["frozen"]
        high = score >= self._alarm[rows]
        frozen[rows] = np.where(high, np.where(frozen[rows] > 0, frozen[rows], at), 0)
        return ~high

    def _passed(self, rows: Rows, at: Times, dt: Floats, most_s: Floats) -> None:
        """Counts a sample and the time since the one before, gaps as no more than `most_s`."""
        self._state["last"][rows] = at
        self._state["count"][rows] += 1
        self._state["age"][rows] += np.minimum(dt, most_s)

    def _start_over(self, rows: Rows, at: Times) -> None:
        frozen = self._state["frozen"][rows]
        over = rows[(frozen > 0) & (at - frozen > self._freeze_ns[rows])]
        if len(over):
            for name in ("last", "count", "age", "frozen"):
                self._state[name][over] = 0
            for name, blank in self._blank(len(over)).items():
                self._state[name][over] = blank
