"""The dead-man: says when a device or a gateway has stopped talking.

A device is judged by the clock of its own gateway's stream: it is silent when that stream has moved
on without it. So a backlog that arrives late, or an engine that was down, marks nothing silent.
Gateways, and devices that publish without one, are judged by the engine's clock.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
import orjson

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import Firing, Transition, alert_key
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.groups import run_starts

_S = 1_000_000_000
_NEVER = np.iinfo(np.int64).min
_MAPS = ("_good", "_through", "_stream", "_arrived", "_started", "_firing")  # of a snapshot
# Of an asset: its newest good sample. Of a gateway: how far its stream has come, by its clock; when it
# was last heard, by ours; when its agent began, by its clock.
_GOOD, _STREAM, _ARRIVED, _STARTED = range(4)
_CAUGHT_UP_ROWS = 2  # a gateway with no more than this in its spool has sent all it has read


class SilenceWatch:
    """Who was last heard of when. `gateway` is always the asset code of a gateway.

    Assets and gateways are numbered as they are met; times are arrays over those numbers.
    """

    def __init__(self, rules: Iterable[Rule], catalog: SeriesSource) -> None:
        self._catalog = catalog
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.silent_for_s is not None:
                self._rules.setdefault(rule.kind, []).append(rule)
        self.config_hash = hashlib.sha256(repr((_MAPS, self._rules)).encode()).hexdigest()[:16]
        self._firing: dict[str, int] = {}  # key -> since
        self._forget_all()
        self._index()

    def heard(self, gateway: str | None, batch: Batch, *, now_ns: int | None = None) -> None:
        """Samples have come, through a gateway or directly. now_ns: the engine's clock, if it is live."""
        if not len(batch):
            return
        self._refresh()
        newest = int(batch.at.max())
        if gateway is not None:
            self._advance(_STREAM, gateway, newest)
            self._advance(_ARRIVED, gateway, newest if now_ns is None else now_ns)
        asset = self._asset[np.minimum(batch.series, len(self._asset) - 1, dtype=np.intp)]
        good = (asset >= 0) & (batch.quality > 0) & np.isfinite(batch.value)
        asset, at = asset[good], batch.at[good]
        if len(asset):
            starts = run_starts(asset)
            asset, at = asset[starts], np.maximum.reduceat(at, starts)
            np.maximum.at(self._times[_GOOD], asset, at)
            if gateway is not None:
                self._through[asset] = self._number_of(gateway)

    def gateway_of(self, asset: str) -> str | None:
        """The gateway that the asset was last heard through."""
        number = self._number.get(asset)
        gateway = -1 if number is None else int(self._through[number])
        return self._names[gateway] if gateway >= 0 else None

    def health(
        self, gateway: str, at_ns: int, spool_rows: int, *, now_ns: int | None = None
    ) -> None:
        """A gateway said how it is; if its spool is empty, its stream has come as far as its clock."""
        self._advance(_ARRIVED, gateway, at_ns if now_ns is None else now_ns)
        if spool_rows <= _CAUGHT_UP_ROWS:
            self._advance(_STREAM, gateway, at_ns)

    def started(self, gateway: str, at_ns: int) -> None:
        """A gateway's agent began anew; what it did not read before that says nothing of its devices."""
        self._advance(_STARTED, gateway, at_ns)

    def check(self, now_ns: int, listening_since_ns: int) -> list[Transition]:
        """Who fell silent and who is back. listening_since_ns: since when the engine could have heard."""
        self._refresh()
        who, is_gateway, times = self._who, self._is_gateway, self._times
        arrived, gateway = times[_ARRIVED][who], self._through[who]
        away = now_ns - np.maximum(arrived, listening_since_ns) > self._limit_ns
        mute = np.zeros(len(self._names) + 1, np.bool_)  # the last stands for no gateway, -1
        mute[who[away & (arrived != _NEVER)]] = True
        last = np.where(is_gateway, arrived, times[_GOOD][who])
        # Never heard of: unknown, not silent; nor is it judged behind a gateway that is silent itself.
        judged = (last != _NEVER) & (is_gateway | ~mute[gateway])
        ours = is_gateway | (gateway < 0)
        present = np.where(ours, now_ns, times[_STREAM][gateway])
        begun = np.maximum(last, np.where(ours, listening_since_ns, times[_STARTED][gateway]))
        silent, firing = present - begun > self._limit_ns, self._since != _NEVER
        fall = judged & silent & ~firing
        back = judged & ~silent & firing & (last > self._since)
        return [
            self._fire(row, int(begun[row])) if fall[row] else self._resolve(row, int(last[row]))
            for row in np.flatnonzero(fall | back).tolist()
        ]

    def adopt(self, live: Iterable[Firing]) -> list[str]:
        """As `RuleEngine.adopt`, for alerts of rules on silence."""
        self._refresh()
        watched = {key for key, _, _ in self._rows}
        orphans: list[str] = []
        for alert in live:
            if alert.key in watched:
                self._firing.setdefault(alert.key, alert.since_ns)
            else:
                orphans.append(alert.key)
        self._note_firing()
        return orphans

    def snapshot(self) -> bytes:
        good, *clocks = (
            {
                name: at
                for name, at in zip(self._names, column.tolist(), strict=False)
                if at != _NEVER
            }
            for column in self._times
        )
        through = {
            name: self._names[gateway]
            for name, gateway in zip(self._names, self._through.tolist(), strict=False)
            if gateway >= 0
        }
        maps = [good, through, *clocks, self._firing]
        return orjson.dumps(maps, option=orjson.OPT_SORT_KEYS)

    def restore(self, state: bytes) -> None:
        good, through, *clocks, self._firing = orjson.loads(state)
        self._forget_all()
        for which, known in enumerate([good, *clocks]):
            for name, at in known.items():
                self._advance(which, name, at)
        for name, gateway in through.items():
            number = self._number_of(gateway)
            self._through[self._number_of(name)] = number
        self._index()

    def _forget_all(self) -> None:
        self._names: list[str] = []
        self._number: dict[str, int] = {}
        self._times = np.full((4, 64), _NEVER)  # with room for more names
        self._through = np.full(64, -1, np.intp)  # number of an asset -> of its gateway

    def _index(self) -> None:
        self._generation = self._catalog.generation
        infos = [info for info in self._catalog.all() if not info.derived]
        # By series; the last stands for all beyond.
        self._asset = np.full(max((info.id for info in infos), default=-1) + 2, -1, np.intp)
        for info in infos:
            self._asset[info.id] = self._number_of(info.asset)
        self._rows = [
            (alert_key(rule.id, info.asset), rule, info)
            for info in {info.asset: info for info in infos}.values()
            for rule in self._rules.get(info.kind, [])
        ]
        limits = [int((rule.silent_for_s or 0.0) * _S) for _, rule, _ in self._rows]
        self._limit_ns = np.array(limits, np.int64)
        self._who = np.array([self._number[info.asset] for _, _, info in self._rows], np.intp)
        self._is_gateway = np.array([i.kind == "gateway" for _, _, i in self._rows], np.bool_)
        self._note_firing()

    def _note_firing(self) -> None:
        since = [self._firing.get(key, _NEVER) for key, _, _ in self._rows]
        self._since = np.array(since, np.int64)

    def _refresh(self) -> None:
        if self._catalog.generation != self._generation:
            self._index()

    def _advance(self, which: int, name: str, at: int) -> None:
        number = self._number_of(name)
        self._times[which, number] = max(at, int(self._times[which, number]))

    def _number_of(self, name: str) -> int:
        number = self._number.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
            if number == len(self._through):
                self._times = np.hstack((self._times, np.full_like(self._times, _NEVER)))
                self._through = np.append(self._through, np.full_like(self._through, -1))
        return number

    def _fire(self, row: int, begun: int) -> Transition:
        key, rule, info = self._rows[row]
        self._firing[key] = begun
        self._since[row] = begun
        return _step("fired", key, rule, info, begun + int(self._limit_ns[row]), begun)

    def _resolve(self, row: int, last: int) -> Transition:
        key, rule, info = self._rows[row]
        self._since[row] = _NEVER
        return _step("resolved", key, rule, info, last, self._firing.pop(key))


def _step(
    kind: Literal["fired", "resolved"],
    key: str,
    rule: Rule,
    info: SeriesInfo,
    at_ns: int,
    since_ns: int,
) -> Transition:
    silent_for_s = rule.silent_for_s
    return Transition(
        kind=kind,
        key=key,
        rule=rule,
        asset=info.asset,
        asset_id=info.asset_id,
        series=None,
        at_ns=at_ns,
        since_ns=since_ns,
        value=None,
        limit=silent_for_s,
        why={"template": "silent", "last_ns": since_ns, "for_s": silent_for_s},
    )
