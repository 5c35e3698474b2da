"""Log-in, log-out and the choice of language."""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from pms_iot.kernel.auth import account_of, log_in, log_out, refused_until
from pms_iot.kernel.db import transaction
from pms_iot.kernel.users import Account, Role
from pms_iot.web.i18n import LANGUAGES, N_
from pms_iot.web.paths import local_path
from pms_iot.web.render import page
from pms_iot.web.visit import LANGUAGE_COOKIE, SESSION_COOKIE, Anyone, Visit

router = APIRouter()
YEAR_S = 365 * 86_400
_WRONG = N_("Name or password is wrong.")
_REFUSED = N_("Too many attempts. Wait a minute and try again.")


@router.get("/login")
def login_page(visit: Anyone, next: str = "/") -> Response:
    if visit.account is not None:
        return RedirectResponse(local_path(next), 303)
    return page(visit, "login.html", next=local_path(next), problem=None)


@router.post("/login")
def login(
    visit: Anyone,
    username: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    web = visit.deps.settings.web
    back = local_path(next)
    with transaction(visit.deps.engine) as session:
        token = log_in(session, username.strip(), password, visit.now, web.session_days)
        account = account_of(session, token, visit.now) if token else None
        refused = refused_until(session, username.strip(), visit.now)
    if token is None or account is None:
        problem = _REFUSED if refused else _WRONG
        status = 429 if refused else 401
        return page(visit, "login.html", status_code=status, next=back, problem=problem)
    if back == "/":
        back = home_of(account.role)
    response = RedirectResponse(back, 303)
    _set_cookie(response, visit, SESSION_COOKIE, token, web.session_days * 86_400)
    return response


@router.post("/logout")
def logout(visit: Anyone) -> Response:
    token = visit.request.cookies.get(SESSION_COOKIE)
    if token:
        with transaction(visit.deps.engine) as session:
            log_out(session, token)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.post("/language")
def language(
    visit: Anyone,
    language: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Remembers the choice in this browser, and with the account for messages sent to its owner."""
    response = RedirectResponse(local_path(next), 303)
    if language in LANGUAGES:
        _set_cookie(response, visit, LANGUAGE_COOKIE, language, YEAR_S)
        if visit.account is not None:
            _remember(visit, visit.account, language)
    return response


def _remember(visit: Visit, account: Account, language: str) -> None:
    with transaction(visit.deps.engine) as session:
        row = session.get(Account, account.id)
        if row is not None:
            row.language = language
            session.add(row)


def home_of(role: Role) -> str:
    return "/m" if role is Role.TECHNICIAN else "/"


def _set_cookie(response: Response, visit: Visit, name: str, value: str, age_s: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=age_s,
        httponly=True,
        samesite="lax",
        secure=visit.deps.settings.web.secure_cookies,
    )
