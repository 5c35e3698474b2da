"""The dead-man: says when a device or a gateway has stopped talking.

A device is judged by the clock of its own gateway's stream: it is silent when that stream has moved
on without it. So a backlog that arrives late, or an engine that was down, marks nothing silent.
Gateways, and devices that publish without one, are judged by the engine's clock.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import orjson

from pms_iot.alerts.rule import Rule
from pms_iot.alerts.transition import Firing, Transition, alert_key
from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.series import SeriesSource
from pms_iot.telemetry.batch import Batch

_S = 1_000_000_000
_MAPS = ("_good", "_through", "_stream", "_arrived", "_started", "_firing")
_CAUGHT_UP_ROWS = 2  # a gateway with no more than this in its spool has sent all it has read


class SilenceWatch:
    """Who was last heard of when. `gateway` is always the asset code of a gateway."""

    def __init__(self, rules: Iterable[Rule], catalog: SeriesSource) -> None:
        self._catalog = catalog
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.silent_for_s is not None:
                self._rules.setdefault(rule.kind, []).append(rule)
        self.config_hash = hashlib.sha256(repr((_MAPS, self._rules)).encode()).hexdigest()[:16]
        self._good: dict[str, int] = {}  # asset -> its newest good sample
        self._through: dict[str, str] = {}  # asset -> its gateway
        self._stream: dict[str, int] = {}  # gateway -> how far its stream has come, its clock
        self._arrived: dict[str, int] = {}  # gateway -> when it was last heard, our clock
        self._started: dict[str, int] = {}  # gateway -> when its agent began, its clock
        self._firing: dict[str, int] = {}  # key -> since
        self._index()

    def heard(self, gateway: str | None, batch: Batch, *, now_ns: int | None = None) -> None:
        """Samples have come, through a gateway or directly. now_ns: the engine's clock, if it is live."""
        if not len(batch):
            return
        self._refresh()
        newest = int(batch.at.max())
        if gateway is not None:
            self._advance(self._stream, gateway, newest)
            self._advance(self._arrived, gateway, newest if now_ns is None else now_ns)
        good = batch.take((batch.quality > 0) & np.isfinite(batch.value))
        for series, at in _newest(good):
            info = self._info.get(series)
            if info is None:
                continue
            self._advance(self._good, info.asset, at)
            if gateway is not None:
                self._through[info.asset] = gateway

    def gateway_of(self, asset: str) -> str | None:
        """The gateway that the asset was last heard through."""
        return self._through.get(asset)

    def health(
        self, gateway: str, at_ns: int, spool_rows: int, *, now_ns: int | None = None
    ) -> None:
        """A gateway said how it is; if its spool is empty, its stream has come as far as its clock."""
        self._advance(self._arrived, gateway, at_ns if now_ns is None else now_ns)
        if spool_rows <= _CAUGHT_UP_ROWS:
            self._advance(self._stream, gateway, at_ns)

    def started(self, gateway: str, at_ns: int) -> None:
        """A gateway's agent began anew; what it did not read before that says nothing of its devices."""
        self._advance(self._started, gateway, at_ns)

    def check(self, now_ns: int, listening_since_ns: int) -> list[Transition]:
        """Who fell silent and who is back. listening_since_ns: since when the engine could have heard."""
        self._refresh()
        mute = {
            g for g, at in self._arrived.items() if self._mute(g, at, now_ns, listening_since_ns)
        }
        found: list[Transition] = []
        for info in self._assets.values():
            for rule in self._rules.get(info.kind, []):
                step = self._judge(rule, info, mute, now_ns, listening_since_ns)
                found += [step] if step is not None else []
        return found

    def adopt(self, live: Iterable[Firing]) -> list[str]:
        """As `RuleEngine.adopt`, for alerts of rules on silence."""
        self._refresh()
        watched = {
            alert_key(rule.id, info.asset): info
            for info in self._assets.values()
            for rule in self._rules.get(info.kind, [])
        }
        orphans: list[str] = []
        for alert in live:
            if alert.key in watched:
                self._firing.setdefault(alert.key, alert.since_ns)
            else:
                orphans.append(alert.key)
        return orphans

    def snapshot(self) -> bytes:
        maps = [getattr(self, name) for name in _MAPS]
        return orjson.dumps(maps, option=orjson.OPT_SORT_KEYS)

    def restore(self, state: bytes) -> None:
        for name, known in zip(_MAPS, orjson.loads(state), strict=True):
            setattr(self, name, known)

    def _index(self) -> None:
        self._generation = self._catalog.generation
        self._info: Mapping[int, SeriesInfo] = {
            i.id: i for i in self._catalog.all() if not i.derived
        }
        self._assets = {info.asset: info for info in self._info.values()}

    def _refresh(self) -> None:
        if self._catalog.generation != self._generation:
            self._index()

    @staticmethod
    def _advance(clock: dict[str, int], name: str, at: int) -> None:
        clock[name] = max(at, clock.get(name, at))

    def _mute(self, gateway: str, arrived: int, now_ns: int, listening_since_ns: int) -> bool:
        info = self._assets.get(gateway)
        limits = [r.silent_for_s or 0.0 for r in self._rules.get(info.kind, [])] if info else []
        return any(now_ns - max(arrived, listening_since_ns) > limit * _S for limit in limits)

    def _judge(
        self, rule: Rule, info: SeriesInfo, mute: set[str], now_ns: int, listening_since_ns: int
    ) -> Transition | None:
        gateway = self._through.get(info.asset)
        is_gateway = info.kind == "gateway"
        last = self._arrived.get(info.asset) if is_gateway else self._good.get(info.asset)
        if last is None or (gateway in mute and not is_gateway):
            return None  # never heard of: unknown, not silent; or behind a gateway that is silent itself
        if is_gateway or gateway is None:
            present, begun = now_ns, max(last, listening_since_ns)
        else:
            present, begun = self._stream[gateway], max(last, self._started.get(gateway, last))
        limit_ns = int((rule.silent_for_s or 0.0) * _S)
        key = alert_key(rule.id, info.asset)
        if present - begun > limit_ns and key not in self._firing:
            self._firing[key] = begun
            return _step("fired", key, rule, info, begun + limit_ns, begun)
        if present - begun <= limit_ns and key in self._firing and last > self._firing[key]:
            return _step("resolved", key, rule, info, last, self._firing.pop(key))
        return None


def _newest(good: Batch) -> list[tuple[int, int]]:
    """(series, time of its newest sample)."""
    series = np.unique(good.series)
    at = np.full(len(series), np.iinfo(np.int64).min)
    np.maximum.at(at, np.searchsorted(series, good.series), good.at)
    return list(zip(series.tolist(), at.tolist(), strict=True))


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
