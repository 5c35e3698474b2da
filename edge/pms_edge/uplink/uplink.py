"""To the engine: go-back-N over MQTT. The broker's PUBACK frees nothing, the engine's ack does."""

import json
import logging
import queue
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_edge.batch import payload
from pms_edge.config.gateway_file import Uplink as UplinkSettings
from pms_edge.config.tls import tls_context
from pms_edge.counters import Counters
from pms_edge.logs import kv
from pms_edge.spool.file import LANES
from pms_edge.spool.spool import Spool
from pms_edge.uplink.cursor import RESEND_S, Cursor

log = logging.getLogger(__name__)

IDLE_S = 10.0
KEEPALIVE_S = 15
CONNECT_S = 5.0
BACKOFF_S = (0.4, 60.0)
STEADY_S = 10.0  # a connection that lasted this long resets the back-off

UNHEARD_RESENDS = 3
REPLIES = 64  # kept while the connection is away; the oldest goes first

Report = Callable[[], Mapping[str, Any]]
Take = Callable[[bytes], None]  # called on the client's thread: must not block


class Session:
    """One connection with its own client, so that the library never resends by itself."""

    def __init__(
        self,
        settings: UplinkSettings,
        gateway: str,
        root: str,
        wake: threading.Event,
        commands: Mapping[str, Take],
    ) -> None:
        self._commands = commands
        self.subscribed = threading.Event()
        self.lost = threading.Event()
        self.rebirth = threading.Event()
        self.acks: queue.SimpleQueue[tuple[str, bytes | bytearray]] = queue.SimpleQueue()
        self.refusal = ""
        self._root, self._wake = root, wake
        self._connected, self._answered = threading.Event(), threading.Event()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"pms-edge-{gateway}",
            reconnect_on_failure=False,
        )
        self.client.max_inflight_messages_set(0)
        self.client.connect_timeout = CONNECT_S
        self.client.will_set(f"{root}/state", "offline", qos=1, retain=True)
        if settings.username:
            self.client.username_pw_set(settings.username, settings.password)
        if settings.tls:
            tls = settings.tls
            self.client.tls_set_context(tls_context(tls.ca, tls.cert, tls.key))
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.on_socket_open = _no_delay

    def open(self, host: str, port: int) -> None:
        """Connects and subscribes to acks and commands. Raises OSError."""
        self.client.connect(host, port, keepalive=KEEPALIVE_S)
        self.client.loop_start()
        self._answered.wait(CONNECT_S)
        if not self._connected.is_set():
            raise ConnectionError(self.refusal or "no answer from the broker")
        topics = ["ack/+", "cmd/+", *(t for t in self._commands if not t.startswith("cmd/"))]
        self.client.subscribe([(f"{self._root}/{topic}", 1) for topic in topics])

    def publish(self, topic: str, body: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
        self.client.publish(f"{self._root}/{topic}", body, qos=qos, retain=retain)

    def close(self, *, say_offline: bool) -> None:
        if say_offline and self._connected.is_set():
            done = self.client.publish(f"{self._root}/state", "offline", qos=1, retain=True)
            try:
                done.wait_for_publish(0.5)
            except (RuntimeError, ValueError):
                log.debug("connection lost before `offline` was sent")
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            self.refusal = f"broker refused: {reason}"
        else:
            self._connected.set()
        self._answered.set()

    def _on_subscribe(self, _c: Any, _u: Any, _mid: int, reasons: list[Any], _p: Any) -> None:
        if not any(reason.is_failure for reason in reasons):
            self.subscribed.set()
            return
        self.refusal = "broker refused a subscription"
        self.lost.set()
        self._wake.set()

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if not self._connected.is_set() and not self.refusal:
            self.refusal = f"broker closed the connection: {reason}"
        self._answered.set()
        self.lost.set()
        self._wake.set()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix(f"{self._root}/")
        if topic == "cmd/rebirth":
            self.rebirth.set()
        elif topic.startswith("ack/"):
            self.acks.put((topic.removeprefix("ack/"), message.payload))
        elif topic in self._commands:
            self._commands[topic](bytes(message.payload))
        self._wake.set()


class Uplink:
    """Publishes the spool, the birth and the health of one gateway; runs on its own thread."""

    def __init__(
        self,
        settings: UplinkSettings,
        spool: Spool,
        *,
        gateway: str,
        site: str,
        window: int,
        birth: Report,
        health: Report,
        health_every_s: float,
        counters: Counters,
        commands: Mapping[str, Take] | None = None,
        resend_s: float = RESEND_S,
    ) -> None:
        """`commands`: what to call with the payload of a topic such as `cmd/write`."""
        self._resend_s = resend_s
        self._commands = commands or {}
        self._replies: deque[tuple[str, str]] = deque(maxlen=REPLIES)
        self._retained: dict[str, str] = {}
        self._session_now: Session | None = None
        self._settings, self._spool, self._counters = settings, spool, counters
        self._gateway, self._root = gateway, f"pms/v1/{site}/{gateway}"
        self._birth, self._health, self._health_every_s = birth, health, health_every_s
        self._cursors = {lane: Cursor(window, resend_s) for lane in LANES}
        self._epoch = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._born_anew = threading.Event()
        self.connected = threading.Event()
        self._failing = self._unheard = False
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        spool.on_change = self._wake.set

    def start(self) -> None:
        self._thread.start()

    def say_birth(self) -> None:
        """The birth has changed: publish it anew. Any thread."""
        self._born_anew.set()
        self._wake.set()

    def stop(self, timeout_s: float = 1.0) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)

    @property
    def confirmed(self) -> bool:
        """Whether the broker has granted this connection's subscriptions."""
        session = self._session_now
        return session is not None and session.subscribed.is_set() and not session.lost.is_set()

    def reply(self, topic: str, report: Mapping[str, Any]) -> None:
        """Published once, as soon as there is a connection. From any thread."""
        self._replies.append((topic, _json(report)))
        self._wake.set()

    def retain(self, topic: str, report: Mapping[str, Any]) -> None:
        """Published retained now and on every new connection. From any thread."""
        self._retained[topic] = text = _json(report)
        session = self._session_now
        if session is not None:
            session.publish(topic, text, retain=True)

    def _run(self) -> None:
        backoff = BACKOFF_S[0]
        while not self._stopping.is_set():
            opened = time.monotonic()
            self._session()
            if time.monotonic() - opened > STEADY_S:
                backoff = BACKOFF_S[0]
            self._stopping.wait(backoff * random.uniform(0.8, 1.2))
            backoff = min(2 * backoff, BACKOFF_S[1])

    def _session(self) -> None:
        try:
            session = Session(self._settings, self._gateway, self._root, self._wake, self._commands)
        except (OSError, ValueError) as error:  # unreadable certificate
            self._failed(error)
            return
        try:
            session.open(self._settings.host, self._settings.port)
            self._recovered()
            self._session_now = session
            self.connected.set()
            self._serve(session)
        except OSError as error:
            self._failed(error)
        finally:
            self.connected.clear()
            self._session_now = None
            session.close(say_offline=self._stopping.is_set())

    def _serve(self, session: Session) -> None:
        session.publish("state", "online", retain=True)
        for topic, report in list(self._retained.items()):
            session.publish(topic, report, retain=True)
        session.rebirth.set()
        for cursor in self._cursors.values():
            cursor.restart()
        health_at = 0.0
        while not (session.lost.is_set() or self._stopping.is_set()):
            self._wake.clear()
            self._take_acks(session)
            self._say_birth(session)
            self._send_due(session)
            while self._replies:
                session.publish(*self._replies.popleft())
            if time.monotonic() >= health_at:
                health_at = time.monotonic() + self._health_every_s
                session.publish("health", _json(self._health()), qos=0)
            waiting = any(cursor.waits_for_ack() for cursor in self._cursors.values())
            self._wake.wait(
                min(health_at - time.monotonic(), self._resend_s / 5 if waiting else IDLE_S)
            )
        if session.lost.is_set() and not self._stopping.is_set():
            self._failed(ConnectionError(session.refusal or "connection to the broker lost"))

    def _take_acks(self, session: Session) -> None:
        while not session.acks.empty():
            lane, body = session.acks.get()
            ack = parse_ack(body)
            if ack is None:
                self._counters.complain(log, "malformed_acks", place=lane)
            else:
                self._spool.ack(lane, *ack)

    def _say_birth(self, session: Session) -> None:
        if self._epoch != self._spool.epoch:
            self._epoch = self._spool.epoch
            session.rebirth.set()
            for cursor in self._cursors.values():
                cursor.restart()
        if session.rebirth.is_set() or self._born_anew.is_set():
            session.rebirth.clear()
            self._born_anew.clear()
            last = {lane: self._spool.span(lane).last for lane in LANES}
            birth = {**self._birth(), "epoch": self._epoch, "last_seq": last}
            session.publish("birth", _json(birth), retain=True)

    def _send_due(self, session: Session) -> None:
        for lane in reversed(LANES):  # events first
            cursor, span = self._cursors[lane], self._spool.span(lane)
            before = cursor.next
            first, end = cursor.due(span, time.monotonic())
            if first < before:
                self._counters.add("resends")
            rows = self._spool.read(lane, first, end) if first < end else []
            for seq, batch, _ in rows:
                message = payload(
                    batch,
                    gateway=self._gateway,
                    epoch=self._epoch,
                    seq=seq,
                    base=min(span.base, seq),
                    encoding=self._settings.encoding,
                )
                session.publish(lane, message)
                cursor.next = seq + 1
        self._say_unheard()

    def _say_unheard(self) -> None:
        """Connected, but nothing is acked: the engine is away, or the broker's ACL drops what we say."""
        resends = [cursor.resends for cursor in self._cursors.values()]
        if max(resends) >= UNHEARD_RESENDS and not self._unheard:
            self._unheard = True
            log.warning("nothing is acknowledged: engine away, or not allowed by the broker")
        elif self._unheard and not any(resends):
            self._unheard = False
            log.info("acknowledged again")

    def _failed(self, error: Exception) -> None:
        self._counters.add("uplink_failures")
        if not self._failing:
            place = f"{self._settings.host}:{self._settings.port}"
            log.warning("uplink lost", extra=kv(broker=place, error=error))
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            log.info("uplink restored")
        self._failing = False


def parse_ack(body: bytes | bytearray) -> tuple[str, int] | None:
    """(epoch, seq) of an engine's ack; None when it is not one."""
    try:
        ack: Any = json.loads(body)
        epoch, seq = ack["epoch"], ack["seq"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    sound = isinstance(epoch, str) and isinstance(seq, int) and not isinstance(seq, bool)
    return (epoch, seq) if sound and seq >= 0 else None


def _json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, ensure_ascii=False, separators=(",", ":"))


def _no_delay(_client: Any, _userdata: Any, sock: Any) -> None:
    # Without it a 10 kB publish waits for the peer's delayed ACK: p50 10.6 ms instead of 0.3.
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
