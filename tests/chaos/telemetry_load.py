"""Gateways that send without pause and keep what is not acknowledged, and what the store must hold of it.

Every value names its gateway, batch, asset, row and point. Every gateway has another idea of the time, so
that windows of the store close all the while: see `Gateway.begin_of`.
"""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pms_iot.telemetry.ledger.books import HOUR_NS

SITE, KIND = "chaos", "chaos_meter"
GATEWAYS = ("live", "replay", "scattered", "seam")
ASSETS, ROWS, POINTS = 2, 5, 20
SAMPLES = ASSETS * ROWS * POINTS  # of a batch
UNCERTAIN_ROW, BAD_ROW, BAD_POINTS = 3, 4, (18, 19)  # these points have no value in that row
BATCHES_PER_S = 7.5  # of a gateway: 6,000 samples/s in all
WINDOW = 64
PATIENCE_S = 5.0
S, HOUR = 10**9, 3600 * 10**9
SLOTS, STRIDE = 20_011, 7919  # a prime, so that every batch gets a slot of its own


def asset_of(gateway: str, asset: int) -> str:
    return f"{gateway.upper()}-{asset}"


def point_of(point: int) -> str:
    return f"p{point:02}"


class Columns(NamedTuple):
    """What one series must hold, in order of time."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]


class Gateway:
    """One stream, go-back-N: window of 64, all that is not acknowledged again after a silence or a reconnect."""

    def __init__(self, name: str, port: int, start_ns: int, dice: random.Random) -> None:
        self.name, self.number = name, GATEWAYS.index(name) + 1
        self.epoch = f"{dice.getrandbits(32):08x}"
        self.begins: list[int] = []  # of each batch; `begins[0]` is batch 1
        self.acked = 0
        self.published = 0  # batches, counting repeats
        self._next = 1
        self._start_ns = start_ns
        self._bodies: dict[int, bytes] = {}
        self._again = threading.Event()
        self._lock = threading.Lock()
        self._progress = time.monotonic()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(2 * WINDOW)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_ack
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    @property
    def step_ns(self) -> int:
        """Between the rows of a batch."""
        return {"live": 15_000_000, "replay": S, "scattered": 700_000_000, "seam": 3_000_000}[
            self.name
        ]

    def begin_of(self, seq: int) -> int:
        """live: now. replay: goes through 20 h in minutes. scattered: anywhere in 30 h. seam: a day ago,
        where the newest, kept here, meet what is older, in any order."""
        slot = seq * STRIDE % SLOTS
        if self.name == "live":
            last = self.begins[-1] if self.begins else 0
            return max(time.time_ns() - 100_000_000, last + ROWS * self.step_ns)
        if self.name == "replay":
            return self._start_ns - 20 * HOUR + seq * 30 * S
        if self.name == "scattered":
            return self._start_ns - 30 * HOUR + slot * 5 * S
        return self._start_ns - 24 * HOUR + (slot - SLOTS // 2) * 20_000_000

    def make(self) -> None:
        """One more batch; however long nobody takes them, all are kept."""
        begin, seq = self.begin_of(len(self.begins) + 1), len(self.begins) + 1
        lines: list[str] = []
        for asset in range(ASSETS):
            head = f"{KIND},site={SITE},asset={asset_of(self.name, asset)}"
            for row in range(ROWS):
                lines += self._lines(head, seq, asset, row, begin + row * self.step_ns)
        self.begins.append(begin)
        with self._lock:
            self._bodies[seq] = "".join(lines).encode()

    def _lines(self, head: str, seq: int, asset: int, row: int, at: int) -> Iterator[str]:
        base = ((self.number * 10**6 + seq) * 10 + asset) * 1000 + row * 100
        bad = BAD_POINTS if row == BAD_ROW else ()
        fields = ",".join(f"{point_of(p)}={base + p}" for p in range(POINTS) if p not in bad)
        yield f"{head} {fields},q={64 if row == UNCERTAIN_ROW else 192}i {at}\n"
        if bad:
            yield f'{head} bad="{",".join(map(point_of, bad))}",q=0i {at}\n'

    def send(self) -> None:
        """What the window allows; starts over if nothing moves."""
        now = time.monotonic()
        with self._lock:
            acked = self.acked
            waits = self._next > acked + 1
            if self._again.is_set() or (waits and now - self._progress > PATIENCE_S):
                self._again.clear()
                self._next, self._progress = acked + 1, now
            self._next = max(self._next, acked + 1)
            last = min(len(self.begins), acked + WINDOW)
            some = [(seq, self._bodies[seq]) for seq in range(self._next, last + 1)]
            if some and not waits:
                self._progress = now
            self._next = max(self._next, last + 1)
        for seq, body in some:
            head = (
                f"#pms1 gw={self.name} epoch={self.epoch} seq={seq} n={SAMPLES} base={acked + 1}\n"
            )
            self._client.publish(f"pms/v1/{SITE}/{self.name}/data", head.encode() + body, 1)
        self.published += len(some)

    def cut(self) -> None:
        """The connection breaks; what is under way on it may be lost."""
        if (sock := self._client.socket()) is not None:
            with suppress(OSError):  # it has just broken by itself
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"pms/v1/{SITE}/{self.name}/ack/data", 1)
        self._again.set()

    def _on_ack(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        assert body["epoch"] == self.epoch
        with self._lock:
            if body["seq"] <= self.acked:
                return
            for seq in range(self.acked + 1, body["seq"] + 1):
                del self._bodies[seq]
            self.acked, self._progress = body["seq"], time.monotonic()

    # -- what must come of it --------------------------------------------------------------

    def truth(self, asset: int, point: int) -> Columns:
        """All samples of one series."""
        row = np.arange(ROWS)
        begins = np.array(self.begins, np.int64)
        at = (begins[:, None] + row * self.step_ns).ravel()
        seq = np.arange(1, len(begins) + 1)
        base = ((self.number * 10**6 + seq) * 10 + asset) * 1000 + point
        value = (base[:, None] + row * 100).astype(np.float64)
        quality = np.full(value.shape, 192, np.uint8)
        quality[:, UNCERTAIN_ROW] = 64
        if point in BAD_POINTS:
            value[:, BAD_ROW], quality[:, BAD_ROW] = np.nan, 0
        order = np.argsort(at)
        assert (np.diff(at[order]) > 0).all(), "the test itself sends an instant twice"
        return Columns(at[order], value.ravel()[order], quality.ravel()[order])

    def hours(self) -> Counter[int]:
        """Samples by the hour (since 1970) they stand in."""
        at = self.truth(0, 0).at
        hours, counts = np.unique(at // HOUR_NS, return_counts=True)
        per_row = ASSETS * POINTS
        return Counter(dict(zip(hours.tolist(), (counts * per_row).tolist(), strict=True)))


class Load:
    """All gateways, in a thread."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self.start_ns = time.time_ns()
        self.gateways = [Gateway(name, port, self.start_ns, dice) for name in GATEWAYS]
        self._ending, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()

    @property
    def acked(self) -> int:
        """Batches."""
        return sum(gateway.acked for gateway in self.gateways)

    @property
    def made(self) -> int:
        return sum(len(gateway.begins) for gateway in self.gateways)

    @property
    def published(self) -> int:
        return sum(gateway.published for gateway in self.gateways)

    def end(self) -> None:
        """No new batches; those that wait go on being sent."""
        self._ending.set()

    @property
    def is_done(self) -> bool:
        return self._ending.is_set() and self.acked == self.made

    def close(self) -> None:
        self._ending.set()
        self._closing.set()
        self._thread.join()
        for gateway in self.gateways:
            gateway.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._closing.wait(0.01):
            now = time.monotonic()
            while due <= now and not self._ending.is_set():
                due += 1 / BATCHES_PER_S
                for gateway in self.gateways:
                    gateway.make()
            for gateway in self.gateways:
                gateway.send()


@contextmanager
def load(port: int, dice: random.Random) -> Iterator[Load]:
    running = Load(port, dice)
    try:
        yield running
    finally:
        running.close()
