"""Unknown fields taken into the register, from the page where they are listed."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from pms_iot import adoption
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.kernel.text import Text
from pms_iot.telemetry import parked
from pms_iot.web.i18n import N_
from pms_iot.web.routes.admin import admin_page
from pms_iot.web.visit import Managing, Visit

router = APIRouter()
log = structlog.get_logger()
REFUSED = {
    "asset_elsewhere": N_("This asset belongs to another site."),
    "asset_code": N_("An asset's code has letters, digits, dots, dashes and underscores only."),
    "kind_missing": N_("Choose what kind of equipment the asset is."),
    "name_missing": N_("Name the asset in both languages."),
    "field": N_("This field's name cannot be the key of a point."),
}
_BLOCKS = 400  # moved before the page answers, about 50,000 samples; the engine moves the rest


@router.post("/admin/adopt")
def adopt(
    visit: Managing,
    site: Annotated[str, Form()],
    asset: Annotated[str, Form()],
    field: Annotated[str, Form()],
    kind: Annotated[str, Form()] = "",
    name_zh: Annotated[str, Form(max_length=200)] = "",
    name_en: Annotated[str, Form(max_length=200)] = "",
    label_zh: Annotated[str, Form(max_length=200)] = "",
    label_en: Annotated[str, Form(max_length=200)] = "",
    unit: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    name, label = (_text(*both) for both in ((name_zh, name_en), (label_zh, label_en)))
    wish = adoption.Wish(site, asset, field, kind, name, label, unit.strip())
    try:
        with transaction(visit.deps.engine) as session:
            adoption.adopt(session, visit.deps.packs, wish, visit.who, visit.now)
    except adoption.AdoptionRefusedError as refused:
        return admin_page(visit, status=422, problem=visit.say(REFUSED[refused.reason]))
    _take_up(visit)
    return RedirectResponse("/admin#unknown", 303)


def _text(zh: str, en: str) -> Text:
    return Text(zh.strip(), en.strip())


def _take_up(visit: Visit) -> None:
    deps = visit.deps
    deps.catalog.refresh()
    try:
        parked.release(deps.engine, deps.store, deps.catalog.series_at, at_most=_BLOCKS)
    except StoreUnavailableError as problem:  # the engine does it when the store is back
        log.warning("parked samples wait for the store", problem=str(problem))
