"""Whether the process lives, whether it can do its work, and its figures for Prometheus."""

import ipaddress
import secrets
from itertools import islice

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pms_iot.kernel import migrations
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.operations.metrics import CONTENT_TYPE
from pms_iot.operations.vitals import warnings, why_dead
from pms_iot.web.deps import WebDeps
from pms_iot.web.visit import deps_of

router = APIRouter()
_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@router.get("/livez")
def livez(request: Request) -> JSONResponse:
    """Open to all: 200 while the main path runs, 503 with the reason when only a restart helps."""
    vitals = deps_of(request).vitals()
    reasons = why_dead(vitals) if vitals else {}
    if reasons:
        return JSONResponse({"status": "dead", "reasons": reasons}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Open to all: 200 when every part answers, else 503 with the reason of each that does not.

    `warnings`, if there are any, name what will soon be a reason.
    """
    deps = deps_of(request)
    reasons, vitals = what_is_not_ready(deps), deps.vitals()
    soon = warnings(vitals) if vitals else {}
    more = {"warnings": soon} if soon else {}
    if reasons:
        return JSONResponse({"status": "not ready", "reasons": reasons, **more}, 503)
    return JSONResponse({"status": "ok", **more})


def what_is_not_ready(deps: WebDeps) -> dict[str, str]:
    """Part -> reason."""
    reasons = dict(deps.not_ready())
    try:
        with transaction(deps.engine) as session:
            schema = text("select version_num from alembic_version")
            if session.connection().execute(schema).scalar() != migrations.newest():
                reasons["database"] = "its schema is of another version"
    except SQLAlchemyError as error:
        reasons["database"] = type(error).__name__
    try:
        deps.store.latest([info.id for info in islice(deps.catalog.all(), 1)])
    except StoreUnavailableError:
        reasons["store"] = "the sample store does not answer"
    return reasons


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Open to whoever knows PMS_METRICS_TOKEN; without one set, to programs on this machine only."""
    deps = deps_of(request)
    token = deps.settings.metrics_token
    if token is None:
        if not _is_local(request):
            return PlainTextResponse("from this machine, or with PMS_METRICS_TOKEN set", 403)
    elif not _knows(request, token.get_secret_value()):
        return PlainTextResponse("bearer token", 401, {"WWW-Authenticate": "Bearer"})
    return Response(deps.metrics(), headers={"Content-Type": CONTENT_TYPE})


def _knows(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return secrets.compare_digest(given.encode(), f"Bearer {token}".encode())


def _is_local(request: Request) -> bool:
    """A proxy on this machine asks for others, and says so in a header."""
    if request.client is None or any(header in request.headers for header in _PROXIED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
