"""The agent: devices -> lines -> spool -> engine, put together and kept running."""

import asyncio
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pms_edge.batch import Batcher
from pms_edge.clock import Clock
from pms_edge.config.load import Config
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.gb26875.centre import Centre
from pms_edge.gb26875.server import Listener
from pms_edge.health import resident_bytes
from pms_edge.line import series_head, values_line
from pms_edge.logs import kv
from pms_edge.modbus.endpoint import reader_of
from pms_edge.mqtt_in.broker import MqttIn
from pms_edge.polling.poller import EndpointPoller
from pms_edge.promises import promises
from pms_edge.remote.commands import DeviceWrites
from pms_edge.remote.generations import Generations
from pms_edge.remote.push import ConfigPush
from pms_edge.spool.spool import Spool
from pms_edge.uplink.uplink import Uplink
from pms_edge.wall import WallWatch, recorded_ns

log = logging.getLogger(__name__)

MB = 1_000_000
RESTART_S = 1.0
WALL_S = 1.0
HEALTH_S, MIN_HEALTH_S = 10.0, 1.0  # by the agent's clock, which may be compressed; real time


class Agent:
    """One gateway. Raises OSError or sqlite3.Error when the spool cannot be opened at all."""

    def __init__(
        self, config: Config, clock: Clock, generations: Generations | None = None
    ) -> None:
        self.starts_again = False  # with another configuration, after `run` has returned
        self._config, self._clock = config, clock
        self.counters = Counters()
        settings = config.spool
        recorded = recorded_ns(settings.path)  # opening it writes to it
        self._spool = Spool(
            settings.path,
            max_bytes=int(settings.max_mb * MB),
            sync=settings.sync,
            counters=self.counters,
        )
        self._wall = WallWatch(clock, floor_ns=recorded, require_sync=config.clock.require_sync)
        self._started_ns = clock.now_ns()
        self._batcher = Batcher(self._spool.keep)
        self._batcher.uncertain_time = self._wall.uncertain
        self._feeds = {d.id: DeviceFeed(d, self._batcher, self.counters) for d in config.devices}
        self._pollers = self._modbus_pollers()
        self._inputs = self._mqtt_inputs()
        self._listeners = self._fire_listeners()
        self._writes = DeviceWrites(
            config,
            self._pollers,
            now_ns=clock.now_ns,
            clock_uncertain=lambda: self._wall.uncertain,
            reply=self._answer,
            counters=self.counters,
        )
        self._push = self._config_push(generations) if generations and config.push else None
        self._uplink = Uplink(
            config.uplink,
            self._spool,
            gateway=config.gateway,
            site=config.site,
            window=settings.window,
            birth=self.birth,
            health=self.health,
            health_every_s=max(HEALTH_S / clock.factor, MIN_HEALTH_S),
            counters=self.counters,
            commands={"cmd/write": self._writes.offer}
            | ({"cfg/desired": self._push.offer} if self._push else {}),
        )
        for feed in self._feeds.values():
            feed.renamed = self._uplink.say_birth

    async def run(self, stop: asyncio.Event, ready_file: Path | None = None) -> None:
        """Until `stop`; then what was read so far is committed to the spool."""
        self._uplink.start()
        for source in self._inputs.values():
            source.start()
        tasks = [
            asyncio.create_task(self._supervise(name, poller), name=f"poll {name}")
            for name, poller in {**self._pollers, **self._listeners}.items()
        ]
        tasks.append(asyncio.create_task(self._writes.run(), name="writes"))
        if self._push:
            tasks.append(asyncio.create_task(self._follow(self._push, stop), name="push"))
        tasks.append(asyncio.create_task(self._flush_for_ever(), name="flush"))
        tasks.append(asyncio.create_task(self._watch_wall_clock(), name="clock"))
        if ready_file:
            ready_file.write_text(f"{self._spool.epoch}\n", "ascii")
        log.info("running", extra=kv(gateway=self._config.gateway, epoch=self._spool.epoch))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.5)
        self._stop()

    def birth(self) -> Mapping[str, Any]:
        devices = [
            {
                "id": d.id,
                "kind": d.profile.kind,
                "profile": d.profile.id,
                "site": d.site,
                "nameplate": self._feeds[d.id].nameplate,
            }
            for d in self._config.devices
        ]
        return {
            "gateway": self._config.gateway,
            "site": self._config.site,
            "config_hash": self._config.hash,
            "version": version("pms-edge"),
            "started_ns": self._started_ns,
            "devices": devices,
            "profiles": promises(self._config),
        }

    def health(self) -> Mapping[str, Any]:
        now_ns, stats = self._clock.now_ns(), self._spool.stats()
        return {
            "at_ns": now_ns,
            "spool": {**stats._asdict(), "failing": self._spool.failing},
            "devices": {
                name: feed.health.report(now_ns, feed.device.stale_after_s)
                for name, feed in self._feeds.items()
            },
            "endpoints": {
                name: source.report()
                for name, source in {**self._pollers, **self._listeners, **self._inputs}.items()
            },
            "clock": self._wall.report(),
            "rss_bytes": resident_bytes(),
            "counters": self.counters.all(),
        }

    def _modbus_pollers(self) -> dict[str, EndpointPoller]:
        pollers: dict[str, EndpointPoller] = {}
        for name, endpoint in self._config.endpoints.items():
            feeds = [self._feeds[d.id] for d in self._config.devices_of(name)]
            if endpoint.is_modbus and feeds:
                pollers[name] = EndpointPoller(
                    reader_of(endpoint),
                    feeds,
                    self._config.classes,
                    timeout_s=endpoint.timeout,
                    clock=self._clock,
                    counters=self.counters,
                    name=name,
                )
        return pollers

    def _fire_listeners(self) -> dict[str, Listener]:
        """Also without a device: `health` then tells the addresses of those that report."""
        listeners: dict[str, Listener] = {}
        for name, endpoint in self._config.endpoints.items():
            if endpoint.gb26875:
                centre = Centre(
                    [self._feeds[d.id] for d in self._config.devices_of(name)],
                    batcher=self._batcher,
                    settled=self._spool.settled,
                    clock=self._clock,
                    counters=self.counters,
                )
                listeners[name] = Listener(
                    endpoint.gb26875, endpoint.transport, centre, counters=self.counters
                )
        return listeners

    def _mqtt_inputs(self) -> dict[str, MqttIn]:
        inputs: dict[str, MqttIn] = {}
        for name, endpoint in self._config.endpoints.items():
            feeds = [self._feeds[d.id] for d in self._config.devices_of(name)]
            if endpoint.mqtt and feeds:
                inputs[name] = MqttIn(
                    endpoint,
                    feeds,
                    client_id=f"pms-edge-{self._config.gateway}-in-{name}",
                    clock=self._clock,
                    counters=self.counters,
                )
        return inputs

    async def _supervise(self, name: str, poller: EndpointPoller | Listener) -> None:
        while True:
            try:
                await poller.run()
            except Exception:
                self.counters.add("poller_crashes")
                log.exception("poller failed, starting it again", extra=kv(endpoint=name))
            await asyncio.sleep(RESTART_S)

    def _config_push(self, generations: Generations) -> ConfigPush:
        return ConfigPush(
            generations,
            self._config,
            now_ns=self._clock.now_ns,
            clock_uncertain=lambda: self._wall.uncertain,
            confirmed=lambda: self._uplink.confirmed,
            report=self._tell,
            counters=self.counters,
        )

    def _answer(self, result: Mapping[str, Any]) -> None:
        self._uplink.reply("cmd/res", result)

    def _tell(self, report: Mapping[str, Any]) -> None:
        self._uplink.retain("cfg/reported", report)

    async def _follow(self, push: ConfigPush, stop: asyncio.Event) -> None:
        while not self.starts_again:
            try:
                await push.run()
                self.starts_again = True
            except Exception:  # a full disk, or a mistake of ours in reading a message
                self.counters.add("config_failures")
                log.exception("following pushed configuration failed, starting it again")
                await asyncio.sleep(RESTART_S)
        stop.set()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._config.spool.flush)
            self._batcher.flush()

    async def _watch_wall_clock(self) -> None:
        while True:
            await asyncio.sleep(WALL_S)
            self._look_at_wall_clock()

    def _look_at_wall_clock(self) -> None:
        """A step is an event of the gateway's own series; nothing already stamped is touched."""
        step_s, unsure = self._wall.check(), self._wall.uncertain
        self._batcher.uncertain_time = unsure
        if step_s is not None:
            self.counters.add("clock_steps")
            head = series_head("gateway", site=self._config.site, asset=self._config.gateway)
            values = {"clock_step_s": step_s, "clock_uncertain": int(unsure)}
            self._batcher.add_event(values_line(head, values, self._clock.now_ns()))

    def _stop(self) -> None:
        for source in self._inputs.values():
            source.stop()
        self._batcher.flush()
        self._uplink.stop(1.0)  # meanwhile the spool commits on its own thread
        self._spool.close(1.0)
        log.info("stopped")
