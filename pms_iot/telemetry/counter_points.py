"""How much a cumulative counter has advanced: run hours, starts, trips, energy.

A counter goes up, and falls only when it rolls over, is reset or is replaced. `advance` walks over
its readings and gives each the increase since the reading before, so that the increase of a window
is the sum of those inside it, and the increase of a whole the sum over its parts.

This differs from PromQL `increase` (prometheus.io/docs/prometheus/latest/querying/functions), which
takes every fall for a restart at zero, looks only at samples inside the window, and extrapolates to
its edges: it gives 7.2 starts for 7, and its parts do not add up to the whole. Here
* nothing is extrapolated; what was counted during a silence stands with the reading that ends it;
* a fall near the top of the register is a roll-over: what was left to the top counts too;
* after any other fall only what can have been counted since then is taken for use;
* a replacement that was recorded counts by its two readings;
* a reading that the next one takes back is a glitch and counts for nothing, nor does a return from
  it within an hour. So a reading counts when the next one has confirmed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pms_iot.assets.points import CounterDef
from pms_iot.telemetry.batch import GOOD, Batch

STEP, START, ROLLOVER, RESET, JUMP, RETURN, REPLACED = range(7)

ODD_KINDS = (ROLLOVER, RESET, JUMP, RETURN, REPLACED)
HOUR_NS = 3600 * 10**9
RETURN_WITHIN_NS = HOUR_NS  # a controller that restarts shows zero until it has read its memory
NEAR_ZERO = 0.01  # of the reading before the fall
RATE_MARGIN = 1.05  # clocks of devices are not exact
# 16 and 32 bit registers in whole units or decimal fractions; counters of four to nine digits.
_USUAL = sorted(
    [2.0**bits / 10**k for bits in (16, 32) for k in range(4)] + [10.0**k for k in range(4, 10)]
)
_GUESS_FROM, _GUESS_STEP = 0.99, 0.02  # of the modulus: a wrong guess is wrong by 1 % of it at most
_KNOWN_STEP = 0.25  # of the modulus, where no rate is known


@dataclass(frozen=True, slots=True)
class Reading:
    """at: Unix ns."""

    at: int
    value: float


@dataclass(frozen=True, slots=True)
class Replacement:
    """The old counter ended at `old`, the new one began at `new`. at: Unix ns."""

    at: int
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class CounterState:
    """Where the count of one counter stands; a start has everything at nought.

    last: the last reading that counts. open: a newer one that the next must confirm. fell: when
    the counter was last reset, and what it showed before; None once it has gone past that.
    """

    last: Reading | None = None
    open: Reading | None = None
    fell: Reading | None = None

    @property
    def seen_ns(self) -> int:
        """Time of the newest reading that has been walked over; -1 without one."""
        newest = self.open or self.last
        return newest.at if newest else -1


@dataclass(frozen=True, slots=True)
class Steps:
    """The readings that were confirmed, each with its increase since the one before.

    at: int64 ns. increase: float64, the counter's unit. kind: uint8, STEP and so on. glitches:
    int64 ns, readings that did not count.
    """

    at: NDArray[np.int64]
    increase: NDArray[np.float64]
    kind: NDArray[np.uint8]
    glitches: NDArray[np.int64]

    @property
    def total(self) -> float:
        return float(self.increase.sum())

    def count(self, kind: int) -> int:
        """How many steps of this kind."""
        return int(np.count_nonzero(self.kind == kind))


def advance(
    state: CounterState,
    batch: Batch,
    counter: CounterDef,
    replacements: Sequence[Replacement] = (),
) -> tuple[CounterState, Steps]:
    """Walks over the samples of one counter, in order of time; what is not newer than the state is left out.

    Missing, bad and uncertain samples are passed over. Any split into batches gives the same.
    """
    at, value = _readings(state, batch)
    kept, glitches = _without_glitches(at, value)
    if not len(kept):
        return state, _none()
    # The newest is not confirmed, except the very first of all.
    first = state.last is None
    last = max(1, len(kept) - 1)
    opened = Reading(int(at[kept[-1]]), float(value[kept[-1]])) if last < len(kept) else None
    at, value = at[kept[:last]], value[kept[:last]]
    walk = _Walk(at, value, counter, sorted(replacements, key=lambda it: it.at))
    increase, kind, fell = walk.steps(state.fell)
    newest = Reading(int(at[-1]), float(value[-1]))
    if first:
        increase, kind = np.append(0.0, increase), np.append(np.uint8(START), kind)
    steps = Steps(at if first else at[1:], increase, kind, glitches)
    return CounterState(newest, opened, fell), steps


def _none() -> Steps:
    empty = np.empty(0, np.int64)
    return Steps(empty, np.empty(0), np.empty(0, np.uint8), empty)


def _readings(state: CounterState, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What the state still holds, then the usable samples of the batch."""
    with np.errstate(invalid="ignore"):
        usable = (batch.quality == GOOD) & np.isfinite(batch.value) & (batch.value >= 0)
    usable &= batch.at > state.seen_ns
    held = [reading for reading in (state.last, state.open) if reading is not None]
    return (
        np.concatenate([np.array([it.at for it in held], np.int64), batch.at[usable]]),
        np.concatenate([np.array([it.value for it in held]), batch.value[usable]]),
    )


def _without_glitches(
    at: NDArray[np.int64], value: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Positions of the readings that count, and the times of those that their next took back.

    A reading is a glitch if the next is not below the one before it, but the reading itself is
    below that, or above the next.
    """
    n = len(value)
    kept = np.ones(n, bool)
    before, this, after = value[:-2], value[1:-1], value[2:]
    suspects = np.flatnonzero((before <= after) & ((this < before) | (this > after))) + 1
    decided = 0
    for i in suspects.tolist():
        good, i = i - 1, int(i)
        if i <= decided:
            continue
        while i + 1 < n and _is_glitch(value[good], value[i], value[i + 1]):
            kept[i] = False
            i += 1
        decided = i
    return np.flatnonzero(kept), at[~kept]


def _is_glitch(before: float, this: float, after: float) -> bool:
    return bool(before <= after and (this < before or this > after))


@dataclass(slots=True)
class _Walk:
    """Readings of which each counts, and what is known of the counter."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    counter: CounterDef
    replacements: Sequence[Replacement]

    def steps(
        self, fell: Reading | None
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8], Reading | None]:
        """Increase and kind of each step, and the fall that is still to be remembered."""
        increase = np.diff(self.value)
        kind = np.full(len(increase), STEP, np.uint8)
        back = self._back_at(fell, 0, increase, kind)
        for i in self._events(increase):
            before, now = float(self.value[i]), float(self.value[i + 1])
            swapped = self._replaced(i)
            if swapped:
                increase[i], kind[i] = _by_record(before, now, swapped), REPLACED
            elif now < before:
                increase[i], kind[i] = self._fall(i, before, now)
                if kind[i] == RESET and not self._remembers(fell, back, i):
                    fell = Reading(int(self.at[i + 1]), before)
                    back = self._back_at(fell, i + 1, increase, kind)
            elif kind[i] != RETURN:
                increase[i], kind[i] = 0.0, JUMP
        return increase, kind, fell if back is None else None

    def _back_at(
        self,
        fell: Reading | None,
        start: int,
        increase: NDArray[np.float64],
        kind: NDArray[np.uint8],
    ) -> int | None:
        """Where the counter, soon enough, shows again what it did before it fell; None if nowhere.

        If one step leads there from below half of it, the fall was none: that step is put right.
        """
        if fell is None:
            return None
        end = int(np.searchsorted(self.at, fell.at + RETURN_WITHIN_NS, "right"))
        past = np.flatnonzero(self.value[start:end] >= fell.value)
        if not len(past):
            return None
        back = start + int(past[0])
        if back > start and self.value[back - 1] <= fell.value / 2:
            increase[back - 1], kind[back - 1] = self.value[back] - fell.value, RETURN
        return back

    def _remembers(self, fell: Reading | None, back: int | None, i: int) -> bool:
        """Whether at step i the fall before it is not over yet."""
        if fell is None or (back is not None and i >= back):
            return False
        return bool(self.at[i + 1] <= fell.at + RETURN_WITHIN_NS)

    def _events(self, increase: NDArray[np.float64]) -> list[int]:
        """The steps that are not plainly upwards."""
        odd = increase < 0
        if self.counter.most_per_h is not None:
            odd |= increase > self._possible(np.diff(self.at))
        for it in self.replacements:
            i = int(np.searchsorted(self.at, it.at)) - 1
            if 0 <= i < len(odd):
                odd[i] = True
        return np.flatnonzero(odd).tolist()

    def _possible(self, gap_ns: NDArray[np.int64] | int) -> NDArray[np.float64]:
        hours = np.asarray(gap_ns, np.float64) / HOUR_NS
        return (self.counter.most_per_h or 0.0) * hours * RATE_MARGIN + 2 * self.counter.step

    def _replaced(self, i: int) -> list[Replacement]:
        return [it for it in self.replacements if self.at[i] < it.at <= self.at[i + 1]]

    def _fall(self, i: int, before: float, now: float) -> tuple[float, int]:
        rate = self.counter.most_per_h
        possible = (
            float(self._possible(int(self.at[i + 1] - self.at[i]))) if rate is not None else None
        )
        over = _rolled_over(before, now, self.counter.modulus, possible)
        if over is not None:
            return over, ROLLOVER
        if possible is None:
            possible = max(NEAR_ZERO * before, self.counter.step)
        return (now if now <= possible else 0.0), RESET


def _by_record(before: float, now: float, swapped: Sequence[Replacement]) -> float:
    """What the old counter still counted, and the new one since."""
    total = 0.0
    for it in swapped:
        total += max(it.old - before, 0.0)
        before = it.new
    return total + max(now - before, 0.0)


def _rolled_over(
    before: float, now: float, modulus: float | None, possible: float | None
) -> float | None:
    """The increase if the fall is a roll-over, else None. possible: the most that can have been counted."""
    for top in _USUAL if modulus is None else (modulus,):
        increase = now + top - before
        if before > top or (modulus is None and before < _GUESS_FROM * top):
            continue
        limit = (_GUESS_STEP if modulus is None else _KNOWN_STEP) * top
        if modulus is not None and possible is not None:
            limit = min(possible, top)
        elif possible is not None:
            limit = min(limit, possible)
        if increase <= limit:
            return increase
    return None
