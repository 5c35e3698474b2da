"""Whether the process lives, and whether it can do its work."""

from itertools import islice

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.web.deps import WebDeps
from pms_iot.web.visit import deps_of

router = APIRouter()


@router.get("/livez")
def livez() -> dict[str, str]:
    """Open to all: a process that answers is alive."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Open to all: 200 when every part answers, else 503 with the reason of each that does not."""
    reasons = what_is_not_ready(deps_of(request))
    if reasons:
        return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
    return JSONResponse({"status": "ok"})


def what_is_not_ready(deps: WebDeps) -> dict[str, str]:
    """Part -> reason."""
    reasons = dict(deps.not_ready())
    try:
        with transaction(deps.engine) as session:
            session.connection().execute(text("select 1 from account where 1 = 0"))
    except SQLAlchemyError as error:
        reasons["database"] = type(error).__name__
    try:
        deps.store.latest([info.id for info in islice(deps.catalog.all(), 1)])
    except StoreUnavailableError:
        reasons["store"] = "the sample store does not answer"
    return reasons
