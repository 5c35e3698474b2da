"""Paths into JSON: `a.b[0].c`, and `["odd key"]` where a key is no plain word."""

import re
from collections.abc import Mapping
from typing import Any, cast

Path = tuple[str | int, ...]

MAX_PATH = 256
_PART = re.compile(r"""\.?([A-Za-z_$@][\w$@:\-]*)|\[(-?\d{1,6})\]|\[(["'])(.*?)\3\]""", re.ASCII)
_DIGITS = re.compile(r"\.?(\d{1,6})(?=\.|\[|$)", re.ASCII)


class Absent:
    """Of what a message does not hold; not the same as a null that it does hold."""


ABSENT = Absent()


def parse_path(text: str) -> Path:
    """`energy.phase[0]` as ("energy", "phase", 0); an empty text is the whole message.

    A part of digits after a dot is a key (`1.value`, as of a Shelly). Raises ValueError.
    """
    if len(text) > MAX_PATH:
        raise ValueError(f"a path of {len(text)} characters is too long")
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        if position and text[position] not in ".[":
            raise _wrong(text, position)
        digits = _DIGITS.match(text, position)
        match = digits or _PART.match(text, position)
        if match is None or (position == 0 and text[0] == "."):
            raise _wrong(text, position)
        parts.append(match[1] if digits else _part(match))
        position = match.end()
    return tuple(parts)


def pick(document: Any, path: Path) -> Any:
    """What lies at `path`, or ABSENT."""
    node = document
    for part in path:
        node = _member(node, part) if isinstance(part, str) else _item(node, part)
    return node


def _member(node: Any, key: str) -> Any:
    return cast(Mapping[str, Any], node).get(key, ABSENT) if isinstance(node, Mapping) else ABSENT


def _item(node: Any, index: int) -> Any:
    items = cast(list[Any], node) if isinstance(node, list) else []
    return items[index] if -len(items) <= index < len(items) else ABSENT


def _part(match: re.Match[str]) -> str | int:
    if match[1] is not None:
        return match[1]
    return int(match[2]) if match[2] is not None else match[4]


def _wrong(text: str, position: int) -> ValueError:
    return ValueError(f"{text!r} is not a path such as a.b[0]: see character {position + 1}")
