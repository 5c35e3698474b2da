"""The web application: routers, guards, and what people see when something is refused."""

from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from pms_iot.kernel.errors import NotFoundError, StoreUnavailableError
from pms_iot.web import static_files
from pms_iot.web.deps import WebDeps
from pms_iot.web.i18n import N_
from pms_iot.web.problems import ProblemError, refuse
from pms_iot.web.render import page
from pms_iot.web.routes import (
    admin,
    adopt,
    alert_api,
    alerts,
    api,
    asset,
    counters,
    health,
    ledger,
    login,
    maintenance,
    orders,
    overview,
    series,
    technician,
    trust,
)
from pms_iot.web.security import Guard
from pms_iot.web.visit import ForbiddenError, LogInFirstError, visit_of

_PAGES = (
    login,
    overview,
    asset,
    alert_api,
    alerts,
    orders,
    technician,
    maintenance,
    ledger,
    trust,
    admin,
    adopt,
    api,
    series,
    counters,
    health,
    static_files,
)
MAX_BODY_BYTES = 25 * 1024 * 1024  # a photo of a phone, as taken


def create_app(deps: WebDeps) -> FastAPI:
    """The pages and the API over these parts; holds no state of its own."""
    app = FastAPI(title="pms_iot", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.deps = deps
    for module in _PAGES:
        app.include_router(module.router)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(Guard, https_only=deps.settings.web.secure_cookies)
    app.add_exception_handler(LogInFirstError, _log_in_first)
    app.add_exception_handler(ForbiddenError, _forbidden)
    app.add_exception_handler(ProblemError, refuse)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(StoreUnavailableError, _no_store)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith(("/api/", "/static/"))


def _log_in_first(request: Request, _error: Exception) -> Response:
    """Pages lead to the log-in and back; everything else is told 401. htmx is told where to go."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    if request.method == "GET" and _wants_page(request):
        return RedirectResponse(f"/login?next={quote(back, safe='')}", 303)
    return JSONResponse({"detail": "log in first"}, 401)


def _forbidden(request: Request, _error: Exception) -> Response:
    return _refusal(request, 403, N_("Your role does not allow this."))


def _not_found(request: Request, _error: Exception) -> Response:
    return _refusal(request, 404, N_("There is nothing at this address."))


def _no_store(request: Request, _error: Exception) -> Response:
    return _refusal(request, 503, N_("The sample store does not answer. Try again in a moment."))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _not_found(request, error)
    if error.status_code == 413:
        return _refusal(request, 413, N_("This file is too large."))
    return _refusal(request, error.status_code, N_("The request could not be understood."))


def _refusal(request: Request, status: int, message: str) -> Response:
    if not _wants_page(request):
        return JSONResponse({"detail": message}, status)
    return page(visit_of(request), "error.html", status_code=status, code=status, message=message)
