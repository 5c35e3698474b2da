"""The engine's side of signed messages, as a test speaks it."""

import json
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pms_edge.remote.signed import signature
from tiny_engine import eventually

KEY = b"0123456789abcdef0123456789abcdef"
ROOT = "pms/v1/riverside/gw-01"
S = 1_000_000_000


class Operator:
    """Publishes signed messages and keeps every answer, with whether it was retained."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {"cfg/reported": [], "cmd/res": []}
        self.births: list[dict[str, Any]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *_: c.subscribe(f"{ROOT}/#", 1)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def push(self, files: dict[str, str], *, id: str = "c1", **more: Any) -> None:
        now = time.time_ns()
        content = {"id": id, "issued_ns": now, "expires_ns": now + 600 * S, "files": files, **more}
        self.send("cfg/desired", content, retain=True)

    def write(self, value: float, expect: float, *, id: str = "w1", **more: Any) -> None:
        content: dict[str, Any] = {
            "id": id,
            "device": "P1",
            "point": "setpoint",
            "value": value,
            "expect": expect,
            "expires_ns": time.time_ns() + 30 * S,
            "by": "op-7",
        }
        self.send("cmd/write", content | more)

    def send(
        self, topic: str, content: dict[str, Any], *, key: bytes = KEY, retain: bool = False
    ) -> None:
        mark = signature(key, f"{ROOT}/{topic}", content)
        self.publish(topic, json.dumps({**content, "hmac": mark}), retain=retain)

    def publish(self, topic: str, body: str | bytes, *, retain: bool = False) -> None:
        self.client.publish(f"{ROOT}/{topic}", body, qos=1, retain=retain)

    def report(self, id: str, *statuses: str, topic: str = "cfg/reported") -> dict[str, Any]:
        """The last answer about `id` with one of `statuses`, once there is one."""

        def found() -> list[dict[str, Any]]:
            said = [a for a in self.answers[topic] if a["id"] == id]
            return [a for a in said if not statuses or a["status"] in statuses]

        eventually(found, 30)
        return found()[-1]

    def result(self, id: str) -> dict[str, Any]:
        return self.report(id, topic="cmd/res")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _take(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix(f"{ROOT}/")
        if topic in self.answers:
            self.answers[topic].append(json.loads(message.payload))
        elif topic == "birth":
            self.births.append(json.loads(message.payload))


def write_key(folder: Path) -> dict[str, str]:
    (folder / "push.key").write_bytes(KEY + b"\n")
    return {"key_file": "push.key"}
