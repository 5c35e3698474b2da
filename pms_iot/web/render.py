"""Templates and the functions they may call."""

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from pms_iot.web import formats, words
from pms_iot.web.i18n import LANGUAGES
from pms_iot.web.static_files import static_url
from pms_iot.web.status import is_overdue
from pms_iot.web.visit import Visit


@pass_context
def _say(context: Context, message: str, **values: object) -> str:
    return context["visit"].say(message, **values)


@pass_context
def _name(context: Context, row: object, field: str = "name") -> str:
    return context["visit"].label(row, field)


@pass_context
def _duration(context: Context, seconds: Any) -> str:
    return formats.duration(seconds, context["visit"].language)


@pass_context
def _age(context: Context, at: datetime) -> str:
    return formats.duration(context["visit"].now - at, context["visit"].language)


def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions: dict[str, Any] = {
        "_": _say,
        "name": _name,
        "duration": _duration,
        "age": _age,
        "static": static_url,
        "is_overdue": is_overdue,
        "words": words,
        "languages": LANGUAGES,
    }
    env.globals.update(functions)
    filters: dict[str, Any] = {
        "local": formats.local,
        "last_day": formats.last_day,
        "local_seconds": formats.local_seconds,
        "number": formats.number,
        "size": formats.size,
        "percent": formats.percent,
    }
    env.filters.update(filters)
    return env


ENVIRONMENT = _environment()


def page(visit: Visit, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page in the reader's language."""
    zone = context.pop("zone", None)
    text = ENVIRONMENT.get_template(template).render(
        visit=visit, now=visit.now, zone=zone, zone_name=_zone_name(zone, visit.now), **context
    )
    return HTMLResponse(text, status_code, {"Content-Language": visit.language})


def _zone_name(zone: str | None, now: datetime) -> str:
    return formats.zone_name(zone, now) if zone else ""
