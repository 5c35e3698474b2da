"""Signed messages to one gateway and its answers: configuration (`cfg/…`) and writes (`cmd/write`).

The signature is HMAC-SHA256 over the topic, a line feed and the message without `hmac` as JSON with
sorted keys, no spaces and ASCII only. Whoever holds the broker but not the key can neither
configure a gateway nor move a machine.
"""

import hashlib
import hmac
import json
import queue
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_iot.kernel.errors import ConfigError, PmsError
from pms_iot.settings import MqttSettings
from pms_iot.telemetry.tls import tls_context

MIN_KEY_BYTES = 32
MAX_BYTES = 512 * 1024
_CONNECT_S = 10.0
_KEEPALIVE_S = 30

Content = Mapping[str, Any]


class BrokerUnavailableError(PmsError):
    """The broker did not let us in."""


class Place(NamedTuple):
    """A gateway as the register names it."""

    site: str
    gateway: str

    def topic(self, last: str) -> str:
        return f"pms/v1/{self.site}/{self.gateway}/{last}"


class Ask(NamedTuple):
    """What to publish once the answers are subscribed to."""

    topic: str
    payload: bytes
    retain: bool


def place_of(text: str) -> Place:
    """`site/gateway`. Raises ConfigError."""
    site, slash, gateway = text.partition("/")
    if not (site and slash and gateway) or set(text) & set("+#\0") or "/" in gateway:
        raise ConfigError(text, "is not SITE/GATEWAY")
    return Place(site, gateway)


def read_key(file: Path) -> bytes:
    """The gateway's push key. Raises ConfigError."""
    try:
        key = file.read_bytes().strip()
    except OSError as problem:
        raise ConfigError(str(file), f"cannot be read: {problem.strerror}") from problem
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(str(file), f"a key has at least {MIN_KEY_BYTES} bytes, not {len(key)}")
    return key


def new_id() -> str:
    return secrets.token_hex(8)


def signed(key: bytes, topic: str, content: Content) -> bytes:
    """The payload for `topic`. Raises ConfigError when it is too large for a gateway."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    mark = hmac.new(key, f"{topic}\n{text}".encode(), hashlib.sha256).hexdigest()
    payload = json.dumps({**content, "hmac": mark}, ensure_ascii=True).encode()
    if len(payload) > MAX_BYTES:
        raise ConfigError(topic, f"{len(payload)} bytes; a gateway takes at most {MAX_BYTES}")
    return payload


def configuration(
    file: Path, profiles: list[Path], *, id: str, issued_ns: int, expires_ns: int
) -> Content:
    """The gateway file and its profiles as the gateway will have them. Raises ConfigError."""
    files = {"gateway.yaml": _text(file)}
    for profile in profiles:
        name = f"profiles/{profile.name}"
        if name in files:
            raise ConfigError(str(profile), f"there are two profiles named {profile.name}")
        files[name] = _text(profile)
    return {"id": id, "issued_ns": issued_ns, "expires_ns": expires_ns, "files": files}


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(str(file), f"cannot be read: {problem}") from problem


def exchange(
    settings: MqttSettings,
    answers: str,
    accepts: Callable[[Content], bool],
    *,
    wait_s: float,
    ask: Ask | None = None,
) -> Content | None:
    """The first accepted answer on the topic `answers`, after publishing `ask`; None if none comes.

    Raises BrokerUnavailableError.
    """
    heard: queue.SimpleQueue[Content | PmsError] = queue.SimpleQueue()
    try:
        client = _client(settings, answers, accepts, heard, ask)
        client.connect(settings.host, settings.port, _KEEPALIVE_S)
    except OSError as problem:
        raise BrokerUnavailableError(f"{settings.host}:{settings.port}: {problem}") from problem
    client.loop_start()
    try:
        answer = heard.get(timeout=wait_s)
    except queue.Empty:
        return None
    finally:
        client.disconnect()
        client.loop_stop()
    if isinstance(answer, PmsError):
        raise answer
    return answer


def _client(
    settings: MqttSettings,
    answers: str,
    accepts: Callable[[Content], bool],
    heard: "queue.SimpleQueue[Content | PmsError]",
    ask: Ask | None,
) -> mqtt.Client:
    name = f"{settings.client_id}-{secrets.token_hex(4)}"
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.connect_timeout = _CONNECT_S
    if settings.username is not None:
        password = settings.password
        client.username_pw_set(settings.username, password.get_secret_value() if password else None)
    if (tls := tls_context(settings)) is not None:
        client.tls_set_context(tls)

    def on_connect(c: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            heard.put(BrokerUnavailableError(f"broker refuses us: {reason}"))
        else:
            c.subscribe(answers, 1)

    def on_subscribe(c: mqtt.Client, _u: Any, _m: int, reasons: list[Any], _p: Any) -> None:
        nonlocal ask
        if any(reason.is_failure for reason in reasons):
            heard.put(BrokerUnavailableError(f"broker refuses the subscription to {answers}"))
        elif ask is not None:
            c.publish(ask.topic, ask.payload, qos=1, retain=ask.retain)
            ask = None  # once, also when the connection is lost and comes back

    def on_message(_c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        answer = _object(message.payload)
        if answer is not None and accepts(answer):
            heard.put(answer)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    return client


def _object(payload: bytes | bytearray) -> Content | None:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
