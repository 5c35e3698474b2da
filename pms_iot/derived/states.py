"""Operating states over all assets: columns of samples in, an enum sample at each change of state out.

Exact in sample time: a state is judged at each instant at which one of its inputs has a sample, with all
samples of that instant. A value of an input that was heard once and is too old makes the state unknown; an
input that never came is left aside (`when` on it is not true), because not every device has every point.
While no input speaks, nothing is said: that nobody knows shows in the repeats that do not come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pms_iot.derived.stage import Rows, S, Times, carry, members_of, open_doors
from pms_iot.derived.state import REPEAT_S, UNKNOWN
from pms_iot.kernel.arrays import Arrays, pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.gates import Gates, Lock
from pms_iot.telemetry.groups import run_starts

_REPEAT_NS = int(REPEAT_S * S)
_NOTHING_SAID = -1


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state of one asset. `name` says what it is and how it is meant.

    inputs: their series and how long a sample of each is good for, in ns. clauses: code, locks that must
    all be open, and locks that must not all be open yet (none: no such end).
    """

    name: str
    series: int
    inputs: tuple[tuple[int, int], ...]
    clauses: tuple[tuple[int, tuple[Lock, ...], tuple[Lock, ...]], ...]


class States:
    """One row per state of an asset. See `Stage`."""

    def __init__(self, rows: Sequence[StateRow]) -> None:
        self._names = [row.name for row in rows]
        self._series = np.array([row.series for row in rows], np.int32)
        self._width = max((len(row.inputs) for row in rows), default=1)
        self._members = members_of([[n for n, _ in row.inputs] for row in rows], self._width)
        self._hold = np.full((len(rows), self._width), np.iinfo(np.int64).max)
        for row, hold in zip(rows, self._hold, strict=True):
            hold[: len(row.inputs)] = [ns for _, ns in row.inputs]
        longest = np.where(self._hold < np.iinfo(np.int64).max, self._hold, 0)
        self._row_hold = longest.max(axis=1, initial=0)
        self._read_clauses(rows)
        self._state: Arrays = {
            "at": np.zeros(len(rows), np.int64),  # of the last instant that was judged; 0 = none
            "code": np.full(len(rows), _NOTHING_SAID, np.int64),
            "heard": np.zeros((len(rows), self._width), np.int64),  # each input; 0 = never
        }

    def _read_clauses(self, rows: Sequence[StateRow]) -> None:
        """Clause c of row r has door r * C + c, and its end (`past`) the door as many doors later."""
        count = max((len(row.clauses) for row in rows), default=1)
        shape = len(rows), count
        self._codes = np.full(shape, UNKNOWN, np.int64)
        self._is_clause, self._ends = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        doors: list[tuple[Lock, ...]] = [() for _ in range(2 * len(rows) * count)]
        for r, row in enumerate(rows):
            for c, (code, when, past) in enumerate(row.clauses):
                self._codes[r, c], self._is_clause[r, c], self._ends[r, c] = code, True, bool(past)
                doors[r * count + c] = when
                doors[(len(rows) + r) * count + c] = past
        self._doors = np.arange(len(rows) * count).reshape(shape)
        self._gates = Gates(doors)

    def update(self, batch: Batch) -> Batch:
        groups = self._members.place(batch.series)
        mine = np.flatnonzero(self._members.count[groups])
        if not len(mine):
            return Batch.empty()
        self._gates.learn(batch)
        position, member = self._members.expand(groups[mine])
        at = batch.at[mine[position]]
        late = at < self._state["at"][member // self._width]
        if late.any():
            at, member = at[~late], member[~late]
        found = self._judge(at, member) if len(at) else Batch.empty()
        self._gates.forget()
        return found

    def _judge(self, at: Times, member: Rows) -> Batch:
        """Takes samples of these slots at these times; the values are with the gates."""
        order = np.lexsort((at, member // self._width))
        at, member = at[order], member[order]
        row = member // self._width
        is_new = np.ones(len(at), np.bool_)
        is_new[1:] = (row[1:] != row[:-1]) | (at[1:] != at[:-1])
        instant, rows, times = np.cumsum(is_new) - 1, row[is_new], at[is_new]
        starts = run_starts(rows)
        heard = self._heard(instant, member % self._width, rows, times, starts)
        code = self._code(rows, times, heard)
        ends = np.append(starts[1:], len(rows)) - 1
        self._state["heard"][rows[ends]] = heard[ends]
        return self._said(rows, times, code, starts, ends)

    def _heard(self, instant: Rows, slot: Rows, rows: Rows, times: Times, starts: Rows) -> Times:
        """(instants, slots): when each input was last heard, as of each instant; 0 = never."""
        nth = np.full((len(rows), self._width), -1, np.intp)
        nth[instant, slot] = instant
        nth = np.maximum.accumulate(nth, axis=0)
        first = np.repeat(starts, np.diff(starts, append=len(rows)))
        return np.where(nth >= first[:, None], times[nth], self._state["heard"][rows])

    def _code(self, rows: Rows, times: Times, heard: Times) -> Times:
        doors, at = self._doors[rows], times[:, None]
        holds = self._is_clause[rows] & open_doors(self._gates, doors, at)
        may_end = holds & self._ends[rows]
        if may_end.any():
            instant, clause = np.nonzero(may_end)
            past = doors[instant, clause] + self._doors.size
            holds[instant, clause] = ~self._gates.open_at(past, times[instant])
        first = holds.argmax(axis=1)
        code = np.where(holds.any(axis=1), self._codes[rows, first], UNKNOWN)
        is_stale = (heard > 0) & (at - heard > self._hold[rows])
        code[is_stale.any(axis=1)] = UNKNOWN
        return code

    def _said(self, rows: Rows, times: Times, code: Times, starts: Rows, ends: Rows) -> Batch:
        """Changes of state, a repeat in each minute, and the first one after a time that nobody saw."""
        before_at = np.concatenate((times[:1], times[:-1]))
        before_at[starts] = self._state["at"][rows[starts]]
        # The rest of an instant that was judged already can only speak at the next one.
        code = np.where(times > before_at, code, self._state["code"][rows])
        before = np.concatenate((code[:1], code[:-1]))
        before[starts] = self._state["code"][rows[starts]]
        is_due = (code != before) | (times - before_at > self._row_hold[rows])
        is_due |= times // _REPEAT_NS != before_at // _REPEAT_NS
        said = np.flatnonzero(is_due & (times > before_at))
        self._state["at"][rows[ends]] = times[ends]
        self._state["code"][rows[ends]] = code[ends]
        order = said[np.argsort(self._series[rows[said]], kind="stable")]
        return Batch.of(self._series[rows[order]], times[order], code[order])

    def snapshot(self) -> bytes:
        return pack({"rows": self._names, "gates": self._gates.snapshot()}, self._state)

    def restore(self, state: bytes) -> None:
        meta, arrays = unpack(state)
        self._gates.restore(meta["gates"])
        carry(self._names, meta["rows"], self._state, arrays)
