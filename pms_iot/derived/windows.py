"""Computed points over all assets: samples are summed up window by window, a formula is applied at its end.

A window ends on the grid of its length since the Unix epoch; its result is known, and stands at its end, as
soon as a sample of a later one comes. Sums are added in the order of the samples, so that they are the same
however the input is cut into batches. Time between two samples counts if the gates are open at both and
they are not further apart than a sample is good for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pms_iot.derived.computed import ComputedSpec
from pms_iot.derived.formula import OF_STATES, Formula, Stat
from pms_iot.derived.own_median import OwnMedians
from pms_iot.derived.stage import Floats, Mask, Rows, S, Times, carry, members_of
from pms_iot.derived.state import AT_WORK, UNKNOWN
from pms_iot.kernel.arrays import Arrays, pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.gates import Gates, Lock
from pms_iot.telemetry.groups import run_starts

_COUNT, _SUM, _TIME, _WORK, _STARTS, _CHANGE, _LAST = range(7)
_NONE = -1
_HOUR_S = 3600.0
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class ComputedRow:
    """A computed point of one asset. `name` says what it is and how it is meant.

    inputs: for each source of each input of the formula, in order, its series (negative: the asset lacks
    it) and how long a sample is good for, in ns.
    """

    name: str
    series: int
    spec: ComputedSpec
    inputs: tuple[tuple[int, int], ...]
    gate: tuple[Lock, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows with the same formula, and its parameters, of all rows of the stage."""

    formula: Formula
    rows: Rows
    params: dict[str, Floats]


class Windows:
    """One row per computed point of an asset. See `Stage`."""

    def __init__(self, rows: Sequence[ComputedRow]) -> None:
        self._names = [row.name for row in rows]
        self._series = np.array([row.series for row in rows], np.int32)
        self._width = max((len(row.inputs) for row in rows), default=1)
        size = len(rows)
        self._members = members_of([[n for n, _ in row.inputs] for row in rows], self._width)
        self._every = np.array([int(row.spec.every_s * S) for row in rows], np.int64)
        self._covered = np.array([row.spec.formula.covered for row in rows])
        self._gates = Gates([row.gate for row in rows])
        self._gated = np.array([bool(row.gate) for row in rows], np.bool_)
        self._hold = np.zeros((size, self._width), np.int64)
        self._input = np.full((size, self._width), _NONE, np.intp)
        self._of_state = np.zeros((size, self._width), np.bool_)
        self._grows = np.zeros((size, self._width), np.bool_)
        for i, row in enumerate(rows):
            self._describe(i, row)
        self._groups = list(self._grouped(rows))
        self._own = OwnMedians([r.spec.against for r in rows], [r.spec.every_s for r in rows])
        self._state: Arrays = {
            "window": np.full(size, _NONE, np.int64),
            "sums": np.zeros((size, self._width, 6)),
            "value": np.full((size, self._width), np.nan),  # the last one of each slot
            "at": np.zeros((size, self._width), np.int64),  # its time; 0 = none
            "open": np.zeros((size, self._width), np.bool_),  # whether it counted
            # The same as of the window that is summed up; NaN if it did not count.
            "last": np.full((size, self._width), np.nan),
            "last_at": np.zeros((size, self._width), np.int64),
        }

    def _describe(self, i: int, row: ComputedRow) -> None:
        slot = 0
        for nth, (input_, keys) in enumerate(
            zip(row.spec.formula.inputs, row.spec.sources, strict=True)
        ):
            for _ in keys:
                self._hold[i, slot] = row.inputs[slot][1]
                self._input[i, slot] = nth
                self._of_state[i, slot] = input_.stat in OF_STATES
                self._grows[i, slot] = input_.stat == "gain"
                slot += 1

    def _grouped(self, rows: Sequence[ComputedRow]) -> Iterator[_Group]:
        formulas = {row.spec.formula.name: row.spec.formula for row in rows}
        for formula in formulas.values():
            mine = [i for i, row in enumerate(rows) if row.spec.formula is formula]
            params: dict[str, Floats] = {}
            for nth, name in enumerate(formula.params):
                params[name] = np.full(len(rows), np.nan)
                params[name][mine] = [rows[i].spec.params[nth] for i in mine]
            yield _Group(formula, np.array(mine, np.intp), params)

    # -- samples ---------------------------------------------------------------------------

    def update(self, batch: Batch) -> Batch:
        groups = self._members.place(batch.series)
        mine = np.flatnonzero(self._members.count[groups])
        self._gates.learn(batch)
        found = self._take(batch, groups[mine], mine) if len(mine) else Batch.empty()
        self._gates.forget()
        return found

    def _take(self, batch: Batch, groups: Rows, mine: Rows) -> Batch:
        nth, member = self._members.expand(groups)
        position = mine[nth]
        order = np.argsort(
            member, kind="stable"
        )  # each slot has one series: its samples stay in order
        position, member = position[order], member[order]
        at, row, slot = batch.at[position], member // self._width, member % self._width
        window = at // self._every[row]
        late = window < self._state["window"][row]
        if late.any():
            at, row, slot, window, member, position = (
                each[~late] for each in (at, row, slot, window, member, position)
            )
        parts = self._parts(row, slot, member, at, batch.value[position])
        return self._sum_up(row, slot, window, at, parts)

    def _parts(self, row: Rows, slot: Rows, member: Rows, at: Times, value: Floats) -> Floats:
        """What each sample adds to the six sums of its slot, and its value, NaN if it does not count.

        Ordered by slot, then time.
        """
        state = self._state
        is_open: Mask = np.ones(len(at), np.bool_)
        gated = np.flatnonzero(self._gated[row])
        is_open[gated] = self._gates.open_at(row[gated], at[gated])
        of_state = self._of_state[row, slot]
        if of_state.any():
            work = np.isin(value, AT_WORK).astype(np.float64)
            work[value == UNKNOWN] = np.nan
            value = np.where(of_state, work, value)
            is_open &= ~np.isnan(value)
        starts = run_starts(member)
        first = row[starts], slot[starts]
        before = _shifted(value, starts, state["value"][first])
        before_at = _shifted(at, starts, state["at"][first])
        was_open = _shifted(is_open, starts, state["open"][first])
        ends = np.append(starts[1:], len(member)) - 1
        for column, name in ((value, "value"), (at, "at"), (is_open, "open")):
            state[name][row[ends], slot[ends]] = column[ends]
        joined = is_open & was_open & (at - before_at <= self._hold[row, slot])
        passed = np.where(joined, at - before_at, 0) / S
        change = np.where(joined, value - before, 0.0)
        change[(change < 0) & self._grows[row, slot]] = 0.0  # a counter that began anew
        parts = np.zeros((len(at), 7))
        parts[:, _LAST] = np.where(is_open, value, np.nan)
        parts[:, _COUNT] = is_open
        parts[:, _SUM] = np.where(is_open, value, 0.0)
        parts[:, _TIME] = passed
        parts[:, _CHANGE] = change
        if of_state.any():
            # A state holds from its sample on.
            parts[:, _WORK] = np.where(of_state & joined, before, 0.0) * passed
            parts[:, _STARTS] = of_state & (change > 0)
        return parts

    def _sum_up(self, row: Rows, slot: Rows, window: Times, at: Times, parts: Floats) -> Batch:
        """Adds window after window; those that are over are closed before."""
        state, found = self._state, list[Batch]()
        for chosen in _one_window_each(row, window):
            rows, first = np.unique(row[chosen], return_index=True)
            now = window[chosen][first]
            before = state["window"][rows]
            is_new = now != before
            over = rows[is_new & (before != _NONE)]
            if len(over):
                found.append(self._close(over))
            state["sums"][rows[is_new]] = 0.0
            state["window"][rows] = now
            place = row[chosen], slot[chosen]
            np.add.at(state["sums"], place, parts[chosen, :_LAST])
            state["last"][place] = parts[chosen, _LAST]  # the last of each slot wins
            state["last_at"][place] = at[chosen]
        made = Batch.concat(found)
        return made.take(np.argsort(made.series, kind="stable")) if len(found) > 1 else made

    # -- the end of a window ---------------------------------------------------------------

    def _close(self, rows: Rows) -> Batch:
        end = (self._state["window"][rows] + 1) * self._every[rows]
        with np.errstate(all="ignore"):  # what is undefined is left out
            result = self._computed(rows, end)
            covered = self._state["sums"][rows, 0, _TIME] * S / self._every[rows]
            result[covered < self._covered[rows]] = np.nan
            result[~np.isfinite(result)] = np.nan
            result = self._own.apply(rows, result, end)
        told = np.isfinite(result)
        return Batch.of(self._series[rows[told]], end[told], result[told])

    def _computed(self, rows: Rows, end: Times) -> Floats:
        result = np.full(len(rows), np.nan)
        for group in self._groups:
            where = np.flatnonzero(np.isin(rows, group.rows, assume_unique=True))
            if not len(where):
                continue
            mine = rows[where]
            inputs = [
                self._input_value(mine, nth, input_.stat, end[where])
                for nth, input_ in enumerate(group.formula.inputs)
            ]
            params = {name: column[mine] for name, column in group.params.items()}
            result[where] = group.formula.compute(*inputs, **params)
        return result

    def _input_value(self, rows: Rows, nth: int, stat: Stat, end: Times) -> Floats:
        """What the formula gets for its nth input: its points added up; NaN if one is not known."""
        each = self._stat(rows, stat, end)
        return np.where(self._input[rows] == nth, each, 0.0).sum(axis=1)

    def _stat(self, rows: Rows, stat: Stat, end: Times) -> Floats:
        """(rows, slots), as if all slots were of this kind."""
        sums = self._state["sums"][rows]
        count, time_s = sums[..., _COUNT], sums[..., _TIME]
        if stat == "mean":
            # A point that is read less often than the window is long counts with its last value.
            good_for = np.maximum(self._hold[rows], self._every[rows][:, None])
            age = end[:, None] - self._state["last_at"][rows]
            last = np.where(age <= good_for, self._state["last"][rows], np.nan)
            return np.where(count > 0, sums[..., _SUM] / count, last)
        if stat == "gain":
            return np.where(time_s > 0, sums[..., _CHANGE], np.nan)
        if stat == "slope":
            return sums[..., _CHANGE] / time_s * _HOUR_S
        if stat == "share":
            return sums[..., _WORK] / time_s
        return sums[..., _STARTS] / time_s * _HOUR_S

    # -- state -----------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        columns = self._state | {f"own.{k}": v for k, v in self._own.state.items()}
        return pack({"rows": self._names, "gates": self._gates.snapshot()}, columns)

    def restore(self, state: bytes) -> None:
        meta, arrays = unpack(state)
        self._gates.restore(meta["gates"])
        own = {k.removeprefix("own."): v for k, v in arrays.items() if k.startswith("own.")}
        carry(self._names, meta["rows"], self._own.state, own)
        carry(self._names, meta["rows"], self._state, arrays)


def _shifted(column: NDArray[_T], starts: Rows, before: NDArray[_T]) -> NDArray[_T]:
    """What stood before each value; at the starts of slots what a slot ended with earlier."""
    shifted = np.concatenate((column[:1], column[:-1]))
    shifted[starts] = before
    return shifted


def _one_window_each(row: Rows, window: Times) -> Iterator[Rows]:
    """Positions of the samples of the first window of each row, then of the second, …; in order."""
    order = np.lexsort((window, row))
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (row[order][1:] != row[order][:-1]) | (window[order][1:] != window[order][:-1])
    rows_of = row[order][starts]
    nth = np.arange(len(rows_of)) - np.repeat(
        run_starts(rows_of), np.diff(run_starts(rows_of), append=len(rows_of))
    )
    of_sample = np.empty(len(order), np.intp)
    of_sample[order] = nth[np.cumsum(starts) - 1]
    if not of_sample.any():
        yield np.arange(len(order))
        return
    by_window = np.argsort(of_sample, kind="stable")
    yield from np.split(by_window, np.cumsum(np.bincount(of_sample))[:-1])
