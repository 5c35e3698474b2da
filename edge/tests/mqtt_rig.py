"""Devices of a local broker without the broker: messages in, lines out."""

import json
from typing import Any

from pms_edge.batch import Batcher
from pms_edge.clock import NS
from pms_edge.config.load import Device
from pms_edge.config.located import Document
from pms_edge.counters import Counters
from pms_edge.feed import DeviceFeed
from pms_edge.mqtt_in.adoption import Adoption
from pms_edge.mqtt_in.device import MappedDevice
from pms_edge.mqtt_in.messages import Message
from pms_edge.profiles.profile import load_profile

NOW = 1_700_000_000 * NS
HEAD = "room,site=s,asset=R1 "


class Rig:
    """One device; `now` and `elapsed` are ours."""

    def __init__(
        self, mqtt: str, *, topic: str = "dev/1", ha: str = "", stale: float | None = None
    ):
        text = f"profile: room.v1\nversion: 1\nmeasurement: room\nmqtt:\n{mqtt}"
        document = Document("room.yaml", text)
        profile = load_profile(document)
        assert profile, [str(mistake) for mistake in document.mistakes]
        self.sent: list[str] = []
        self.now, self.elapsed = NOW, 0
        self.counters = Counters()
        self.batcher = Batcher(lambda b: self.sent.extend(b.body.decode().splitlines()))
        device = Device("R1", "s", profile, "local", 1, topic, (), stale, ha_device=ha)
        self.feed = DeviceFeed(device, self.batcher)
        self.device = MappedDevice(
            self.feed, counters=self.counters, elapsed_ns=lambda: self.elapsed
        )
        self.changes: list[set[str]] = []
        self.adoption = Adoption(
            [self.device],
            prefix="homeassistant",
            counters=self.counters,
            on_change=lambda: self.changes.append(set(self.adoption.filters())),
        )

    def take(self, body: Any, topic: str = "dev/1", *, retained: bool = False) -> list[str]:
        """The lines that one message gave, without head; ` @ns` only when not stamped now."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = Message(topic, payload, retained, self.now)
        self.known = [x.take(message) for x in (self.device, self.adoption)]
        return self.lines()

    def expire(self, after_s: float) -> list[str]:
        self.elapsed += round(after_s * NS)
        self.device.expire(self.now)
        return self.lines()

    def lines(self) -> list[str]:
        self.batcher.flush()
        lines, self.sent[:] = list(self.sent), []
        return [self._short(line) for line in lines]

    def _short(self, line: str) -> str:
        text, at = line.removeprefix(HEAD).rsplit(" ", 1)
        return text if int(at) == self.now else f"{text} @{at}"
