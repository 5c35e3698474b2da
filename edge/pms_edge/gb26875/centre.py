"""The centre: takes the frames of all transmission devices of an endpoint, and answers them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from pms_edge.batch import Batcher
from pms_edge.clock import Clock
from pms_edge.config.load import Device
from pms_edge.counters import Counters
from pms_edge.decode.decoder import Decoded
from pms_edge.feed import DeviceFeed
from pms_edge.gb26875 import commands
from pms_edge.gb26875.device_clock import Now
from pms_edge.gb26875.frames import CONFIRM, DENY, Damaged, Frame
from pms_edge.gb26875.mapping import PanelMap
from pms_edge.gb26875.transmitter import Emission, Transmitter
from pms_edge.line import render_mixed
from pms_edge.logs import kv

log = logging.getLogger(__name__)

# Never waits; raises OSError when the peer is gone or does not read.
Send = Callable[[bytes], None]

DURABLE_S, DURABLE_POLL_S = 5.0, 0.005
UNKNOWN_SOURCES = 32


class Centre:
    """Devices by their source address.

    A report is confirmed once it is in the spool on disk; until then the device keeps it and sends
    it again. An unknown source is denied: its device then shows that nobody takes its alarms.
    """

    def __init__(
        self,
        feeds: list[DeviceFeed],
        *,
        batcher: Batcher,
        settled: Callable[[], bool],
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._batcher, self._settled = batcher, settled
        self._clock, self._counters = clock, counters
        self._feeds = {feed.device.address: feed for feed in feeds}
        self._devices = {feed.device.address: self._transmitter(feed.device) for feed in feeds}
        self._routes: dict[str, Send] = {}
        self._unknown: dict[str, int] = {}

    def knows(self, item: Frame | Damaged) -> bool:
        return isinstance(item, Frame) and item.source in self._devices

    async def take(self, item: Frame | Damaged, send: Send) -> None:
        """One frame, and the answer to it by way of `send`. Raises OSError when that fails."""
        now = self._now()
        if isinstance(item, Damaged):
            self._wrong("checksum", item.frame.source)
            send(commands.deny(item.frame, now.at).encode())
        elif item.source not in self._devices:
            self._note_unknown(item.source)
            send(commands.deny(item, now.at).encode())
        else:
            await self._take_known(self._devices[item.source], item, send, now)

    def tick(self) -> None:
        """What is due: ages, lost links, commands and their repetitions."""
        now = self._now()
        for address, device in self._devices.items():
            was_up = device.link
            self._emit(address, device.tick(now))
            if was_up and not device.link:
                log.warning("transmission device lost", extra=kv(address=address))
                self._feeds[address].health.failed("no frame in time")
                self._routes.pop(address, None)
            self._command(address, device)

    def forget(self, send: Send) -> None:
        """The connection behind `send` is closed."""
        self._routes = {a: route for a, route in self._routes.items() if route is not send}

    def check_duty(self, device_id: str) -> None:
        """Asks the person on duty at that device to answer. Raises KeyError for an unknown device."""
        by_id = {feed.device.id: address for address, feed in self._feeds.items()}
        self._devices[by_id[device_id]].check_duty()

    def report(self) -> Mapping[str, Any]:
        """For `health`: the devices, and who else tries to report here."""
        now = self._now()
        return {
            "devices": {
                self._feeds[a].device.id: device.report(now) for a, device in self._devices.items()
            },
            "unknown_sources": dict(self._unknown),
        }

    async def _take_known(self, device: Transmitter, frame: Frame, send: Send, now: Now) -> None:
        was_up = device.link
        outcome = device.take(frame, now)
        if not was_up:
            log.info("transmission device on line", extra=kv(address=frame.source))
        self._routes[frame.source] = send
        self._feeds[frame.source].health.good(now.ns)
        for kind in outcome.wrong:
            self._wrong(kind, frame.source)
        self._emit(frame.source, outcome.emissions)
        if outcome.reply == DENY:
            send(commands.deny(frame, now.at).encode())
        elif outcome.reply == CONFIRM and await self._durable(bool(frame.data)):
            send(commands.confirm(frame, self._now().at).encode())
        self._send_commands(device, send)

    def _command(self, address: str, device: Transmitter) -> None:
        route = self._routes.get(address)
        try:
            if route is not None:
                self._send_commands(device, route)
        except OSError:
            self._routes.pop(address, None)
            self._counters.add("gb26875_send_failures")

    def _send_commands(self, device: Transmitter, send: Send) -> None:
        frame = device.to_send(self._now())
        if frame is not None:
            send(frame.encode())

    async def _durable(self, has_content: bool) -> bool:
        """Whether what was reported is on disk; False when that takes too long."""
        if not has_content:
            return True
        self._batcher.flush()
        for _ in range(int(DURABLE_S / DURABLE_POLL_S)):
            if self._settled():
                return True
            await asyncio.sleep(DURABLE_POLL_S)
        self._counters.complain(log, "gb26875_not_confirmed", place="spool")
        return False

    def _emit(self, address: str, emissions: list[Emission]) -> None:
        head = self._feeds[address].head
        for values, at_ns, event in emissions:
            pairs = list(values.values())
            decoded = Decoded([value for value, _ in pairs], [quality for _, quality in pairs])
            line = render_mixed(head, list(values), decoded, at_ns)
            (self._batcher.add_event if event else self._batcher.add)(line)

    def _note_unknown(self, source: str) -> None:
        if source in self._unknown or len(self._unknown) < UNKNOWN_SOURCES:
            self._unknown[source] = self._unknown.get(source, 0) + 1
            self._wrong("unknown_sources", source)
        else:
            self._counters.add("gb26875_unknown_sources")

    def _wrong(self, kind: str, source: str) -> None:
        place = source if source in self._devices or source in self._unknown else "other"
        self._counters.complain(log, f"gb26875_{kind}", place=place)

    def _transmitter(self, device: Device) -> Transmitter:
        return Transmitter(
            device.address,
            device.profile.panel or PanelMap((), {}),
            now=self._now(),
            stale_after_s=device.stale_after_s,
            duty_check_every_s=device.duty_check_every_s,
        )

    def _now(self) -> Now:
        sure = not self._batcher.uncertain_time
        return Now(self._clock.now_ns(), self._clock.steady_ns(), sure)
