"""What the main path shows of itself while it works, is stuck, or has ended."""

import threading

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.pipeline import run
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from tests.pipeline.rig import Rig, ns, payload
from tests.servers import wait_for

READ = [("PU-01", 5.0, {"temp": 20.0})]


class Gate(EmbeddedStore):
    """A store whose writes hang, or fail, until the gate opens."""

    def __init__(self, rig: Rig, *, fails: bool = False) -> None:
        super().__init__(rig.directory / "gated.db", synchronous="NORMAL")
        self.fails, self.open = fails, threading.Event()
        self.tries = 0

    def write(self, batch: Batch) -> None:
        self.tries += 1
        if self.fails and not self.open.is_set():
            raise StoreUnavailableError("away")
        assert self.open.wait(30)
        super().write(batch)


def working(rig: Rig, store: Gate, stop: threading.Event):
    """The main path in a thread, with one message for it."""
    path = rig.build(store=store)
    messages = [rig.received(payload(1, READ))]
    worker = threading.Thread(
        target=run, args=(path, lambda _s: messages.pop() if messages else None, stop)
    )
    worker.start()
    return path, worker


def test_a_message_that_hangs_shows_and_a_thread_that_ends_too(rig: Rig):
    store, stop = Gate(rig), threading.Event()
    path, worker = working(rig, store, stop)
    wait_for(lambda: path.meters.busy_s() > 0, "work")
    assert path.meters.is_alive() and not path.waiting
    assert path.meters.newest_ns() == {}, "not committed yet"
    store.open.set()
    wait_for(lambda: path.meters.busy_s() == 0 and path.meters.newest_ns(), "rest")
    assert path.meters.newest_ns() == {("riverside", "gw-01"): ns(5.0)}
    stop.set()
    worker.join(20)
    assert not path.meters.is_alive()
    store.close()


def test_each_try_at_a_store_that_is_away_begins_anew(rig: Rig):
    store, stop = Gate(rig, fails=True), threading.Event()
    path, worker = working(rig, store, stop)
    wait_for(lambda: store.tries >= 2, "a second try")
    assert path.waiting and path.meters.write_s.snapshot().count == 0
    store.open.set()
    wait_for(lambda: not path.waiting and path.meters.newest_ns(), "the store to be back")
    seen = path.meters.write_samples.snapshot()
    assert seen.total >= 1
    stop.set()
    worker.join(20)
    store.close()


def test_events_do_not_count_as_samples_that_are_late(rig: Rig):
    path = rig.start()
    path.process(rig.received(payload(1, READ), "event"))
    assert path.meters.newest_ns() == {}
    path.process(rig.received(payload(1, [("PU-01", 7.0, {"temp": 20.0})])))
    assert path.meters.newest_ns() == {("riverside", "gw-01"): ns(7.0)}
