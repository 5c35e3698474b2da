"""A device on MQTT: telemetry each period, events of alarm bits, retained status with last will."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass

import aiomqtt

from pms_simulators.clock import Clock
from pms_simulators.device import Device

log = logging.getLogger(__name__)
FASTEST_S = 0.05  # real seconds: at most 20 messages a second
RECONNECT_S = (0.5, 1.0, 2.0, 5.0)
CATCH_UP_STEPS = 600
GOOD = 192


@dataclass(frozen=True)
class Broker:
    host: str
    port: int


class MqttPublisher:
    """Publishes one device until cancelled; reconnects by itself.

    `topic` ends in /telemetry; /event and /status stand beside it. `seq` counts telemetry messages
    from 1. While the device is silent nothing is published but the `offline` that a broker would
    send as its last will.
    """

    def __init__(
        self, device: Device, topic: str, period_s: float, broker: Broker, clock: Clock
    ) -> None:
        self._device, self._topic, self._broker, self._clock = device, topic, broker, clock
        self._base = topic.rpartition("/")[0]
        self._wait_s = max(FASTEST_S, period_s / clock.factor)
        self._seq = 0
        self._alarms: dict[str, float] = {}

    async def run(self) -> None:
        failures = 0
        while True:
            connected_at = time.monotonic()
            try:
                await self._session()
            except aiomqtt.MqttError as error:
                failures = 0 if time.monotonic() - connected_at > 10 else failures + 1
                if failures <= 1:
                    log.warning("mqtt lost asset=%s error=%s", self._device.asset, error)
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])

    async def _session(self) -> None:
        status = f"{self._base}/status"
        will = aiomqtt.Will(status, "offline", qos=1, retain=True)
        async with aiomqtt.Client(
            self._broker.host, self._broker.port, will=will, timeout=5, keepalive=15
        ) as client:
            try:
                await self._publish_all(client, status)
            except asyncio.CancelledError:
                with contextlib.suppress(aiomqtt.MqttError):  # the last will says it then
                    await client.publish(status, "offline", qos=1, retain=True, timeout=0.5)
                raise

    async def _publish_all(self, client: aiomqtt.Client, status: str) -> None:
        shown = ""
        due = time.monotonic()
        while True:
            self._device.advance(self._clock.elapsed_s(), CATCH_UP_STEPS)
            state = "offline" if self._device.silent() else "online"
            if state != shown:
                shown = state
                await client.publish(status, state, qos=1, retain=True)
            if state == "online":
                await self._publish(client)
            due = max(due + self._wait_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _publish(self, client: aiomqtt.Client) -> None:
        self._seq += 1
        ts = self._clock.start_ns // 1_000_000 + round(self._device.at_s() * 1000)
        readings = self._device.readings()
        message = {"ts": ts, "seq": self._seq, "q": GOOD, "v": readings}
        await client.publish(self._topic, json.dumps(message), qos=1)
        alarms = {key: readings[key] for key in self._device.alarm_bits}
        before, self._alarms = self._alarms or alarms, alarms
        for key, value in alarms.items():
            if value != before[key]:
                event = json.dumps({"ts": ts, "key": key, "value": value})
                await client.publish(f"{self._base}/event", event, qos=1)
