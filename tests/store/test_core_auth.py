"""Log-ins."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Engine
from sqlmodel import select

from pms_iot.kernel import auth
from pms_iot.kernel.db import transaction
from pms_iot.kernel.users import Account, LoginSession, Role
from tests.store.world import T0, minutes

PASSWORD = "滨河 river side"


def account(core: Engine, username: str = "zhang") -> None:
    with transaction(core) as session:
        auth.create_account(
            session, username=username, password=PASSWORD, role=Role.TECHNICIAN, now=T0
        )


def attempt(core: Engine, password: str, at: float, username: str = "zhang") -> str | None:
    """Tries to log in `at` minutes after T0."""
    with transaction(core) as session:
        return auth.log_in(session, username, password, minutes(at), days=14)


def test_token_says_who_it_is_until_it_expires(core: Engine) -> None:
    account(core)
    token = attempt(core, PASSWORD, 0)
    assert token is not None and len(token) >= 43
    with transaction(core) as session:
        found = auth.account_of(session, token, T0 + timedelta(days=13.9))
        assert found is not None and found.username == "zhang"
        assert auth.account_of(session, token, T0 + timedelta(days=14)) is None
        assert auth.account_of(session, token[:-1], T0) is None


def test_database_never_holds_the_token_or_the_password(core: Engine) -> None:
    account(core)
    token = attempt(core, PASSWORD, 0)
    with transaction(core) as session:
        row = session.exec(select(LoginSession)).one()
        assert row.token_hash != token and len(row.token_hash) == 64
        assert PASSWORD not in session.exec(select(Account)).one().password_hash


def test_logging_out_ends_only_this_log_in(core: Engine) -> None:
    account(core)
    phone, desk = attempt(core, PASSWORD, 0), attempt(core, PASSWORD, 0)
    assert phone is not None and desk is not None
    with transaction(core) as session:
        auth.log_out(session, phone)
        auth.log_out(session, phone)
    with transaction(core) as session:
        assert auth.account_of(session, phone, T0) is None
        assert auth.account_of(session, desk, T0) is not None


def test_new_password_ends_every_log_in(core: Engine) -> None:
    account(core)
    token = attempt(core, PASSWORD, 0)
    assert token is not None
    with transaction(core) as session:
        auth.set_password(session, session.exec(select(Account)).one(), "another one")
    with transaction(core) as session:
        assert auth.account_of(session, token, T0) is None
    assert attempt(core, PASSWORD, 1) is None
    assert attempt(core, "another one", 1) is not None


def test_inactive_account_is_out_at_once(core: Engine) -> None:
    account(core)
    token = attempt(core, PASSWORD, 0)
    assert token is not None
    with transaction(core) as session:
        row = session.exec(select(Account)).one()
        row.active = False
        session.add(row)
    with transaction(core) as session:
        assert auth.account_of(session, token, T0) is None
    assert attempt(core, PASSWORD, 0) is None


def test_after_five_failures_even_the_right_password_waits_a_minute(core: Engine) -> None:
    account(core)
    for n in range(5):
        assert attempt(core, "wrong", n * 0.1) is None
    assert attempt(core, PASSWORD, 0.5) is None
    with transaction(core) as session:
        assert auth.refused_until(session, "zhang", minutes(0.5)) == minutes(1.4)
        assert auth.refused_until(session, "li", minutes(0.5)) is None
    assert attempt(core, PASSWORD, 1.4) is not None
    with transaction(core) as session:
        assert auth.refused_until(session, "zhang", minutes(1.4)) is None


def test_sixth_failure_after_the_minute_refuses_again(core: Engine) -> None:
    account(core)
    for n in range(5):
        attempt(core, "wrong", n * 0.1)
    assert attempt(core, "wrong", 2) is None
    assert attempt(core, PASSWORD, 2.5) is None
    assert attempt(core, PASSWORD, 3.1) is not None


def test_slow_failures_are_forgotten(core: Engine) -> None:
    account(core)
    for n in range(6):
        assert attempt(core, "wrong", n * 2) is None
    assert attempt(core, PASSWORD, 12) is not None


def test_unknown_names_are_limited_like_known_ones_and_forgotten(core: Engine) -> None:
    for _ in range(5):
        attempt(core, "wrong", 0, username="nobody")
    with transaction(core) as session:
        assert auth.refused_until(session, "nobody", minutes(0.5)) is not None
        guard = session.exec(select(auth.LoginGuard)).one()
        assert "nobody" not in guard.name_hash
    attempt(core, "wrong", 60, username="somebody")
    with transaction(core) as session:
        assert len(session.exec(select(auth.LoginGuard)).all()) == 1


def test_parallel_guesses_do_not_pass_the_limit(core: Engine) -> None:
    account(core)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: attempt(core, f"guess {n}", 0), range(8)))
    with transaction(core) as session:
        assert session.exec(select(auth.LoginGuard)).one().failures == auth.ATTEMPTS
