"""Local brokers that are real ones: outages, logins, wildcards, discovery."""

import json
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from edge_rig import Broker, free_port
from mqtt_rig import Rig
from paho.mqtt.enums import CallbackAPIVersion
from pms_edge.clock import Clock
from pms_edge.config.gateway_file import Endpoint
from pms_edge.mqtt_in.broker import MAX_PAYLOAD, MqttIn
from tiny_engine import eventually

PLAIN = """\
  - {topic: "{topic}/t", format: plain, points: [{name: temperature}]}
"""


class Publisher:
    """A device of the local broker."""

    def __init__(self, port: int) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def __call__(self, topic: str, body: object, *, retain: bool = False) -> None:
        payload = body if isinstance(body, bytes | str) else json.dumps(body)
        self.client.publish(topic, payload, 1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Source:
    """`MqttIn` on one device, and every line that it has sent."""

    def __init__(self, rig: Rig, **endpoint: object) -> None:
        self.rig = rig
        self.lines: list[str] = []
        self.mqtt = MqttIn(
            Endpoint.model_validate(endpoint),
            [rig.feed],
            client_id="gw-in-local",
            clock=Clock(rig.now),
            counters=rig.counters,
        )
        self.mqtt.start()

    def sent(self) -> list[str]:
        self.rig.batcher.flush()
        self.lines += [line.split(" ")[1] for line in self.rig.sent]
        self.rig.sent.clear()
        return self.lines

    def is_subscribed(self) -> bool:
        return self.mqtt.report()["subscriptions"] > 0

    def hears(self, publish: Callable[[], None], line: str) -> None:
        """Publishes until it arrives: a subscription may still be on its way."""

        def heard() -> bool:
            publish()
            return line in self.sent()

        eventually(heard)


@pytest.fixture
def publish(broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Source]]:
    started: list[Source] = []

    def start(rig: Rig, **endpoint: object) -> Source:
        started.append(Source(rig, **endpoint))
        return started[-1]

    yield start
    for source in started:
        source.mqtt.stop()


def test_subscriptions_are_back_after_the_broker_was_killed(broker, publish, start, caplog):
    caplog.set_level(logging.INFO, "pms_edge")
    source = start(Rig(PLAIN), mqtt=f"127.0.0.1:{broker.port}")
    source.hears(lambda: publish("dev/1/t", "1"), "temperature=1,q=192i")
    broker.kill()
    eventually(lambda: not source.mqtt.report()["connected"])
    broker.start()
    eventually(lambda: source.mqtt.report()["connected"])
    source.hears(lambda: publish("dev/1/t", "2"), "temperature=2,q=192i")
    assert source.rig.counters.get("local_broker_lost") == 1
    assert caplog.text.count("local broker away") == 1, "an outage is said once"
    assert caplog.text.count("local broker connected") == 2


def test_a_broker_that_is_away_at_the_start_is_found_later(broker, start, caplog):
    broker.kill()
    source = start(Rig(PLAIN), mqtt=f"127.0.0.1:{broker.port}")
    eventually(lambda: "local broker away" in caplog.text)
    broker.start()
    publisher = Publisher(broker.port)
    source.hears(lambda: publisher("dev/1/t", "3"), "temperature=3,q=192i")
    publisher.close()


def test_a_shared_wildcard_brings_each_message_once_and_unknown_topics_are_listed(
    broker, publish, start
):
    source = start(Rig(PLAIN), mqtt=f"127.0.0.1:{broker.port}", subscribe=["dev/#"])
    source.hears(lambda: publish("dev/1/t", "0"), "temperature=0,q=192i")
    assert source.mqtt.report()["subscriptions"] == 1
    publish("dev/2/t", "7")
    publish("dev/1/t", "x" * (MAX_PAYLOAD + 1))
    publish("dev/1/t", "5")
    publish("dev/1/t", "6")
    eventually(lambda: "temperature=6,q=192i" in source.sent())
    assert source.sent().count("temperature=5,q=192i") == 1
    assert source.mqtt.report()["unknown_topics"] == ["dev/2/t"]
    assert source.rig.counters.all() == {"mqtt_unknown_topics": 1, "mqtt_too_large": 1}


def test_entities_announced_long_ago_are_adopted_on_connecting(broker, publish, start):
    config = {
        "stat_t": "z2m/room",
        "val_tpl": "{{ value_json.temperature }}",
        "dev_cla": "temperature",
        "avty_t": "z2m/state",
        "dev": {"ids": ["0x01"]},
    }
    publish("homeassistant/sensor/0x01/temperature/config", config, retain=True)
    publish(
        "homeassistant/sensor/0x02/humidity/config", {**config, "dev_cla": "humidity"}, retain=True
    )
    publish("z2m/room", {"temperature": 1}, retain=True)
    rig = Rig(
        "  - {format: homeassistant, points: [{name: t, discovered: {device_class: temperature}}]}\n",
        ha="0x01",
    )
    source = start(rig, mqtt=f"127.0.0.1:{broker.port}", discovery="homeassistant")
    source.hears(lambda: publish("z2m/room", {"temperature": 2}), "t=2,q=192i")
    assert "t=1,q=192i" not in source.sent(), "retained: of unknown age"
    publish("z2m/state", "offline", retain=True)
    eventually(lambda: 'bad="t",q=0i' in source.sent())
    report = source.mqtt.report()
    assert report["adopted"] == 1
    assert [entity["device_class"] for entity in report["discovered_unused"]] == ["humidity"]


class SecureBroker(Broker):
    """TLS with a certificate of its own, and a password."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        more = f"-days 2 -subj /CN=local -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out"
        subprocess.run(
            [*command.split(), *more.split(), self.certificate], check=True, capture_output=True
        )
        users = folder / "users"
        subprocess.run(["mosquitto_passwd", "-b", "-c", users, "edge", "secret"], check=True)
        key.chmod(0o644)
        users.chmod(0o644)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
            f"certfile {self.certificate}\nkeyfile {key}\n"
            "user root\n"  # else, started by root, it may not read our folder; no matter to others
        )


@pytest.fixture
def secure(broker: Broker, tmp_path: Path) -> Iterator[SecureBroker]:
    if not shutil.which("openssl") or not shutil.which("mosquitto_passwd"):
        pytest.skip("openssl or mosquitto_passwd is not installed")
    (tmp_path / "secure").mkdir()
    other = SecureBroker(tmp_path / "secure")
    other.start()
    yield other
    other.kill()


def test_a_local_broker_may_want_a_password_and_tls(secure, start):
    login = {"username": "edge", "password": "secret", "tls": {"ca": str(secure.certificate)}}
    source = start(Rig(PLAIN), mqtt=f"127.0.0.1:{secure.port}", **login)
    eventually(source.is_subscribed)


def test_a_refused_login_is_said(secure, start, caplog):
    login = {"username": "edge", "password": "wrong", "tls": {"ca": str(secure.certificate)}}
    source = start(Rig(PLAIN), mqtt=f"127.0.0.1:{secure.port}", **login)
    eventually(lambda: any("refused" in str(getattr(r, "kv", "")) for r in caplog.records))
    assert not source.mqtt.report()["connected"]


def test_a_certificate_file_that_is_away_is_tried_again_and_stops_nothing(tmp_path, start):
    rig = Rig(PLAIN)
    start(rig, mqtt=f"127.0.0.1:{free_port()}", tls={"ca": str(tmp_path / "none.pem")})
    eventually(lambda: rig.counters.get("local_broker_failures") == 1)
