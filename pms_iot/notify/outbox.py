"""The outbox: messages are written with what they tell of, and sent afterwards, at least once.

A message that cannot be sent is tried again with growing distance, ten times, then given up and
kept, so that it can be seen. In normal operation it is sent once, also with several dispatchers: a
dispatcher claims a message before it sends it. One that dies in between leaves its claim to run
out; the message then goes again, with the same id.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from pms_iot.kernel.db import insert_new, reading, transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.kernel.text import Text
from pms_iot.notify.channels import Channel, Message, SendError
from pms_iot.notify.tables import OutboxMessage

log = structlog.get_logger()
MAX_ATTEMPTS = 10
CLAIM = timedelta(minutes=2)  # longer than any one attempt takes
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=1)
BATCH = 50  # messages per call, so that a clock tick stays short

_VERDICTS = {
    "opened": Text("新工单", "New work order"),
    "escalated": Text("工单升级", "Work order escalated"),
    "reopened": Text("工单重新打开", "Work order reopened"),
    "folded": Text("工单新增报警", "Work order: further alert"),
}


def order_subject(verdict: str, asset: str, label: Text, severity: str) -> Text:
    """The headline of a message about a work order."""
    head = _VERDICTS[verdict]
    return Text(
        f"[{severity}] {head.zh}：{asset} {label.zh}", f"[{severity}] {head.en}: {asset} {label.en}"
    )


def enqueue(
    session: Session,
    channels: Sequence[str],
    *,
    event: str,
    key: str,
    subject: Text,
    body: Mapping[str, object],
    now: datetime,
) -> int:
    """Writes one message per channel in this transaction; the same `key` again adds nothing.

    `channels` are names. Returns how many were added.
    """
    rows = [
        OutboxMessage(
            key=f"{channel}:{key}",
            channel=channel,
            event=event,
            subject={"zh": subject.zh, "en": subject.en},
            body=dict(body),
            created_at=now,
            next_try_at=now,
        )
        for channel in channels
    ]
    return sum(insert_new(session, row) is not None for row in rows)


def deliver(
    engine: Engine, channels: Iterable[Channel], now: datetime, away: set[str] | None = None
) -> Counter[str]:
    """Sends what is due, at most 50 messages; returns counts of `sent`, `failed`, `given_up`.

    No transaction is open while a message is being sent. `away` are the channels that failed last,
    kept by the caller from call to call, so that an outage is logged when it begins and when it ends.
    """
    away = set() if away is None else away
    by_name = {channel.name: channel for channel in channels}
    counts: Counter[str] = Counter()
    if not _is_any_due(engine, list(by_name), now):
        return counts
    for _ in range(BATCH):
        claimed = _claim(engine, list(by_name), now)
        if claimed is None:
            break
        outcome = _attempt(engine, by_name[claimed.channel], claimed, now)
        counts[outcome] += 1
        _note_outage(claimed.channel, outcome, away)
    return counts


def _note_outage(channel: str, outcome: str, away: set[str]) -> None:
    if outcome == "sent" and channel in away:
        away.remove(channel)
        log.warning("channel is back", channel=channel)
    elif outcome != "sent" and channel not in away:
        away.add(channel)
        log.error("channel fails", channel=channel)


def _is_any_due(engine: Engine, names: list[str], now: datetime) -> bool:
    """A look without the write lock, which most calls do not need."""
    due = select(OutboxMessage.id).where(
        col(OutboxMessage.next_try_at) <= now, col(OutboxMessage.channel).in_(names)
    )
    if not names:
        return False
    with reading(engine) as session:
        return session.exec(due.limit(1)).first() is not None


def _claim(engine: Engine, names: list[str], now: datetime) -> OutboxMessage | None:
    due = (
        select(OutboxMessage)
        .where(col(OutboxMessage.next_try_at) <= now, col(OutboxMessage.channel).in_(names))
        .order_by(col(OutboxMessage.next_try_at), col(OutboxMessage.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with transaction(engine) as session:
        row = session.exec(due).first()
        if row is not None:
            row.attempts += 1
            row.next_try_at = now + CLAIM
            session.add(row)
        return row


def _attempt(engine: Engine, channel: Channel, claimed: OutboxMessage, now: datetime) -> str:
    message = Message(
        key=claimed.key,
        event=claimed.event,
        subject=Text(**claimed.subject),
        body=claimed.body,
        created_at=claimed.created_at,
    )
    try:
        channel.send(message)
    except SendError as failure:
        return _record_failure(engine, claimed, failure, now)
    with transaction(engine) as session:
        row = session.get_one(OutboxMessage, claimed.id, with_for_update=True)
        row.sent_at, row.next_try_at, row.last_error = now, None, ""
        session.add(row)
    return "sent"


def _record_failure(
    engine: Engine, claimed: OutboxMessage, failure: SendError, now: datetime
) -> str:
    final = failure.permanent or claimed.attempts >= MAX_ATTEMPTS
    with transaction(engine) as session:
        row = session.get_one(OutboxMessage, claimed.id, with_for_update=True)
        if row.sent_at is None and row.attempts == claimed.attempts:  # still our claim
            row.last_error = failure.reason
            row.next_try_at = None if final else now + wait_before(row.key, row.attempts)
            row.given_up_at = now if final else None
            session.add(row)
    say = log.warning if final else log.debug
    say(
        "message not sent",
        message=claimed.id,
        channel=claimed.channel,
        attempt=claimed.attempts,
        reason=failure.reason,
        given_up=final,
    )
    return "given_up" if final else "failed"


def wait_before(key: str, attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubling from 10 s to an hour, spread by ±25 %.

    The spread follows from the key, so that messages that failed together do not return together.
    """
    whole = min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT)
    digest = hashlib.sha256(f"{key}:{attempts}".encode()).digest()
    return whole * (0.75 + int.from_bytes(digest[:4]) / 2**33)


def given_up(session: Session) -> Sequence[OutboxMessage]:
    """Messages that nobody has got, the newest first."""
    query = select(OutboxMessage).where(col(OutboxMessage.given_up_at).is_not(None))
    return session.exec(query.order_by(col(OutboxMessage.id).desc())).all()


def try_again(session: Session, message_id: int, now: datetime) -> None:
    """Puts a given-up message back, with all its attempts. Raises NotFoundError."""
    row = session.get(OutboxMessage, message_id, with_for_update=True)
    if row is None:
        raise NotFoundError("message", message_id)
    if row.given_up_at is not None:
        row.given_up_at, row.attempts, row.next_try_at = None, 0, now
        session.add(row)
