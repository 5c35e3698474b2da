"""The rule engine: samples in, alerts out. Pure; the only time it knows is that of the samples.

What it promises, given that the samples of one asset arrive in time order:
any cut of the input into batches gives the same transitions, and so does a restore from a snapshot
followed by samples it already saw. A rule's gates see the last values of other points as of the
sample's own time, those of the same instant included; so a read of a device must arrive whole,
as gateways send it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pms_iot.alerts.explain import Explainer, Moment
from pms_iot.alerts.instances import Instances
from pms_iot.alerts.last_values import LastValues
from pms_iot.alerts.related import Related
from pms_iot.alerts.rule import Rule
from pms_iot.alerts.steps import Steps
from pms_iot.alerts.transition import Firing, Transition
from pms_iot.assets.series import SeriesSource
from pms_iot.kernel.arrays import pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.fresh import LastSeen
from pms_iot.telemetry.gates import Gates
from pms_iot.telemetry.groups import run_starts

_VERSION = 2
_IDLE, _PENDING, _FIRING, _CLEARING = range(4)

Kind = Literal["fired", "resolved"]


class _Move(NamedTuple):
    """A row that begins to fire or ends, at a sample with that value."""

    at: int
    row: int
    kind: Kind
    since: int
    value: float


class RuleEngine:
    """All rules over all assets of a catalog. Rows that are idle and stay so cost only numpy."""

    def __init__(
        self,
        rules: Iterable[Rule],
        catalog: SeriesSource,
        related: Mapping[str, Related] | None = None,
    ) -> None:
        """related: kind -> which of its points belong together, for explanations."""
        self._rules = [rule for rule in rules if rule.condition is not None]
        self._catalog, self._related = catalog, related or {}
        said = repr((_VERSION, self._rules)).encode()
        self.config_hash = hashlib.sha256(said).hexdigest()[:16]
        self._seen = LastSeen()
        self._last = LastValues()  # usable samples only
        self._build()

    @property
    def last_at(self) -> NDArray[np.int64]:
        """Time of the newest sample of each series, indexed by series; a restart replays from here."""
        return self._seen.at

    def update(self, batch: Batch) -> list[Transition]:
        """What these samples begin and end, in time order. Drops samples not newer than the last of
        their series; bad and NaN ones neither start nor stop anything, uncertain ones count."""
        if self._catalog.generation != self._generation:
            self._rebuild()
        usable = self._seen.usable(batch)
        if not len(usable):
            return []
        self._last.make_room(max(len(self._seen.at), len(self._table.of_series)))
        self._gates.learn(usable)
        moves = self._judge(usable)
        moment = self._moment(moves, usable)
        found = [self._transition(move, moment) for move in moves]
        self._gates.forget()
        self._last.learn(usable)
        return sorted(found, key=lambda t: (t.at_ns, t.key))

    def adopt(self, live: Iterable[Firing]) -> list[str]:
        """Makes alerts that fire in the database fire here too, so that they end when their condition
        does. Returns the keys that no rule watches any more: nothing here will ever end those."""
        orphans: list[str] = []
        for alert in live:
            row = self._table.row.get(alert.key)
            if row is None:
                orphans.append(alert.key)
            elif self._phase[row] < _FIRING:
                self._phase[row], self._since[row] = _FIRING, alert.since_ns
        return orphans

    def snapshot(self) -> bytes:
        """All state; the same state gives the same bytes."""
        meta = {"keys": self._table.keys, "gates": self._gates.snapshot()}
        return pack(
            meta,
            self._columns()
            | {"seen": self._seen.at, "last": self._last.value, "heard": self._last.at},
        )

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot made under the same rules (`config_hash`); new assets start fresh."""
        meta, arrays = unpack(state)
        self._seen = LastSeen(arrays.pop("seen"))
        self._last = LastValues(arrays.pop("last"), arrays.pop("heard"))
        self._carry(meta["keys"], arrays)
        self._gates.restore(meta["gates"])

    def _build(self) -> None:
        self._generation = self._catalog.generation
        self._table = Instances(self._rules, self._catalog.all())
        self._explainer = Explainer(self._table, self._related)
        self._gates = Gates(self._table.doors())
        size = len(self._table)
        self._phase = np.zeros(size, np.uint8)
        self._begun = np.zeros(size, np.int64)  # start of the present on-delay or off-delay
        self._since = np.zeros(size, np.int64)  # when the condition of a firing alert began

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {"phase": self._phase, "begun": self._begun, "since": self._since}

    def _rebuild(self) -> None:
        """The catalog has changed: known rows keep their state."""
        keys, columns, gates = self._table.keys, self._columns(), self._gates
        self._build()
        self._carry(keys, columns)
        self._gates.restore(gates.snapshot())

    def _carry(self, keys: list[str], columns: dict[str, NDArray[Any]]) -> None:
        old = {key: i for i, key in enumerate(keys)}
        shared = [key for key in self._table.keys if key in old]
        to = np.array([self._table.row[key] for key in shared], np.intp)
        chosen = [old[key] for key in shared]
        for name, column in self._columns().items():
            column[to] = columns[name][chosen]

    def _judge(self, usable: Batch) -> list[_Move]:
        """Looks first at each series as a whole, then at the rows where something begins or has begun."""
        starts = run_starts(usable.series)
        lengths = np.diff(starts, append=len(usable))
        series = self._table.of_series.place(usable.series[starts])
        least, most = (each.reduceat(usable.value, starts) for each in (np.minimum, np.maximum))
        stirred = self._table.may_begin(series, least, most) | self._has_begun()[series]
        if not stirred.any():
            return []
        samples = np.flatnonzero(np.repeat(stirred, lengths))
        nth, rows = self._table.of_series.expand(np.repeat(series[stirred], lengths[stirred]))
        position = samples[nth]
        begins = self._table.begins(rows, usable.value[position])
        busy = self._phase[rows] != _IDLE
        hot = np.flatnonzero(begins | busy)
        hot = hot[busy[hot] | self._gates.open_at(rows[hot], usable.at[position[hot]])]
        chosen = np.zeros(len(self._table), np.bool_)
        chosen[rows[hot]] = True
        moved = np.flatnonzero(chosen[rows])
        moved = moved[np.argsort(rows[moved], kind="stable")]
        return self._move(rows[moved], position[moved], usable) if len(moved) else []

    def _has_begun(self) -> NDArray[np.bool_]:
        """Of each series whether one of its rows is not idle."""
        flags = np.zeros(len(self._table.of_series), np.bool_)
        flags[self._table.series[np.flatnonzero(self._phase)]] = True
        return flags

    def _move(
        self, rows: NDArray[np.intp], position: NDArray[np.intp], usable: Batch
    ) -> list[_Move]:
        """Takes rows through their samples, pairs of which are given: together if nothing changes."""
        table, at, value = self._table, usable.at[position], usable.value[position]
        starts = run_starts(rows)
        heard = np.concatenate((at[:1], at[:-1]))
        heard[starts] = self._last.at[table.series[rows[starts]]]
        steps = Steps(
            at=at,
            since_last=at - heard,
            # Two samples far apart do not prove what was true between them: the delay starts again.
            gap=at > heard + table.max_gap_ns[rows],
            is_open=self._gates.open_at(rows, at),
            begins=table.begins(rows, value),
            goes_on=table.goes_on(rows, value),
        )
        waits = (self._phase[rows] == _CLEARING) & ~steps.is_open
        waits = np.logical_and.reduceat(waits, starts)
        waited = np.add.reduceat(steps.since_last, starts)[waits]
        walked = ~(waits | np.logical_and.reduceat(self._stays(rows, steps), starts))
        self._begun[rows[starts[waits]]] += waited  # as in `_walk`: only open time counts
        ends, found = np.append(starts[1:], len(rows)), list[_Move]()
        for start, end in zip(starts[walked].tolist(), ends[walked].tolist(), strict=True):
            row = int(rows[start])
            for kind, nth, since in self._walk(row, steps.part(start, end)):
                t, x = int(at[start + nth]), float(value[start + nth])
                found.append(_Move(t, row, kind, since, x))
        return found

    def _stays(self, rows: NDArray[np.intp], steps: Steps) -> NDArray[np.bool_]:
        """Where a sample leaves its row exactly as it is: what `_walk` does in most cases."""
        table, waited = self._table, steps.at - self._begun[rows]
        begins, closed = steps.begins & steps.is_open, ~steps.is_open
        return np.choose(
            self._phase[rows],
            (
                ~begins,
                begins & ~steps.gap & (waited < table.for_ns[rows]),
                closed | steps.goes_on,
                ~closed & ~steps.goes_on & ~steps.gap & (waited < table.clear_for_ns[rows]),
            ),
        )

    def _walk(self, row: int, steps: Steps) -> Iterator[tuple[Kind, int, int]]:
        """Takes one row through its samples. States: idle, pending (on-delay), firing, clearing.

        Yields (kind, number of the sample, since when) of what begins and ends.
        """
        for_ns, clear_for_ns = int(self._table.for_ns[row]), int(self._table.clear_for_ns[row])
        phase, begun, since = (
            int(column[row]) for column in (self._phase, self._begun, self._since)
        )
        for nth, (t, since_last, gap, open_, begins, goes_on) in enumerate(steps.each()):
            if phase < _FIRING:
                if not (open_ and begins):
                    phase = _IDLE
                    continue
                if phase == _IDLE or gap:
                    phase, begun = _PENDING, t
                if t - begun >= for_ns:
                    phase, since = _FIRING, begun
                    yield "fired", nth, since
            elif not open_:
                # A pump that stands still proves no repair: the off-delay counts open time only.
                begun += since_last if phase == _CLEARING else 0
            elif goes_on:
                phase = _FIRING
            else:
                if phase == _FIRING or gap:
                    phase, begun = _CLEARING, t
                if t - begun >= clear_for_ns:
                    phase = _IDLE
                    yield "resolved", nth, since
        self._phase[row], self._begun[row], self._since[row] = phase, begun, since

    def _transition(self, move: _Move, moment: Moment) -> Transition:
        rule, info = self._table.rule[move.row], self._table.info[move.row]
        assert rule.condition is not None
        return Transition(
            kind=move.kind,
            key=self._table.keys[move.row],
            rule=rule,
            asset=info.asset,
            asset_id=info.asset_id,
            series=info.id,
            at_ns=move.at,
            since_ns=move.since,
            value=move.value,
            limit=rule.condition.limit(move.value),
            why=self._explainer.explain(move.row, move.at, move.value, moment)
            if move.kind == "fired"
            else {},
        )

    def _moment(self, moves: Sequence[_Move], usable: Batch) -> Moment:
        of_row: dict[int, list[_Move]] = {}
        for move in moves:
            of_row.setdefault(move.row, []).append(move)

        def is_firing(rows: NDArray[np.intp], at: int) -> NDArray[np.bool_]:
            """Phases are those after the batch; a move after `at` tells what was before it."""
            firing = self._phase[rows] >= _FIRING
            for i, row in enumerate(rows.tolist()):
                later = next((move for move in of_row.get(row, ()) if move.at > at), None)
                if later is not None:
                    firing[i] = later.kind == "resolved"
            return firing

        return Moment(
            as_of=lambda series, at: self._last.as_of(series, at, usable),
            is_open=lambda rows, at: self._gates.open_at(rows, np.full(len(rows), at, np.int64)),
            is_firing=is_firing,
        )
