"""Structured logs: a constant message, fields beside it; text on a terminal, JSON elsewhere."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

LogFormat = Literal["auto", "json", "text"]

_COMMON: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(level: str = "info", form: LogFormat = "auto") -> None:
    """Sets up all logs of the process, those of libraries too; call once, at the start.

    Libraries (uvicorn, paho, APScheduler) speak from `warning` on, at `debug` from `info` on.
    """
    last = _last(form)
    structlog.configure(
        processors=[*_COMMON, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whatever it is at that time
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            foreign_pre_chain=[*_COMMON, structlog.stdlib.add_logger_name],
        )
    )
    libraries = {"debug": logging.INFO, "error": logging.ERROR}.get(level.lower(), logging.WARNING)
    logging.basicConfig(level=libraries, handlers=[handler], force=True)
    # A tick that waits for a store says so itself; this would repeat it every second.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _last(form: LogFormat) -> list[Processor]:
    if form == "text" or (form == "auto" and sys.stderr.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    json = structlog.processors.JSONRenderer(ensure_ascii=False)
    return [structlog.processors.format_exc_info, json]
