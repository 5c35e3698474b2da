"""The outbox: written once, sent at least once, given up visibly."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from structlog.testing import capture_logs

from pms_iot.kernel.clock import ManualClock
from pms_iot.kernel.db import transaction
from pms_iot.kernel.text import Text
from pms_iot.notify import outbox
from pms_iot.notify.channels import Message, SendError, Webhook
from pms_iot.notify.tables import OutboxMessage
from tests.servers import wait_for
from tests.store.core_worker import SECRET
from tests.store.test_core_concurrency import finished, worker
from tests.store.world import T0, minutes
from tests.unit.notify.servers import web_server


class Recorder:
    """A channel that keeps what it is given, and fails as often as it is told to."""

    def __init__(
        self, name: str = "webhook", *, failures: int = 0, permanent: bool = False
    ) -> None:
        self.name = name
        self.failures = failures
        self.permanent = permanent
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        if self.failures:
            self.failures -= 1
            raise SendError("http 503", permanent=self.permanent)
        self.sent.append(message)


def write(core: Engine, *keys: str, channels: tuple[str, ...] = ("webhook",)) -> int:
    with transaction(core) as session:
        return sum(
            outbox.enqueue(
                session,
                channels,
                event="work_order.opened",
                key=key,
                subject=Text("新工单", "New work order"),
                body={"work_order": key},
                now=T0,
            )
            for key in keys
        )


def only(core: Engine) -> OutboxMessage:
    with transaction(core) as session:
        return session.exec(select(OutboxMessage)).one()


def test_message_is_written_once_per_channel_and_key(core: Engine) -> None:
    assert write(core, "a", "a", channels=("webhook", "email")) == 2
    assert write(core, "a", channels=("webhook", "email")) == 0
    assert write(core, "a", channels=()) == 0


def test_an_outage_of_a_channel_is_logged_when_it_begins_and_when_it_ends(core: Engine) -> None:
    write(core, "a", "b", "c")
    channel, away = Recorder(failures=4), set[str]()
    with capture_logs() as logs:
        for minute in range(6):
            outbox.deliver(core, [channel], minutes(minute), away)
    assert len(channel.sent) == 3
    said = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert said == ["channel fails", "channel is back"]


def test_message_of_a_failed_transaction_does_not_exist(core: Engine) -> None:
    with pytest.raises(InterruptedError), transaction(core) as session:
        outbox.enqueue(
            session, ["webhook"], event="e", key="a", subject=Text("", ""), body={}, now=T0
        )
        raise InterruptedError
    assert outbox.deliver(core, [channel := Recorder()], T0) == {}
    assert channel.sent == []


def test_due_messages_are_sent_in_order_and_only_once(core: Engine) -> None:
    write(core, "a", "b", "c")
    channel = Recorder()
    assert outbox.deliver(core, [channel], T0) == {"sent": 3}
    assert outbox.deliver(core, [channel], minutes(600)) == {}
    assert [message.key for message in channel.sent] == ["webhook:a", "webhook:b", "webhook:c"]
    assert channel.sent[0].subject == Text("新工单", "New work order")


def test_message_for_a_channel_that_is_not_configured_waits(core: Engine) -> None:
    write(core, "a", channels=("email",))
    assert outbox.deliver(core, [Recorder("webhook")], T0) == {}
    assert outbox.deliver(core, [Recorder("email")], minutes(60)) == {"sent": 1}


def test_failed_message_is_tried_again_later_with_the_same_key(core: Engine) -> None:
    write(core, "a")
    channel = Recorder(failures=1)
    assert outbox.deliver(core, [channel], T0) == {"failed": 1}
    row = only(core)
    assert (row.attempts, row.last_error, row.sent_at) == (1, "http 503", None)
    assert row.next_try_at is not None
    assert outbox.deliver(core, [channel], row.next_try_at - timedelta(seconds=1)) == {}
    assert outbox.deliver(core, [channel], row.next_try_at) == {"sent": 1}
    assert only(core).last_error == ""


def test_failure_of_one_message_does_not_hold_up_the_others(core: Engine) -> None:
    write(core, "a", "b")
    channel = Recorder(failures=1)
    assert outbox.deliver(core, [channel], T0) == {"failed": 1, "sent": 1}


def test_after_ten_attempts_it_is_given_up_and_stays_visible(core: Engine) -> None:
    write(core, "a")
    channel = Recorder(failures=10)
    now, waits = T0, list[timedelta]()
    for _ in range(9):
        assert outbox.deliver(core, [channel], now) == {"failed": 1}
        following = only(core).next_try_at
        assert following is not None
        waits.append(following - now)
        now = following
    assert outbox.deliver(core, [channel], now) == {"given_up": 1}
    assert outbox.deliver(core, [channel], now + timedelta(days=9)) == {}
    assert waits == sorted(waits) and timedelta(seconds=7.5) <= waits[0] <= timedelta(seconds=12.5)
    with transaction(core) as session:
        (row,) = outbox.given_up(session)
        assert (row.last_error, row.given_up_at, row.next_try_at) == ("http 503", now, None)
        outbox.try_again(session, row.id or 0, now)
    assert outbox.deliver(core, [channel], now) == {"sent": 1}


def test_permanent_refusal_is_given_up_at_once(core: Engine) -> None:
    write(core, "a")
    assert outbox.deliver(core, [Recorder(failures=1, permanent=True)], T0) == {"given_up": 1}


def test_waits_double_up_to_an_hour_and_are_spread() -> None:
    for attempts in range(1, 12):
        whole = min(10 * 2 ** (attempts - 1), 3600)
        waits = {outbox.wait_before(f"k{n}", attempts).total_seconds() for n in range(50)}
        assert len(waits) > 40
        assert whole * 0.75 <= min(waits) and max(waits) <= whole * 1.25


def test_webhook_gets_it_after_the_server_is_back(core: Engine) -> None:
    write(core, "a")
    with web_server() as server:
        server.answers = [503]
        channel = Webhook(server.url, SECRET, ManualClock(T0))
        assert outbox.deliver(core, [channel], T0) == {"failed": 1}
        assert outbox.deliver(core, [channel], minutes(10)) == {"sent": 1}
        first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_two_dispatchers_send_each_message_once(core: Engine, store_url: str) -> None:
    write(core, *(f"m{n}" for n in range(60)))
    with web_server() as server:
        finished(*(worker("deliver", store_url, server.url) for _ in range(2)))
    ids = [request.headers["webhook-id"] for request in server.requests]
    assert len(ids) == 60 and len(set(ids)) == 60


def test_dispatcher_killed_while_sending_sends_again_with_the_same_id(
    core: Engine, store_url: str
) -> None:
    write(core, "a")
    with web_server() as server:
        server.hang = threading.Event()
        process = worker("deliver", store_url, server.url)
        wait_for(lambda: server.requests, "the first attempt")
        process.kill()
        process.communicate()
        server.hang.set()
        channel = Webhook(server.url, SECRET, ManualClock(T0))
        assert outbox.deliver(core, [channel], T0) == {}  # the claim still holds
        assert outbox.deliver(core, [channel], T0 + outbox.CLAIM) == {"sent": 1}
        first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
