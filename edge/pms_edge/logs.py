"""Log lines on stderr: a constant message with key=value fields beside it."""

import json
import logging
import sys
from typing import Any


def kv(**fields: Any) -> dict[str, dict[str, Any]]:
    """Fields of one log line, for `log.info("message", extra=kv(device="EL-01"))`."""
    return {"kv": fields}


class KeyValueFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "kv", {})
        text = super().format(record)
        return " ".join([text, *(f"{key}={_quote(value)}" for key, value in fields.items())])


def _quote(value: Any) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in text for c in ' "=')
    return text if plain and text else json.dumps(text, ensure_ascii=False)


def log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
