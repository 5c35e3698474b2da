"""The two languages of the pages. English sentences are the keys; `messages.zh.json` has the Chinese."""

import json
from collections.abc import Mapping
from pathlib import Path

LANGUAGES = {"zh": "中文", "en": "English"}
DEFAULT = "zh"
CHINESE: Mapping[str, str] = json.loads(
    Path(__file__).with_name("messages.zh.json").read_text("utf-8")
)


def N_(message: str) -> str:  # noqa: N802  the name that every gettext tool knows
    """Marks a message that is translated elsewhere, where the reader is known."""
    return message


def translate(language: str, message: str, **values: object) -> str:
    """The message in the reader's language, with `{name}` filled in. A missing translation shows the key."""
    sentence = CHINESE.get(message, message) if language == "zh" else message
    return sentence.format(**values) if values else sentence


def choose_language(chosen: str | None, accept_language: str, fallback: str = DEFAULT) -> str:
    """What the reader chose; else the browser's first language that we have; else the fallback."""
    if chosen in LANGUAGES:
        return str(chosen)
    for tag in _by_quality(accept_language):
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return fallback


def _by_quality(header: str) -> list[str]:
    """Language tags of an Accept-Language header, most wanted first (RFC 9110, 12.5.4)."""
    weighted: list[tuple[float, str]] = []
    for part in header.split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if tag and quality > 0:
            weighted.append((-quality, tag))
    return [tag for _, tag in sorted(weighted, key=lambda item: item[0])]
