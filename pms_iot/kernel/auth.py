"""Passwords and log-ins.

A log-in is a random token in the reader's cookie; the database keeps only its hash. After five
wrong passwords within five minutes a user name is refused for a minute, whether it exists or not.
The count lives in the database, so several processes share it.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from pwdlib import PasswordHash
from sqlmodel import Field, Session, col, delete, select

from pms_iot.kernel.db import Table, UtcDateTime, insert_new
from pms_iot.kernel.users import Account, LoginSession, Role

ATTEMPTS = 5
ATTEMPT_WINDOW = timedelta(minutes=5)
REFUSED_FOR = timedelta(minutes=1)
MAX_PASSWORD_CHARS = 1024  # hashing a longer one would only cost us time

_HASH = PasswordHash.recommended()
_NOBODY = _HASH.hash(secrets.token_urlsafe(16))  # unknown users cost as much time as known ones


class LoginGuard(Table, table=True):
    """Wrong passwords of one user name, known or not. The name is hashed: people type passwords into it."""

    name_hash: str = Field(primary_key=True)
    failures: int = 0
    since: datetime = Field(sa_type=UtcDateTime)
    last_at: datetime = Field(sa_type=UtcDateTime, index=True)


def hash_password(password: str) -> str:
    """An argon2id hash with its own salt."""
    return _HASH.hash(password)


def verify_password(password: str, password_hash: str) -> bool:
    """True if the password is the one that was hashed."""
    return len(password) <= MAX_PASSWORD_CHARS and _HASH.verify(password, password_hash)


def create_account(
    session: Session,
    *,
    username: str,
    password: str,
    role: Role,
    now: datetime,
    display_name: str = "",
    language: str = "zh",
) -> Account:
    """Adds an account; a second one of the same name is an IntegrityError of the database."""
    account = Account(
        username=username,
        password_hash=hash_password(password),
        role=role,
        display_name=display_name or username,
        language=language,
        created_at=now,
    )
    session.add(account)
    session.flush()
    return account


def set_password(session: Session, account: Account, password: str) -> None:
    """Changes the password and ends every log-in of the account."""
    account.password_hash = hash_password(password)
    session.add(account)
    session.exec(delete(LoginSession).where(col(LoginSession.user_id) == account.id))


def log_in(
    session: Session, username: str, password: str, now: datetime, days: float
) -> str | None:
    """A new token, valid for `days`, or None. Commit in either case: wrong attempts are counted.

    To tell a reader "wait" from "wrong", ask `refused_until`.
    """
    guard = _guard(session, username, now)
    if _locked_until(guard, now) is not None:
        return None
    query = select(Account).where(Account.username == username, col(Account.active).is_(True))
    account = session.exec(query).one_or_none()
    correct = verify_password(password, account.password_hash if account else _NOBODY)
    if account is None or not correct:
        _count_failure(session, guard, now)
        return None
    session.delete(guard)
    return _open_session(session, account, now, days)


def _open_session(session: Session, account: Account, now: datetime, days: float) -> str:
    assert account.id is not None
    token = secrets.token_urlsafe(32)
    session.exec(delete(LoginSession).where(col(LoginSession.expires_at) <= now))
    session.add(
        LoginSession(
            token_hash=_sha256(token),
            user_id=account.id,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
    )
    session.flush()
    return token


def account_of(session: Session, token: str, now: datetime) -> Account | None:
    """Whose token this is; None if it is unknown, expired or logged out, or the account is closed."""
    query = (
        select(Account)
        .join(LoginSession, col(LoginSession.user_id) == col(Account.id))
        .where(
            LoginSession.token_hash == _sha256(token),
            LoginSession.expires_at > now,
            col(Account.active).is_(True),
        )
    )
    return session.exec(query).one_or_none()


def log_out(session: Session, token: str) -> None:
    """Ends this log-in; harmless if it has ended already."""
    session.exec(delete(LoginSession).where(col(LoginSession.token_hash) == _sha256(token)))


def refused_until(session: Session, username: str, now: datetime) -> datetime | None:
    """Until when log-ins of this name are refused, right password or not; None if they are not."""
    guard = session.get(LoginGuard, _sha256(username))
    return _locked_until(guard, now) if guard is not None else None


def _guard(session: Session, username: str, now: datetime) -> LoginGuard:
    """The count of this name, locked, so that parallel attempts are counted one after another."""
    name_hash = _sha256(username)
    insert_new(session, LoginGuard(name_hash=name_hash, since=now, last_at=now))
    guard = session.get_one(LoginGuard, name_hash, with_for_update=True, populate_existing=True)
    if now - guard.since > ATTEMPT_WINDOW and _locked_until(guard, now) is None:
        guard.failures, guard.since = 0, now
    return guard


def _locked_until(guard: LoginGuard, now: datetime) -> datetime | None:
    until = guard.last_at + REFUSED_FOR
    return until if guard.failures >= ATTEMPTS and now < until else None


def _count_failure(session: Session, guard: LoginGuard, now: datetime) -> None:
    forgotten = col(LoginGuard.last_at) < now - ATTEMPT_WINDOW - REFUSED_FOR
    session.exec(delete(LoginGuard).where(forgotten, col(LoginGuard.name_hash) != guard.name_hash))
    guard.failures, guard.last_at = guard.failures + 1, now
    session.add(guard)
    session.flush()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
