"""The rule engine: samples in, alerts out. Pure; the only time it knows is that of the samples.

What it promises, given that the samples of one asset arrive in time order:
any cut of the input into batches gives the same transitions, and so does a restore from a snapshot
followed by samples it already saw. A rule's gates see the last values of other points as of the
sample's own time, those of the same instant included; so a read of a device must arrive whole,
as gateways send it.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pms_iot.alerts.instances import Instances
from pms_iot.alerts.rule import Condition, Rule
from pms_iot.alerts.transition import Firing, Transition
from pms_iot.assets.series import SeriesSource
from pms_iot.kernel.arrays import pack, unpack
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.fresh import LastSeen
from pms_iot.telemetry.gates import Gates

_VERSION = 1
_IDLE, _PENDING, _FIRING, _CLEARING = range(4)
_NEVER = np.iinfo(np.int64).min


class RuleEngine:
    """All rules over all assets of a catalog. Rows that are idle and stay so cost only numpy."""

    def __init__(self, rules: Iterable[Rule], catalog: SeriesSource) -> None:
        self._rules = [rule for rule in rules if rule.condition is not None]
        self._catalog = catalog
        said = repr((_VERSION, self._rules)).encode()
        self.config_hash = hashlib.sha256(said).hexdigest()[:16]
        self._seen = LastSeen()
        self._last = np.empty(0)  # last value of each series, to tell what was expected
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
        fresh = self._seen.newer(batch)
        usable = fresh.take((fresh.quality > 0) & np.isfinite(fresh.value))
        if not len(usable):
            return []
        self._gates.learn(usable)
        found = self._judge(usable)
        self._gates.forget()
        self._keep_last(usable)
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
        return pack(meta, self._columns() | {"seen": self._seen.at, "last": self._last})

    def restore(self, state: bytes) -> None:
        """Takes up a snapshot made under the same rules (`config_hash`); new assets start fresh."""
        meta, arrays = unpack(state)
        self._seen, self._last = LastSeen(arrays.pop("seen")), arrays.pop("last")
        self._carry(meta["keys"], arrays)
        self._gates.restore(meta["gates"])

    def _build(self) -> None:
        self._generation = self._catalog.generation
        self._table = Instances(self._rules, self._catalog.all())
        self._gates = Gates(self._table.doors())
        size = len(self._table)
        self._phase = np.zeros(size, np.uint8)
        self._begun = np.zeros(size, np.int64)  # start of the present on-delay or off-delay
        self._since = np.zeros(size, np.int64)  # when the condition of a firing alert began
        self._heard = np.full(size, _NEVER)  # last usable sample

    def _columns(self) -> dict[str, NDArray[Any]]:
        names = ("phase", "begun", "since", "heard")
        return {name: getattr(self, f"_{name}") for name in names}

    def _rebuild(self) -> None:
        """The catalog has changed: known rows keep their state."""
        keys, columns, gates = self._table.keys, self._columns(), self._gates
        self._build()
        self._carry(keys, columns)
        self._gates.restore(gates.snapshot())

    def _carry(self, keys: list[str], columns: dict[str, NDArray[Any]]) -> None:
        old = {key: i for i, key in enumerate(keys)}
        shared = [key for key in self._table.keys if key in old]
        to = [self._table.row[key] for key in shared]
        for name, column in self._columns().items():
            column[to] = columns[name][[old[key] for key in shared]]

    def _keep_last(self, usable: Batch) -> None:
        if len(self._last) < len(self._seen.at):
            new = np.full(len(self._seen.at), np.nan)
            new[: len(self._last)] = self._last
            self._last = new
        self._last[usable.series] = usable.value

    def _judge(self, usable: Batch) -> list[Transition]:
        position, rows = self._table.expand(usable.series)
        hot = self._table.begins(rows, usable.value[position]) | (self._phase[rows] != _IDLE)
        found: list[Transition] = []
        before = self._heard.copy() if hot.any() else self._heard
        self._heard[rows] = usable.at[position]  # the newest of each row wins
        if not hot.any():
            return found
        walked = np.isin(rows, rows[hot])
        position, rows = position[walked], rows[walked]
        order = np.argsort(rows, kind="stable")
        position, rows = position[order], rows[order]
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        for part in np.split(position, starts[1:]):
            row = int(rows[starts[0]])
            starts = starts[1:]
            found += self._walk(row, part, usable, int(before[row]))
        return found

    def _walk(
        self, row: int, position: NDArray[np.intp], usable: Batch, heard: int
    ) -> list[Transition]:
        """Takes one row through its samples. States: idle, pending (on-delay), firing, clearing."""
        table, found = self._table, list[Transition]()
        condition = table.rule[row].condition
        assert condition is not None
        at = usable.at[position]
        gate = self._gates.open_at(row, at)
        phase, begun, since = (
            int(self._phase[row]),
            int(self._begun[row]),
            int(self._since[row]),
        )
        for t, value, open_ in zip(
            at.tolist(), usable.value[position].tolist(), gate.tolist(), strict=True
        ):
            # Two samples far apart do not prove what was true between them: the delay starts again.
            gap = t - heard > table.max_gap_ns[row]
            since_last, heard = t - heard, t
            true = open_ and condition.holds(value, active=phase >= _FIRING)
            if phase < _FIRING:
                if not true:
                    phase = _IDLE
                    continue
                if phase == _IDLE or gap:
                    phase, begun = _PENDING, t
                if t - begun >= table.for_ns[row]:
                    phase, since = _FIRING, begun
                    found.append(self._transition("fired", row, t, since, value, usable))
            elif not open_:
                # A pump that stands still proves no repair: the off-delay counts open time only.
                begun += since_last if phase == _CLEARING else 0
            elif true:
                phase = _FIRING
            else:
                if phase == _FIRING or gap:
                    phase, begun = _CLEARING, t
                if t - begun >= table.clear_for_ns[row]:
                    phase = _IDLE
                    found.append(self._transition("resolved", row, t, since, value, usable))
        self._phase[row], self._begun[row], self._since[row] = phase, begun, since
        return found

    def _transition(
        self, kind: Any, row: int, at: int, since: int, value: float, usable: Batch
    ) -> Transition:
        table = self._table
        rule, info = table.rule[row], table.info[row]
        assert rule.condition is not None
        return Transition(
            kind=kind,
            key=table.keys[row],
            rule=rule,
            asset=info.asset,
            asset_id=info.asset_id,
            series=info.id,
            at_ns=at,
            since_ns=since,
            value=value,
            limit=rule.condition.limit(value),
            why=self._why(rule.condition, row, at, value, usable),
        )

    def _why(
        self, condition: Condition, row: int, at: int, value: float, usable: Batch
    ) -> dict[str, Any]:
        rule, info = self._table.rule[row], self._table.info[row]
        why: dict[str, Any] = {
            "template": condition.op,
            "point": info.point,
            "value": value,
            "limit": condition.limit(value),
            "for_s": rule.for_s,
            "unit": info.unit,
        }
        if condition.discrete:
            why["values"] = list(condition.values)
        if (band := self._table.band(row)) is not None:
            seen, low, high = (self._as_of(series, at, usable) for series in band)
            if low is not None and high is not None:
                why |= {"seen": seen, "expected": [low, high]}
        return why

    def _as_of(self, series: int, at: int, usable: Batch) -> float | None:
        """The last value at that time: of this batch, else of those before."""
        here = np.flatnonzero((usable.series == series) & (usable.at <= at))
        if len(here):
            return float(usable.value[here[-1]])
        if series < len(self._last) and not np.isnan(self._last[series]):
            return float(self._last[series])
        return None
