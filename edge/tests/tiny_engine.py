"""A tiny engine: commits batches to a list by the rules of wire v1, and acks them."""

import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

HEADER = re.compile(
    rb"#pms1 gw=(\S+) epoch=([0-9a-f]{8}) seq=(\d+) n=(\d+) base=(\d+)(?: encoding=\w+)?\n"
)


class Engine:
    def __init__(
        self, port: int, *, acking: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self.acking = acking
        self.batches: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.messages: list[tuple[str, bytes]] = []
        self.gaps: list[tuple[str, int, int]] = []
        self.out_of_order = 0
        self.state: list[str] = []
        self.births: list[dict[str, Any]] = []
        self.healths: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda c, *_: c.subscribe("pms/v1/#", 1)
        self.client.on_message = self._on_message
        if tls is not None:
            self.client.tls_set_context(tls)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def wait(self, condition: Callable[[], Any], timeout_s: float = 15) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), "the engine never saw it"

    def lines(self, lane: str = "data") -> list[str]:
        bodies = [text for key, got in self.batches.items() if key[1] == lane for _, text in got]
        return [line for text in bodies for line in text.splitlines()]

    def committed(self, epoch: str, lane: str) -> list[int]:
        return [seq for seq, _ in self.batches.get((epoch, lane), [])]

    def ack(self, root: str, lane: str, epoch: str, seq: int) -> None:
        self.client.publish(f"{root}/ack/{lane}", json.dumps({"epoch": epoch, "seq": seq}), 1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        root, _, kind = message.topic.rpartition("/")
        with self._changed:
            if kind in ("data", "event") and not root.endswith("/ack"):
                self._take(root, kind, bytes(message.payload))
            elif kind == "state":
                self.state.append(message.payload.decode())
            elif kind in ("birth", "health"):
                report = json.loads(message.payload)
                (self.births if kind == "birth" else self.healths).append(report)
            self._changed.notify_all()

    def _take(self, root: str, lane: str, body: bytes) -> None:
        self.messages.append((lane, body))
        head = HEADER.match(body)
        assert head, body[:200]
        epoch, seq, base = head[2].decode(), int(head[3]), int(head[5])
        got = self.batches.setdefault((epoch, lane), [])
        watermark = got[-1][0] if got else 0
        if not self.acking:
            return
        if seq == watermark + 1 or (seq == base and seq > watermark):
            if seq != watermark + 1:
                self.gaps.append((lane, watermark, seq))
            got.append((seq, body[head.end() :].decode()))
        elif seq > watermark:
            self.out_of_order += 1
            return
        self.ack(root, lane, epoch, got[-1][0])


def eventually(condition: Callable[[], Any], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
