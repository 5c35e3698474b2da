"""A device on a real Mosquitto: telemetry, events, status, last will, reconnection."""

import itertools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess

import paho.mqtt.client as paho
import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

SCENARIO = """
site: s
seed: 3
assets:
  - {id: DP-01, kind: drainage_pump, mqtt: {topic: local/DP-01/telemetry, period: 10s}}
  - {id: FA-01, kind: fire_panel, mqtt: {topic: local/FA-01/telemetry, period: 10s}}
faults:
  - {asset: FA-01, fault: fire_alarm, onset: 10m, duration: 20m}
  - {asset: DP-01, fault: comms_loss, onset: 10m, duration: 10m}
"""


class Broker:
    """A private Mosquitto on a free port that can be stopped and started again."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process = None

    def start(self, wait):
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait(self._listens, "mosquitto")

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


@pytest.fixture
def broker(tmp_path, wait):
    if MOSQUITTO is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is missing under CI")
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path)
    broker.start(wait)
    yield broker
    broker.stop()


@pytest.fixture
def inbox(broker, wait):
    """Every message below local/ as (topic, payload, retained)."""
    messages = queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = lambda c, u, m: messages.put((m.topic, m.payload.decode(), m.retain))
    client.on_connect = lambda c, *rest: c.subscribe("local/#", qos=1)
    subscribed = []
    client.on_subscribe = lambda *rest: subscribed.append(True)
    client.reconnect_delay_set(0.1, 0.5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    wait(lambda: subscribed, "a subscription")
    yield messages
    client.disconnect()
    client.loop_stop()


def until(inbox, condition):
    """Messages up to the first that the condition accepts."""
    seen = []
    while True:
        seen.append(inbox.get(timeout=20))
        if condition(*seen[-1]):
            return seen


def start(start_sim, tmp_path, broker, **environment):
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return start_sim("run", path, "--mqtt", f"127.0.0.1:{broker.port}", **environment)


def test_telemetry_events_and_status(start_sim, tmp_path, broker, inbox):
    sim = start(start_sim, tmp_path, broker, PMS_CLOCK_FACTOR="300")
    seen = until(inbox, lambda t, p, r: t.endswith("FA-01/event") and '"fire"' in p)
    telemetry = [json.loads(p) for t, p, _ in seen if t == "local/FA-01/telemetry"]
    assert [m["seq"] for m in telemetry] == list(range(1, len(telemetry) + 1))
    assert all(b["ts"] > a["ts"] for a, b in itertools.pairwise(telemetry))
    assert telemetry[0]["q"] == 192
    assert telemetry[0]["v"]["normal"] == 1
    assert telemetry[0]["v"]["batt_v"] == pytest.approx(27.2, abs=0.2)
    event = json.loads(seen[-1][1])
    assert event["value"] == 1
    assert event["ts"] == telemetry[-1]["ts"]
    assert ("local/FA-01/status", "online", False) in seen
    # Lost comms: nothing more but `offline`, until it ends.
    silent = until(inbox, lambda t, p, r: t == "local/DP-01/status" and p == "online")
    topics = [(t, p) for t, p, _ in seen + silent if t.startswith("local/DP-01")]
    offline = topics.index(("local/DP-01/status", "offline"))
    assert topics[offline + 1] == ("local/DP-01/status", "online")
    assert sim.stop() == 0
    until(inbox, lambda t, p, r: t == "local/FA-01/status" and p == "offline")


def test_the_last_will_tells_of_a_death(start_sim, tmp_path, broker, inbox):
    sim = start(start_sim, tmp_path, broker)
    until(inbox, lambda t, p, r: t == "local/DP-01/telemetry")
    sim.process.send_signal(signal.SIGKILL)
    until(inbox, lambda t, p, r: t == "local/DP-01/status" and p == "offline")


def test_it_reconnects_by_itself(start_sim, tmp_path, broker, inbox, wait):
    sim = start(start_sim, tmp_path, broker, PMS_CLOCK_FACTOR="20")
    until(inbox, lambda t, p, r: t == "local/DP-01/telemetry")
    broker.stop()
    while not inbox.empty():
        inbox.get()
    broker.start(wait)
    until(inbox, lambda t, p, r: t == "local/DP-01/telemetry")
    assert sim.stop() == 0
