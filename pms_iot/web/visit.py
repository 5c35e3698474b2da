"""One request: who asks, in which language, at what time; and what each role may reach.

Every route names the least role that may use it by taking one of `Anyone`, `Looking`, `Working` or
`Managing`; a test walks all routes. Viewers look, technicians also work on orders and acknowledge,
managers do everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.kernel.auth import account_of
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError, PmsError
from pms_iot.kernel.text import Text
from pms_iot.kernel.users import Account, Role
from pms_iot.web.deps import WebDeps
from pms_iot.web.formats import duration, number
from pms_iot.web.i18n import N_, choose_language, translate
from pms_iot.web.reader import Reader

SESSION_COOKIE = "pms_session"
LANGUAGE_COOKIE = "pms_language"
_PAGES = (
    ("/", N_("Overview")),
    ("/alerts", N_("Alarms")),
    ("/wo", N_("Work orders")),
    ("/pm", N_("PM")),
)
_RANK = {Role.VIEWER: 0, Role.TECHNICIAN: 1, Role.MANAGER: 2}


class LogInFirstError(PmsError):
    """Nobody is logged in, and this page is not for everybody."""


class ForbiddenError(PmsError):
    """The role of the account does not reach this."""


@dataclass(frozen=True)
class Visit:
    """A request with its reader. `account` is None only on public pages."""

    request: Request
    deps: WebDeps
    account: Account | None
    language: str
    now: datetime

    @property
    def reader(self) -> Reader:
        """The account in front of an explanation."""
        return Reader(self.deps.packs, self.language)

    def say(self, message: str, **values: object) -> str:
        """The message in the reader's language."""
        return translate(self.language, message, **values)

    def label(self, row: object, field: str = "name") -> str:
        """`name_zh` or `name_en` of a row; the other one if this is empty."""
        first, second = ("zh", "en") if self.language == "zh" else ("en", "zh")
        return getattr(row, f"{field}_{first}") or getattr(row, f"{field}_{second}")

    def text(self, text: Text | None) -> str:
        """A text of a rule pack; empty if there is none."""
        return "" if text is None else text.to(self.language)

    @property
    def who(self) -> str:
        """The username, as written into histories."""
        return self.account.username if self.account else ""

    def kind(self, kind: str) -> str:
        """A kind of equipment in words."""
        pack = self.deps.packs.get(kind)
        return self.text(pack.label) if pack else kind

    def ago(self, at: datetime) -> str:
        """`5 min ago`."""
        return self.say(N_("{age} ago"), age=duration(self.now - at, self.language))

    def series(self, asset: str, point: str) -> SeriesInfo:
        """Raises NotFoundError for a point that the register does not know."""
        number = self.deps.catalog.lookup(asset, point)
        if number is None:
            raise NotFoundError("series", f"{asset}/{point}")
        return self.deps.catalog.info(number)

    def points_of(self, asset: str) -> dict[str, int]:
        return self.deps.catalog.of_asset(asset)

    def names_of(self, info: SeriesInfo) -> dict[str, str]:
        """Code -> word of a point whose values are not quantities; empty for one whose values are."""
        pack = self.deps.packs.get(info.kind)
        point = pack.points.get(info.point) if pack else None
        return self.reader.words_of(point) if point else {}

    def expected(self, asset: str, point: str) -> str:
        """How a chart shows what the point should be: band, line (of an asset model), or empty."""
        known = self.points_of(asset)
        if f"{point}.lo" in known or f"{point}.hi" in known:
            return "band"
        return "line" if f"{point}.expected" in known else ""

    def shown(self, info: SeriesInfo, value: float | None) -> str:
        """A value as people read it, without its unit."""
        code = str(int(value)) if value is not None and value == int(value) else ""
        return self.names_of(info).get(code) or number(value)

    def here(self) -> str:
        """Path and query of this page, to come back to."""
        url = self.request.url
        path = url.path + (f"?{url.query}" if url.query else "")
        return (
            path if self.request.method == "GET" else str(self.request.headers.get("referer", "/"))
        )

    def navigation(self) -> list[tuple[str, str]]:
        """The pages of the reader's role; a technician's own work comes first."""
        pages = list(_PAGES)
        if self.account is not None and self.account.role is Role.TECHNICIAN:
            pages.insert(0, ("/m", N_("My work")))
        own = [("/ledger", N_("Ledger")), ("/detection", N_("Detection")), ("/admin", N_("System"))]
        return pages + (own if self.may(Role.MANAGER) else [])

    def is_at(self, href: str) -> bool:
        path = self.request.url.path
        return path == href or (href != "/" and path.startswith(href + "/"))

    def may(self, role: Role | str) -> bool:
        """Whether the account has at least this role."""
        return self.account is not None and _RANK[self.account.role] >= _RANK[Role(role)]


def deps_of(request: Request) -> WebDeps:
    return request.app.state.deps


def visit_of(request: Request) -> Visit:
    """Public pages: whoever it is."""
    deps = deps_of(request)
    now = deps.clock.now()
    token = request.cookies.get(SESSION_COOKIE)
    account = None
    if token:
        with transaction(deps.engine) as session:
            account = account_of(session, token, now)
    language = choose_language(
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language", ""),
        account.language if account else "zh",
    )
    return Visit(request, deps, account, language, now)


def _at_least(role: Role) -> Callable[[Request], Visit]:
    def visit(request: Request) -> Visit:
        known = visit_of(request)
        if known.account is None:
            raise LogInFirstError
        if not known.may(role):
            raise ForbiddenError
        return known

    visit.__name__ = f"at_least_{role}"
    return visit


Anyone = Annotated[Visit, Depends(visit_of)]
Looking = Annotated[Visit, Depends(_at_least(Role.VIEWER))]
Working = Annotated[Visit, Depends(_at_least(Role.TECHNICIAN))]
Managing = Annotated[Visit, Depends(_at_least(Role.MANAGER))]
