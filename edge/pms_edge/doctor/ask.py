"""Asks a running agent for its health, which it publishes every 10 s."""

import json
import queue
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_edge.config.load import Config

WAIT_S = 15.0
CONNECT_S = 5.0


def ask_health(config: Config, wait_s: float = WAIT_S) -> Mapping[str, Any]:
    """Raises OSError when the broker cannot be reached or no health comes within `wait_s`."""
    settings, heard = config.uplink, queue.SimpleQueue[bytes]()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect_timeout = CONNECT_S
    if settings.username:
        client.username_pw_set(settings.username, settings.password)
    if settings.tls:
        files = (settings.tls.ca, settings.tls.cert, settings.tls.key)
        ca, cert, key = (str(file) if file else None for file in files)
        client.tls_set(ca_certs=ca, certfile=cert, keyfile=key)
    topic = f"pms/v1/{config.site}/{config.gateway}/health"

    def on_connect(*_: Any) -> None:
        client.subscribe(topic)

    def on_message(_c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        heard.put(bytes(message.payload))

    client.on_connect, client.on_message = on_connect, on_message
    try:
        client.connect(settings.host, settings.port)
        client.loop_start()
        return json.loads(heard.get(timeout=wait_s))
    except queue.Empty:
        raise OSError(f"no health of {config.gateway} within {wait_s:g} s: does it run?") from None
    except OSError as error:
        raise OSError(f"{settings.host}:{settings.port}: {error}") from error
    finally:
        client.disconnect()
        client.loop_stop()
